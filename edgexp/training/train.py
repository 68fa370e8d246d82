"""A training from beginning to end: find the base, prepare the dataset, train in a child process, choose a checkpoint, finish the adapter.

Every stage leaves its result in the run's folder and is passed over when that is there, so the same command goes on where it stopped. Knows
no torch, and not how an episode is played: what checkpoints win is asked of whoever calls."""

import contextlib
import importlib.metadata
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import edgexp
from edgexp.bank import Bank, default_path
from edgexp.embedding import open_encoder
from edgexp.engine.tokenizer import GGUFTokenizer
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError
from edgexp.export.adapter import base_of, find_adapter
from edgexp.files import write_atomic
from edgexp.gguf.lora import Adapter, check_base, check_fit, read_adapter
from edgexp.gguf.reader import GgufFile, open_gguf, shown
from edgexp.home import home
from edgexp.models import model_files
from edgexp.models.model_files import open_base
from edgexp.prompt import messages
from edgexp.prompt.render import Renderer, learn_template
from edgexp.training import checkpoint, events, prepared
from edgexp.training.dataset import Built, Progress, build
from edgexp.training.demonstrations import Source
from edgexp.training.events import Say
from edgexp.training.launch import Base, Job, Run, Watcher, follow, same_training
from edgexp.training.recipe import Recipe, show

Rollouts = Callable[[Path], float]
"""The share of dev episodes that the adapter in a checkpoint's folder wins."""
TOOLS = ("torch", "transformers", "peft", "unsloth", "bitsandbytes", "safetensors", "llama-cpp-python")
RECORD, LOG, RECIPE = "manifest.json", "training.jsonl", "recipe.toml"


class Played(msgspec.Struct):
    """`rollouts.json`: what checkpoints won of the dev episodes that a recipe names."""

    split: str
    episodes: int
    won: dict[int, float]
    """Step → share."""


@dataclass(frozen=True)
class Watchers:
    """Who hears about what; all of them may be left out."""

    say: Say = lambda _: None
    preparing: Progress = lambda *_: None
    event: Watcher = lambda _: None
    played: Callable[[str, int, int, int], None] = lambda *_: None
    """Of a checkpoint: episodes played, won, and to be played."""


def find_base(recipe: Recipe) -> Base:
    """The weights a recipe starts from, checked. Raises UsageError for an unknown name, EdgexpError for what is not on this machine."""
    name = recipe.base.model
    found = open_base(name)
    of_file = Path(name).expanduser().is_file()
    check_base(open_gguf(found.path), recipe.lora.targets)  # what an export would refuse is refused before hours of work
    # The training process works in the run's folder, where a relative path would lead elsewhere.
    checkpoint = str(Path(recipe.base.checkpoint).expanduser().absolute()) if recipe.base.checkpoint else ""
    base = Base(str(found.path) if of_file else name, str(found.path), found.sha256, checkpoint)
    return _with_adapter(base, recipe) if recipe.base.adapter else base


def _with_adapter(base: Base, recipe: Recipe) -> Base:
    """With the adapter that training goes on from. Raises EdgexpError where it is not one that the recipe could have made of this base."""
    folder = find_adapter(Path(recipe.base.adapter))
    trained, adapter = base_of(folder), read_adapter(folder)
    if trained.sha256 and trained.sha256 != base.sha256:
        raise EdgexpError(f"base.adapter: {folder} was trained on {shown(trained.name)}, not on {base.name}; set base.model to that")
    check_fit(adapter, open_gguf(Path(base.gguf)))
    found, wanted = _shape_of(adapter), _shape_in(recipe, open_gguf(Path(base.gguf)))
    if found != wanted:
        raise EdgexpError(f"base.adapter: {folder} has {found}; the recipe's lora has {wanted}: make them equal")
    return msgspec.structs.replace(base, adapter=str(folder), adapter_sha256=model_files.sha256(folder / checkpoint.ADAPTER))


def _shape_of(adapter: Adapter) -> str:
    """Rank, alpha and modules of an adapter."""
    deltas = adapter.deltas
    targets = {delta.module.rsplit(".", 1)[-1] for delta in deltas}
    return _shape({len(delta.a) for delta in deltas}, {delta.scale * len(delta.a) for delta in deltas}, targets, len(deltas))


def _shape_in(recipe: Recipe, base: GgufFile) -> str:
    """Those of the adapters that a recipe makes of a base."""
    lora = recipe.lora
    return _shape({lora.r}, {lora.alpha}, lora.targets, len(lora.targets) * base.number(f"{base.architecture}.block_count"))


