"""The model with its adapter, loaded by Unsloth, or by transformers and peft where Unsloth is not installed. The only file that knows
which; knows nothing of steps, optimisers and runs. On a CPU the layers are run by `cpu/quick.py`, on a GPU by whoever loaded the model.

A GGUF, which is what is served, is expanded once to a folder of plain weights that transformers and Unsloth load from: config.json,
model.safetensors and the tokenizer files they insist on. How much memory there is decides the type of the exact computation."""

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgexp.errors import EdgexpError
from edgexp.files import build_folder, remove_stale, write_atomic
from edgexp.machine import cores, machine_memory
from edgexp.prompt.render import block_positions
from edgexp.training.cpu import quick
from edgexp.training.cpu.kernels import Spans
from edgexp.training.cpu.quick import R, T, Workers
from edgexp.training.events import Say
from edgexp.training.prepared import Samples
from edgexp.training.recipe import Recipe

Precision = Literal["bf16", "f32"]
TYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


class Learner:
    """A frozen model with a trainable adapter: token ids in, hidden states at chosen positions out, and their gradients."""

    def __init__(self, model: Any, name: str, precision: Precision, four_bit: bool, recompute: bool):
        self.model, self.backend, self.precision, self.four_bit = model, name, precision, four_bit
        inner = model.base_model.model
        self._decoder = inner.model
        self.head: Tensor = inner.lm_head.weight.detach()
        self.device = self.head.device
        on_cpu = self.device.type == "cpu" and quick.suits(model.config)
        self._quick = quick.Quick(self._decoder, recompute) if on_cpu else None
        self._workers = Workers(cores()) if on_cpu else None

    @property
    def parameters(self) -> list[Tensor]:
        """The adapter's, in a fixed order."""
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def size(self) -> int:
        """Parameters in all, frozen ones included; weights of 4 bits, of which bitsandbytes packs two into a byte, one by one."""
        return sum(p.numel() * (p.element_size() * 2 if type(p).__name__ == "Params4bit" else 1) for p in self.model.parameters())

    @property
    def pads(self) -> bool:
        """Whether rows of unequal length cost padding."""
        return self._quick is None

    def differentiate(self, loss: Tensor) -> list[Tensor] | None:
        """The gradients of the parameters; None where they were added to what the parameters hold already.

        Where several samples are under way at once each needs gradients of its own: sums must not depend on who comes first.
        """
        if self._workers:
            # In the order of memory, which is what fused optimisers go by.
            return [gradient.contiguous() for gradient in torch.autograd.grad(loss, self.parameters)]
        loss.backward()
        return None

    def each(self, task: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """The results of a task for every item, in their order; several at a time on a CPU."""
        return self._workers.each(task, items) if self._workers else map(task, items)

    def hidden(self, rows: Sequence[NDArray[np.int32]], keep: Sequence[NDArray[np.int64]], seed: int | None = None,
               blocks: Sequence[NDArray[np.int64]] = ()) -> Tensor:
        """Last hidden states [K, C] at the positions `keep` of each row, row after row. Only with a `seed` is there dropout.

        `blocks` are the half-open spans of each row that stand apart [blocks, 2]; left out, there are none. Rows are padded at the end.
        No mask is needed for that: attention looks backwards only, and nothing is kept of the padding.
        """
        apart = [[(int(first), int(last)) for first, last in row] for row in blocks] or [[]] * len(rows)
        if self._quick:
            lengths = [len(row) for row in rows]
            starts = np.cumsum([0, *lengths[:-1]])
            flat = np.concatenate([k + start for k, start in zip(keep, starts, strict=True)])
            return self._quick(self._ids(np.concatenate(rows)), lengths, apart, torch.from_numpy(flat), seed)
        self.model.train(seed is not None)
        if seed is not None:
            torch.manual_seed(seed)
        longest = max(len(row) for row in rows)
        padded = np.zeros((len(rows), longest), np.int32)
        for place, row in zip(padded, rows, strict=True):
            place[: len(row)] = row
        with self._autocast():
            states = self._decoder(input_ids=self._ids(padded), use_cache=False, **self._standing(longest, apart)).last_hidden_state
        flat = np.concatenate([k + longest * number for number, k in enumerate(keep)])
        return states.flatten(0, 1)[torch.from_numpy(flat).to(self.device)].to(self.head.dtype)

    def adapter(self) -> dict[str, Tensor]:
        """The adapter's tensors, by peft's names."""
        from peft import get_peft_model_state_dict

        found: dict[str, Tensor] = get_peft_model_state_dict(self.model)
        return found

    def load_adapter(self, tensors: Mapping[str, Tensor]) -> None:
        """Put other values into the adapter. Raises EdgexpError where they are of another adapter."""
        from peft import set_peft_model_state_dict

        if {k: v.shape for k, v in tensors.items()} != {k: v.shape for k, v in self.adapter().items()}:
            raise EdgexpError("the checkpoint's adapter has other tensors than the recipe's; choose another folder with --out")
        with torch.no_grad():
            set_peft_model_state_dict(self.model, dict(tensors))

    def config(self, base: str) -> bytes:
        """adapter_config.json as peft writes it, naming `base` as what it was trained on."""
        import json

        settings = self.model.peft_config["default"].to_dict()
        settings.update(base_model_name_or_path=base, inference_mode=True, revision=None)
        plain = {key: sorted(value) if isinstance(value, set) else getattr(value, "value", value) for key, value in settings.items()}
        return json.dumps(plain, indent=2, sort_keys=True, default=str).encode()

    def _standing(self, longest: int, blocks: Sequence[Spans]) -> dict[str, Tensor]:
        """Positions and mask of rows of which any has blocks; nothing for others, which any attention treats as it should."""
        if not any(blocks):
            return {}
        mask = torch.ones(longest, longest, dtype=torch.bool).tril_().repeat(len(blocks), 1, 1, 1)
        for row, spans in zip(mask, blocks, strict=True):
            for first, last in spans:
                row[:, first:last, spans[0][0] : first] = False
        positions = torch.tensor([block_positions(longest, spans) for spans in blocks])
        return {"attention_mask": mask.to(self.device), "position_ids": positions.to(self.device)}

    def _ids(self, ids: NDArray[np.int32]) -> Tensor:
        return torch.from_numpy(ids.astype(np.int64)).to(self.device)

    @contextlib.contextmanager
    def _autocast(self) -> Iterator[None]:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            yield


def device() -> torch.device:
    """The accelerator, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def free() -> None:
    """Give back the memory of learners that nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def precision(wanted: str) -> Precision:
    """The type to compute in: as asked for, or bf16 where the device is fast in it."""
    if wanted == "auto":
        return "bf16" if (torch.cuda.is_bf16_supported() if torch.cuda.is_available() else _cpu_has_bf16()) else "f32"
    return "bf16" if wanted == "bf16" else "f32"


def has_unsloth() -> bool:
    """Whether Unsloth can be imported. It patches transformers and peft, so this is to be asked before either is imported."""
    try:
        import unsloth  # noqa: F401
    except Exception:  # it raises what it likes where it cannot run
        return False
    return True


def by_unsloth(recipe: Recipe) -> bool:
    """Whether Unsloth is to be tried. Its attention leaves masks out in training, which memory that stands apart needs; on a CPU it is not
    Unsloth's attention that runs."""
    left_open = recipe.base.backend == "auto"
    return recipe.base.backend == "unsloth" or (left_open and (recipe.memory.stands == "chained" or device().type == "cpu"))


def load(folder: Path, recipe: Recipe, say: Say, samples: Samples | None = None) -> Learner:
    """Base and a fresh adapter, as the recipe says. The adapter's beginning depends on the recipe's seed only.

    Raises EdgexpError where the recipe asks for Unsloth by name and it cannot be imported, or the model does not read the memory of
    `samples` as it is served.
    """
    kind, wanted = precision(recipe.base.dtype), recipe.base.backend
    tried = by_unsloth(recipe)
    name = "unsloth" if tried and has_unsloth() else "peft"
    if wanted == "unsloth" and name == "peft":
        raise EdgexpError('base.backend is "unsloth", which cannot be imported here: install it with uv sync --extra train, or set "auto"')
    if wanted == "auto" and name == "peft":
        say("Unsloth cannot be imported here; training with transformers and peft" if tried else
            "Unsloth cannot read memory that stands apart; training with transformers and peft")
    model = (_by_unsloth if name == "unsloth" else _by_peft)(folder, recipe, kind)
    learner = Learner(model, name, kind, recipe.base.four_bit, recipe.train.recompute)
    if samples is not None and not reads_apart(learner, samples):
        raise EdgexpError(f"{name} does not read memory that stands apart as it is served, so it would train something else; set "
                          f'{"base.backend = " if name == "unsloth" else "memory.layout = "}{_INSTEAD[name]}')
    return learner


_INSTEAD = {"unsloth": '"peft"', "peft": '"chained"'}


def reads_apart(learner: Learner, samples: Samples, *, training: bool = True) -> bool:
    """Whether the model heeds blocks, in evaluation and, unless told otherwise, in training. Its adapter must add nothing yet.

    Looked at on the shortest sample that has several: the last block must say what it says without the others, and what follows must not
    care for their order. What a model that heeds nothing makes of the same ids is the measure of how near is near.
    """
    among = [number for number, blocks in enumerate(samples.blocks) if len(blocks) > 1]
    if not among or not learner.pads:  # our own kernels heed them; rounding to 16 or 4 bits would only hide it
        return True
    number = min(among, key=lambda n: len(samples.ids[n]))
    return all(_reads_apart(learner, samples.ids[number], samples.blocks[number], seed) for seed in ((None, 0) if training else (None,)))


def _reads_apart(learner: Learner, ids: NDArray[np.int32], blocks: NDArray[np.int64], seed: int | None) -> bool:
    def states(row: NDArray[np.int32], keep: NDArray[np.int64], *apart: NDArray[np.int64]) -> Tensor:
        return learner.hidden([row], [keep], seed, apart).detach().float()

    start, first, last = int(blocks[0, 0]), int(blocks[-1, 0]), int(blocks[-1, 1])
    own, after = np.arange(first, last), np.arange(last, len(ids))
    alone = states(np.concatenate([ids[:start], ids[own]]), own - first + start)
    edges = start + np.cumsum([0, *(blocks[::-1, 1] - blocks[::-1, 0])])
    turned = np.concatenate([ids[:start], *(ids[a:b] for a, b in blocks[::-1]), ids[after]])
    other = states(turned, after, np.stack([edges[:-1], edges[1:]], 1))
    pairs = [(states(ids, keep, blocks), wanted, states(ids, keep)) for keep, wanted in ((own, alone), (after, other))]
    # False where anything is no number.
    return all(bool((found - wanted).norm() <= _NEAR[learner.precision] * (heedless - wanted).norm() + 1e-5 * wanted.norm())
               for found, wanted, heedless in pairs)


_NEAR = {"f32": 0.005, "bf16": 0.5}
"""How far off rounding may be, as a share of what it makes to heed nothing."""


def load_exact(folder: Path, recipe: Recipe, kind: Precision) -> Learner:
    """The unquantised base with a fresh adapter, for computing references: no 4-bit weights, no patches, no dropout."""
    lora = msgspec.structs.replace(recipe.lora, dropout=0.0)
    plain = msgspec.structs.replace(recipe, base=msgspec.structs.replace(recipe.base, four_bit=False), lora=lora)
    return Learner(_by_peft(folder, plain, kind), "peft", kind, False, False)


def _by_unsloth(folder: Path, recipe: Recipe, kind: Precision) -> Any:
    from unsloth import FastLanguageModel

    checkpointing: Any = "unsloth" if recipe.train.recompute and device().type != "cpu" else False
    model, _ = FastLanguageModel.from_pretrained(
        model_name=str(folder), max_seq_length=recipe.train.sequence, dtype=TYPES[kind], load_in_4bit=recipe.base.four_bit,
        use_gradient_checkpointing=checkpointing, local_files_only=True,
    )  # fmt: skip
    if recipe.base.four_bit and not any(type(m).__name__ == "Linear4bit" for m in model.modules()):
        raise EdgexpError("4-bit weights do not work on this machine; set base.four_bit = false")
    return FastLanguageModel.get_peft_model(
        model, r=recipe.lora.r, lora_alpha=recipe.lora.alpha, lora_dropout=recipe.lora.dropout, target_modules=list(recipe.lora.targets),
        bias="none", use_gradient_checkpointing=checkpointing, random_state=recipe.seed, max_seq_length=recipe.train.sequence,
    )  # fmt: skip


def _by_peft(folder: Path, recipe: Recipe, kind: Precision) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=TYPES[kind]) if recipe.base.four_bit else None
    on = device()
    model = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=TYPES[kind], quantization_config=bits, attn_implementation="sdpa", device_map={"": on}, local_files_only=True
    )
    model.config.use_cache = False
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # else bitsandbytes repacks weights at the first evaluation, for good
    if recipe.train.recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    torch.manual_seed(recipe.seed)
    lora = LoraConfig(r=recipe.lora.r, lora_alpha=recipe.lora.alpha, lora_dropout=recipe.lora.dropout,
                      target_modules=list(recipe.lora.targets), bias="none", task_type="CAUSAL_LM")
    return get_peft_model(model, lora)


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 in hardware. Timed, since flags lie in other places on every system: emulation is far slower."""
    import time

    a = torch.randn(384, 384)
    best = {}
    for kind in TYPES.values():
        x = a.to(kind)
        times = []
        for _ in range(4):
            started = time.perf_counter()
            x @ x
            times.append(time.perf_counter() - started)
        best[kind] = min(times[1:])
    return best[torch.bfloat16] < best[torch.float32]


_LARGE = 1_000_000_000
"""Parameters from which on expanded weights are kept in 16 bits."""
_DONE = "expanded.json"


def folder_of(gguf: Path, sha256: str, checkpoint: str, cache: Path, say: Say) -> Path:
    """A folder to load from: the checkpoint where one is named, else the GGUF's weights, expanded into the cache where they are not yet."""
    if checkpoint:
        folder = Path(checkpoint).expanduser()
        if not (folder / "config.json").is_file():
            raise EdgexpError(f"{checkpoint} is not a checkpoint: it has no config.json; set base.checkpoint to a folder with the model's "
                              "unquantised weights, or to \"\" for those of the GGUF")
        return folder
    remove_stale(cache, ".*-*")
    folder = cache / sha256[:24]
    if not (folder / _DONE).is_file():
        say(f"expanding {gguf.name} for training (once)")
        _expand(gguf, folder)
    return folder


def _expand(gguf: Path, folder: Path) -> None:
    """Write the expanded weights under a working name, then give them theirs."""
    from transformers import AutoTokenizer

    with build_folder(folder, folder.name) as work:
        model = _load_gguf(gguf)
        # Above a billion parameters 32 bits would cost more disk than most have; the GGUF's own numbers have no more than 16 anyway.
        model.to(torch.bfloat16 if model.num_parameters() > _LARGE else torch.float32).save_pretrained(work)
        AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(work)
        write_atomic(work / _DONE, b"{}")


def _load_gguf(gguf: Path) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise EdgexpError(f"{gguf} cannot be expanded for training: {error}; set base.checkpoint to a folder with this model's unquantised "
                          "weights") from error
    # transformers remembers that the weights came out of a GGUF and would not save them as the plain numbers they now are.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    return model


def roomy(parameters: int, device: torch.device) -> bool:
    """Whether the weights in 32 bits take less than half of the device's memory."""
    if device.type == "cuda":
        memory = int(torch.cuda.get_device_properties(device).total_memory)
    else:
        memory = machine_memory()
    return parameters * 4 < memory / 2
