"""What to train on and how, read from TOML into strict Structs. Knows nothing of torch, banks or tokenizers.

The defaults are the paper's where it states them (arXiv 2603.18272): LoRA r=8, alpha 16, dropout 0.1 on the attention projections,
paged 8-bit AdamW, constant learning rate 5e-5, no weight decay, K=2 retrieved once; batch size and sequence length are ours.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgexp import settings
from edgexp.environments.registry import DEFAULT_ENVIRONMENT
from edgexp.errors import EdgexpError, UsageError
from edgexp.prompt.messages import Layout as Stands
from edgexp.retrieval import Retrieval

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
Whole = Annotated[int, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]
Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """The model that learns."""

    model: Text = "smollm2-135m-instruct"
    """A name of `edgexp models ls` or a GGUF: its tokenizer and template are used, and its weights where no checkpoint is named."""
    checkpoint: str = ""
    """A folder with the same model's unquantised weights in safetensors, as transformers saves them; training fetches nothing."""
    adapter: str = ""
    """A trained adapter to go on from: a run, a folder, or a name of `edgexp models ls`; empty to begin anew. It must have the recipe's
    rank, alpha and targets, and be trained on the same model."""
    four_bit: bool = False
    """Hold the frozen weights in 4 bits (NF4) while training. Saves memory, costs speed on a CPU."""
    dtype: Literal["auto", "bf16", "f32"] = "auto"
    """The type of the computation; `auto` is bf16 where the device has it."""
    backend: Literal["auto", "unsloth", "peft"] = "auto"
    """Who loads the model: Unsloth, or transformers and peft alone; `auto` is Unsloth where it is installed."""