def _shape(ranks: Iterable[float], alphas: Iterable[float], targets: Iterable[str], modules: int) -> str:
    r, alpha = ("/".join(f"{number:g}" for number in sorted(numbers)) for numbers in (ranks, alphas))
    return f"r = {r}, alpha = {alpha} on {', '.join(sorted(targets))} ({modules} modules)"


@contextmanager
def open_sources(recipe: Recipe, base: Base, say: Say = lambda _: None) -> Iterator[list[Source]]:
    """The recipe's banks and renderers, opened. Raises EdgexpError for a bank that is missing or was made with another encoder."""
    with ExitStack() as stack:
        tokenizer = GGUFTokenizer(Path(base.gguf))
        stack.callback(tokenizer.close)
        template = learn_template(tokenizer, tokenizer.template())
        encoder = open_encoder(recipe.memory.encoder, say) if recipe.memory.remembers else None
        banks: dict[Path, Bank] = {}
        sources = []
        for data in recipe.data:
            path = Path(data.bank).expanduser() if data.bank else default_path()
            if path not in banks:
                banks[path] = stack.enter_context(Bank.open(path, encoder, readonly=True))
            environment = make(data.environment)
            stack.callback(environment.close)
            sources.append(Source(data, banks[path], Renderer(tokenizer, template, environment.instructions(), recipe.memory.stands)))
        yield sources


def train(folder: Path, name: str, recipe: Recipe, watch: Watchers, *, fresh: bool = False, rollouts: Rollouts | None = None) -> Path:
    """Train a recipe in a run's folder, from wherever an earlier call stopped; returns the finished adapter's folder.

    `fresh` throws an earlier run in the folder away. Raises EdgexpError where the folder holds another run, another process works
    there, or a stage fails; KeyboardInterrupt after the step under way, with a checkpoint written.
    """
    if recipe.check.select == "rollouts" and rollouts is None:
        raise UsageError('check.select: "rollouts" needs an environment to play in; choose "loss" or "last"')
    run = Run(folder)
    job = Job(name, recipe, find_base(recipe), str(home() / "cache" / "bases"))
    if fresh and run.job() is not None:
        with run.held():
            pass  # nobody is at work there; not all systems remove a file that is open
        shutil.rmtree(folder)
    _claim(run, job)
    if (run.adapter / RECORD).is_file():
        watch.say(f"this run is finished; throw it away and train again with --fresh, or choose another folder with --out ({folder})")
        return run.adapter
    for step in checkpoint.steps(run.checkpoints)[-1:]:
        watch.say(f"going on from step {step} ({folder})")
    prepare(run, job, watch)
    follow(run, ["train"], watch.event)
    step, played = choose(run, recipe, rollouts)
    follow(run, ["finish", str(step)], watch.event)
    _complete(run, job, step, played)
    return run.adapter


def prepare(run: Run, job: Job, watch: Watchers) -> None:
    """Build the run's dataset, unless it is there: a run keeps what it began with, whatever becomes of the bank and the first adapter."""
    if (run.data / prepared.RECORD).is_file():
        return
    built, banks, vocabulary = build_for(job.recipe, job.base, watch)
    if built.skipped:
        watch.say(f"skipped, as longer than train.sequence = {job.recipe.train.sequence} even without memory: {len(built.skipped):,} "
                  f"trajectories; left to train on: {len(built.sets['train']):,} samples")
    run.data.mkdir(parents=True, exist_ok=True)
    if job.base.adapter:
        write_atomic(run.data / checkpoint.ADAPTER, (Path(job.base.adapter) / checkpoint.ADAPTER).read_bytes())
    prepared.write(run.data, built.sets, vocabulary=vocabulary, bank=banks, reference=tuple(built.reference),
                   layout=job.recipe.memory.stands, statistics=built.statistics())


def build_for(recipe: Recipe, base: Base, watch: Watchers) -> tuple[Built, tuple[str, ...], int]:
    """The dataset in memory, fingerprints of its banks, and the size of the vocabulary."""
    with open_sources(recipe, base, watch.say) as sources:
        built = build(recipe, sources, watch.preparing)
        banks = tuple(dict.fromkeys(source.bank.fingerprint() for source in sources))
        tokenizer = sources[0].renderer.tokenizer
        assert isinstance(tokenizer, GGUFTokenizer)
        return built, banks, len(tokenizer)