class Mix(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """What a training sample finds in its memory, as shares that add up to 1."""

    matched: Share = 1.0
    """What retrieval finds for it."""
    mismatched: Share = 0.0
    """As many trajectories of other task types."""
    shortened: Share = 0.0
    """What retrieval finds, each without a random number of its last steps."""
    absent: Share = 0.0
    """Nothing."""

    def __post_init__(self) -> None:
        total = self.matched + self.mismatched + self.shortened + self.absent
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the four shares must add up to 1, they add up to {total:g}")


class Memory(Retrieval, frozen=True):
    """What is recalled into the prompt, at the beginning of an episode: one sample is one prompt."""

    frame: bool = False
    usefulness: bool = False
    """A recipe that says nothing of these two recalls by vectors alone, as it always has: its samples stay what they were."""
    encoder: Text = "all-minilm-l6-v2"
    """The embedding model that the banks were made with."""
    budget: Whole = 0
    """Most tokens of memory; what does not fit is dropped as whole trajectories. 0: what is left of the sequence length."""
    mix: Mix = Mix()
    variants: Annotated[int, Meta(ge=1, le=64)] = 1
    """Samples made of each trajectory, its memory drawn anew for each; an epoch goes over all of them."""

    @property
    def stands(self) -> Stands:
        """How it stands in a sample, and then in the prompts of the trained model."""
        return "apart" if self.layout == "apart" else "chained"


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """One source of demonstrations: the successful trajectories of a bank that pass the filters."""

    bank: str = ""
    """A folder; empty for the default bank."""
    environment: Text = DEFAULT_ENVIRONMENT
    split: Text = "train"
    source: Literal["", "expert", "agent", "import", "person", "takeover"] = ""
    """Who acted; empty for anyone."""
    types: tuple[str, ...] = ()
    """Task types; empty for all."""
    groups: tuple[str, ...] = ("easy",)
    """Sides of the paper's split; empty for all."""
    limit: Whole = 0
    """At most so many trajectories, drawn by the seed; 0 for all."""
    mix: Mix | None = None
    """Overrides the memory's mix for this source."""
    use: Literal["train", "held_out"] = "train"
    """What the trajectories are for. Where no source is marked `held_out`, some tasks of the training sources are held out instead."""


class Lora(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """The adapter: W + (alpha / r) · B·A on the named projections of every layer."""

    r: Annotated[int, Meta(ge=1, le=512)] = 8
    alpha: Annotated[int, Meta(ge=1, le=4096)] = 16
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    targets: Annotated[tuple[Projection, ...], Meta(min_length=1)] = ("q_proj", "k_proj", "v_proj", "o_proj")


class Train(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """The optimisation."""

    optimizer: Literal["adamw", "paged_adamw_8bit"] = "paged_adamw_8bit"
    """The paged 8-bit one needs a GPU; on a CPU plain AdamW takes its place."""
    lr: Annotated[float, Meta(gt=0, le=1)] = 5e-5
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: Whole = 0
    """Steps in which the learning rate rises to `lr`."""
    final_lr: Share = 0.0
    """Where cosine and linear end, as a share of `lr`."""
    weight_decay: Annotated[float, Meta(ge=0, le=1)] = 0.0
    clip: Annotated[float, Meta(ge=0)] = 1.0
    """Largest norm of a step's gradient; 0 does not clip."""
    epochs: Annotated[float, Meta(gt=0, le=10_000)] = 9.0
    steps: Whole = 0
    """Optimiser steps; 0 for as many as the epochs take."""
    trajectories: Count = 8
    """Samples in an optimiser step."""
    tokens_at_once: Whole = 0
    """Most tokens (padding included) that go through the model together; 0: one sample on a CPU, 8192 tokens on a GPU."""
    sequence: Annotated[int, Meta(ge=64)] = 8192
    """Most tokens of a sample."""
    over_length: Literal["error", "skip"] = "error"
    """What to do with longer ones; they are never cut."""
    recompute: bool = False
    """Gradient checkpointing: less memory, about a third more time."""


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """Measuring and keeping on the way."""

    held_out: Whole = 16
    """Trajectories of tasks kept from training: for the validation loss, the accuracy with and without memory, and the export's parity
    check."""
    evaluate_every: Whole = 0
    """Steps between evaluations; 0 evaluates at the end only."""
    checkpoint_every: Count = 25
    """Steps between checkpoints: what a crash can cost."""
    keep: Whole = 3
    """Checkpoints kept beside the chosen ones; 0 keeps all. With `rollouts` all are kept."""
    select: Literal["rollouts", "loss", "last"] = "last"
    """Which checkpoint becomes the adapter: the one that wins most dev episodes, the one of the lowest validation loss, or the last."""
    split: Text = "dev"
    """Where the episodes of `rollouts` are from."""
    episodes: Count = 20
    """How many of them for each checkpoint."""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """Everything that decides a training."""

    description: str = ""
    seed: Whole = 0
    base: Base = Base()
    memory: Memory = Memory()
    lora: Lora = Lora()
    train: Train = Train()
    check: Check = Check()
    data: Annotated[tuple[Data, ...], Meta(min_length=1)] = (Data(),)


def load(name_or_path: str, changes: Sequence[str] = ()) -> tuple[str, Recipe]:
    """A recipe by name or file, and its name. `changes` are `section.key=value` in TOML, made before checking.

    Raises EdgexpError naming the file and the key that is wrong, UsageError for an unknown name.
    """
    path = _find(name_or_path)
    return path.stem, parse(settings.read(path), str(path), changes)


def parse(text: str, where: str, changes: Sequence[str] = ()) -> Recipe:
    """A recipe from TOML text; `where` names it in errors."""
    table = settings.decode(text, where)
    for change in changes:
        settings.change(table, change, ("data",))
    recipe = settings.convert(table, Recipe, where)
    problem = next(_problems(recipe), None)
    if problem:
        raise EdgexpError(f"{where}: {problem}")
    return recipe


def files() -> dict[str, Path]:
    """The recipes that come with edgexp, by name."""
    return settings.shipped(lambda name: not name.startswith(settings.SUITES))


def show(recipe: Recipe) -> str:
    """Every setting as TOML, which reads back as the same recipe."""
    return settings.show(recipe)


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    known = files()
    if name_or_path in known:
        return known[name_or_path]
    raise UsageError(f"no recipe is called {name_or_path!r} and there is no such file; there are: {', '.join(known)}")


def _problems(recipe: Recipe) -> Iterator[str]:
    """What the types cannot say."""
    train, check = recipe.train, recipe.check
    if train.steps and train.warmup >= train.steps:
        yield f"train.warmup: {train.warmup} steps of warm-up leave nothing of {train.steps} steps"
    if recipe.memory.memory == "dynamic":
        yield 'memory.memory: "dynamic" recalls again as an episode goes on, and a sample is one prompt; set "static" or "off"'
    if len(set(recipe.lora.targets)) < len(recipe.lora.targets):
        yield "lora.targets: a projection is named twice"
    if check.select == "loss" and not check.held_out:
        yield "check.held_out: choosing by validation loss needs held-out trajectories"
    if check.select == "loss" and not check.evaluate_every:
        yield "check.evaluate_every: choosing by validation loss needs evaluations on the way"
    if all(data.use == "held_out" for data in recipe.data):
        yield "data: no source is there to train on"
    for number, data in enumerate(recipe.data):
        if (data.mix or recipe.memory.mix).mismatched and not recipe.memory.remembers:
            yield f"data[{number}].mix: mismatched memory needs memory.k above 0"