def choose(run: Run, recipe: Recipe, rollouts: Rollouts | None) -> tuple[int, dict[int, float]]:
    """The chosen checkpoint's step, and the share of episodes each checkpoint won, where that was what counted.

    What has been played is remembered in the run's folder, so that an interruption does not play it again; other episodes are.
    """
    steps = checkpoint.steps(run.checkpoints)
    if recipe.check.select == "rollouts" and rollouts is not None:
        memory = run.folder / "rollouts.json"
        with run.held():
            played = _played(memory, recipe)
            for step in steps:
                if step not in played.won:
                    played.won[step] = rollouts(run.checkpoints / checkpoint.name(step))
                    write_atomic(memory, msgspec.json.encode(played))
        return select(steps, played.won), played.won
    losses = {step: next(iter(made.values())).loss for step, made in checkpoint.scores(run.checkpoints).items()}
    return select(steps, {step: -loss for step, loss in losses.items()} if recipe.check.select == "loss" else {}), {}


def _played(memory: Path, recipe: Recipe) -> Played:
    """What is remembered of the episodes that the recipe asks for; nothing where other ones were played."""
    wanted = Played(recipe.check.split, recipe.check.episodes, {})
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        found = msgspec.json.decode(memory.read_bytes(), type=Played)
        if (found.split, found.episodes) == (wanted.split, wanted.episodes):
            return found
    return wanted


def _claim(run: Run, job: Job) -> None:
    """Make the folder this run's, or see that it is. Raises EdgexpError where it belongs to another."""
    before = run.job()
    if before is None:
        if run.folder.exists() and any(run.folder.iterdir()):
            raise EdgexpError(f"{run.folder} is not empty and holds no run; choose another folder with --out")
        run.folder.mkdir(parents=True, exist_ok=True)
    elif not same_training(before, job):
        raise EdgexpError(f"{run.folder} holds a training with other settings; go on with those, throw it away with --fresh, or choose "
                          "another folder with --out")
    run.write_job(job)


def _complete(run: Run, job: Job, step: int, played: dict[int, float]) -> None:
    """The log, the recipe and, last, the adapter's record."""
    dataset = prepared.read(run.data)
    write_atomic(run.adapter / LOG, run.metrics.read_bytes())
    write_atomic(run.adapter / RECIPE, show(job.recipe).encode())
    files = sorted(path.relative_to(run.adapter).as_posix() for path in run.adapter.rglob("*") if path.is_file() and path.name != RECORD)
    about: dict[str, Any] = {
        "name": job.name,
        "recipe": job.recipe,
        "base": {"name": job.base.name, "sha256": job.base.sha256, "checkpoint": job.base.checkpoint, "adapter": job.base.adapter,
                 "adapter_sha256": job.base.adapter_sha256},
        "banks": dataset.bank,
        "dataset": {"sets": dataset.sets, "statistics": dataset.statistics},
        "step": step,
        "prompt": messages.VERSION,
        "layout": job.recipe.memory.stands,
        "selected_by": job.recipe.check.select,
        "curve": _curve(run, played),
        "code": edgexp.__version__,
        "tools": {name: version for name in TOOLS if (version := _version(name))},
        "machine": f"{platform.system()} {platform.machine()}",
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "files": {name: model_files.sha256(run.adapter / name) for name in files},
    }
    write_atomic(run.adapter / RECORD, msgspec.json.format(msgspec.json.encode(about), indent=2) + b"\n")


def _curve(run: Run, played: dict[int, float]) -> list[dict[str, Any]]:
    """Every evaluation on the way, and what the checkpoints won."""
    points: dict[int, dict[str, Any]] = {}
    for line in events.read(run.metrics, "evaluated"):
        points.setdefault(int(line["step"]), {"step": int(line["step"])}).setdefault("scores", line["scores"])
    for step, won in played.items():
        points.setdefault(step, {"step": step})["won"] = won
    return [points[step] for step in sorted(points)]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def select(steps: list[int], scores: Mapping[int, float]) -> int:
    """The checkpoint with the highest score (the share of dev episodes won, or minus the validation loss); of equals the latest.

    Without any score it is the last one. Steps without a score do not compete. Raises EdgexpError where there is no checkpoint.
    """
    if not steps:
        raise EdgexpError("the run has no checkpoint to choose from; train it first")
    known = {step: scores[step] for step in steps if step in scores}
    if not known:
        return max(steps)
    return max(known, key=lambda step: (known[step], step))
