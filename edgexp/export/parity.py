"""Does the exported model say what the trained model said? Token ids, log-probabilities and greedy tokens on held-out trajectories.

Greedy choices are compared token by token, each after what the expert said before it; whole actions are counted beside that, not judged.
The trained model's answers come from a `Reference`; the exported model is run here, by the engine that will serve it. What counts as
equal depends on the export's type: rounding to 16 bits is nearly invisible, four bits are not. Knows nothing of training or merging.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgexp.engine import engine as engines
from edgexp.engine import native
from edgexp.engine.model import Model
from edgexp.errors import EdgexpError
from edgexp.export.reference import Reference
from edgexp.prompt.render import Renderer, learn_template

Numbers = NDArray[np.float64]

WORST = -1e6
"""Stands for the log-probability that a model with broken weights gives, which is no number and would be none in JSON."""


class Bounds(msgspec.Struct, frozen=True):
    """What an export may differ by. Rounding weights moves improbable tokens more than probable ones, hence two numbers for one mean."""

    mean: float
    """Mean of |Δ log-probability| over all label tokens that is allowed to a model that is certain of them, in nats …"""
    per_nat: float
    """… and how much more for each nat of the trained model's own mean surprise (−log p)."""
    tie: float
    """Greedy tokens agree where the exported model puts the trained model's choice at most so many nats below its own."""
    greedy: float
    """Least share of label tokens at which they must agree."""

    def mean_for(self, surprise: float) -> float:
        """The allowed mean for a trained model of some mean surprise, in nats."""
        return self.mean + self.per_nat * surprise


BOUNDS = {
    "f16": Bounds(0.005, 0.01, 0.05, 0.99),
    "q8_0": Bounds(0.03, 0.06, 0.2, 0.97),
    "q4_k_m": Bounds(0.05, 0.25, 0.5, 0.93),
    "q4_0": Bounds(0.10, 0.50, 1.0, 0.85),
}
"""By type, for a reference computed in 32 bits. About twice what exports of adapters trained on SmolLM2-135M showed at a surprise of
0.6 nats (f16 0.001, q8_0 0.03, q4_k_m 0.13), except for q4_0 (0.34 to 0.47), which costs a model that small more than it should."""

ROUGHER = {"bf16": Bounds(0.01, 0.03, 0.1, -0.01), "nf4": Bounds(0.1, 0.6, 0.5, -0.1)}
"""Added for a reference computed in bfloat16 (alone worth 0.02 nats there), or on 4-bit weights while the export is merged into the
unquantised ones (0.32 nats)."""


class Parity(msgspec.Struct, frozen=True):
    """The outcome. `failures` is empty exactly when the gate is passed."""

    samples: int
    tokens: int
    labels: int
    ids_equal: bool
    """Whether the exported model's tokenizer and template give the reference's ids; True where the reference names no texts to render."""
    ids_checked: int
    """Samples rendered again for that."""
    mean: float
    """Mean |Δ log-probability| of the label tokens, in nats."""
    allowed: float
    """What it may be."""
    shift: float
    """Mean Δ log-probability: above 0 where the exported model finds the expert's actions more probable."""
    largest: float
    """Largest |Δ log-probability| at any label token, in nats."""
    greedy: float
    """Share of label tokens at which the greedy tokens agree, near ties included."""
    greedy_equal: float
    """Share at which they are the very same token."""
    actions: float
    """Share of whole actions, end of turn included, at every token of which they agree, near ties included."""
    trained_logprob: float
    """Mean log-probability of a label token under the trained model, in nats."""
    exported_logprob: float
    bounds: Bounds
    failures: tuple[str, ...] = ()


def bounds_for(quant: str, precision: str) -> Bounds:
    """The bounds of an export type against a reference of some precision."""
    b, more = BOUNDS[quant], ROUGHER.get(precision, Bounds(0, 0, 0, 0))
    return Bounds(b.mean + more.mean, b.per_nat + more.per_nat, b.tie + more.tie, b.greedy + more.greedy)


def compare(reference: Reference, model: Model, bounds: Bounds, progress: Callable[[int, int], None] | None = None,
            prepare: Callable[[engines.Engine], None] | None = None) -> Parity:
    """Run the exported model over the reference and judge. `prepare` may attach an adapter to the context before the first token.

    Raises EdgexpError where the model cannot run the reference at all: ids that its vocabulary does not have, a context it cannot make.
    """
    _check_vocabulary(reference, len(model.vocabulary))
    ids_checked, difference = check_ids(reference, model)
    logprobs: list[Numbers] = []
    gaps: list[Numbers] = []
    done = 0
    total = sum(len(ids) for ids in reference.ids)
    spans = [[(first, last) for first, last in blocks.tolist()] for blocks in reference.blocks] or [[]] * len(reference.ids)
    shared = 1 + max(map(len, spans))  # the blocks of a sample, and what stands before them
    with engines.Engine(model, context=max(256, max(len(ids) for ids in reference.ids) + 8), slots=4, blocks=shared) as engine:
        if prepare:
            prepare(engine)
        for ids, blocks, positions, greedy in zip(reference.ids, spans, reference.positions, reference.greedy, strict=True):
            scores, below = _answers(engine, ids.tolist(), blocks, positions.tolist(), greedy.tolist())
            logprobs.append(scores)
            gaps.append(below)
            done += len(ids)
            if progress:
                progress(done, total)
    return judged(reference, np.concatenate(logprobs), np.concatenate(gaps), (ids_checked, difference), bounds)


def attach(engine: engines.Engine, path: Path) -> None:
    """Load an adapter-only file into an engine's context, before its first token. Raises EdgexpError with llama.cpp's own complaint."""
    lib = native.load()
    with native.deferred_interrupts():
        handle = lib.llama_adapter_lora_init(engine.model.handle, os.fsencode(path))
    if not handle:
        raise EdgexpError(f"llama.cpp does not load {path}: {native.last_error() or 'it gave no reason'}")
    engine.adapt([handle])


def check_ids(reference: Reference, model: Model) -> tuple[int, str]:
    """Render the reference's samples with the model's own tokenizer and template: how many were, and the first difference ("" if none)."""
    vocabulary, origin = model.vocabulary, reference.origin
    if not origin.samples:
        return 0, ""
    try:
        template = learn_template(vocabulary, origin.template or model.template)
    except EdgexpError as error:
        return 0, str(error)
    for number, (sample, ids) in enumerate(zip(origin.samples, reference.ids, strict=True)):
        made = Renderer(vocabulary, template, sample.instructions, origin.layout).trajectory(sample.trajectory, sample.memory)
        rendered, name = made.ids, f"sample {number + 1} ({sample.trajectory.task.id})"
        if rendered != ids.tolist():
            place = next((i for i, (a, b) in enumerate(zip(rendered, ids, strict=False)) if a != b), min(len(rendered), len(ids)))
            return number, f"{name}: token {place} is not what the model was trained on"
        if made.blocks != [tuple(block) for block in reference.blocks[number].tolist()] if reference.blocks else made.blocks:
            return number, f"{name}: the blocks of its memory are not those that the model was trained on"
    return len(origin.samples), ""


def _check_vocabulary(reference: Reference, size: int) -> None:
    for number, ids in enumerate(reference.ids, 1):
        if ids.min() < 0 or ids.max() >= size:
            raise EdgexpError(f"the reference's sample {number} has token {ids.max()}, the exported vocabulary ends at {size - 1}; "
                              "the adapter was trained on a model with another vocabulary")


def _answers(engine: engines.Engine, ids: list[int], blocks: list[tuple[int, int]], positions: list[int],
             greedy: list[int]) -> tuple[Numbers, Numbers]:
    """Log-probability of each label token, and how far the model puts the trained model's choice below its own, in nats."""
    scores: list[float] = []
    gaps: list[float] = []
    sequence = engine.new()
    try:
        if blocks:
            sequence.share(ids[: blocks[0][0]], [ids[first:last] for first, last in blocks])
        own = blocks[-1][1] if blocks else 0
        for first, last in _spans(positions):
            sequence.append(ids[own + len(sequence.ids) : first])
            engine.evaluate([sequence])
            assert sequence.logits is not None
            inner = ids[first : last - 1]
            rows = [sequence.logits, *(engine.evaluate_tree(sequence, range(-1, len(inner) - 1), inner) if inner else ())]
            for row, token in zip(rows, ids[first:last], strict=True):
                gaps.append(float(row.max() - row[greedy[len(scores)]]))
                scores.append(engines.log_probability(row, token))
    finally:
        engine.free(sequence)
    return np.array(scores), np.array(gaps)


def _spans(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbouring positions as half-open ranges."""
    start = 0
    for i in range(1, len(positions) + 1):
        if i == len(positions) or positions[i] != positions[i - 1] + 1:
            yield positions[start], positions[i - 1] + 1
            start = i


def judged(reference: Reference, exported: Numbers, gaps: Numbers, ids: tuple[int, str], bounds: Bounds) -> Parity:
    """The verdict on an exported model's log-probabilities, the gaps below its own choices, and the outcome of `check_ids`."""
    trained = np.concatenate(reference.logprobs).astype(np.float64)
    exported = np.nan_to_num(exported, nan=WORST, neginf=WORST)
    delta = exported - trained
    mean, allowed = float(np.abs(delta).mean()), bounds.mean_for(float(-trained.mean()))
    greedy = float((gaps <= bounds.tie).mean())
    ids_checked, difference = ids
    failures = [difference] if difference else []
    if not mean <= allowed:
        failures.append(f"log-probabilities differ by {mean:.3f} nats on average, {allowed:.3f} are allowed")
    if not greedy >= bounds.greedy:
        failures.append(f"greedy tokens agree at {greedy:.1%} of the action tokens, {bounds.greedy:.1%} are needed")
    return Parity(
        samples=len(reference.ids), tokens=sum(map(len, reference.ids)), labels=reference.labels,
        ids_equal=not difference, ids_checked=ids_checked,
        mean=mean, allowed=allowed, shift=float(delta.mean()), largest=float(np.abs(delta).max()),
        greedy=greedy, greedy_equal=float((gaps <= 0).mean()), actions=_whole(reference, gaps <= bounds.tie),
        trained_logprob=float(trained.mean()), exported_logprob=float(exported.mean()), bounds=bounds, failures=tuple(failures),
    )  # fmt: skip


def _whole(reference: Reference, agree: NDArray[np.bool_]) -> float:
    """The share of actions at whose tokens all agree. Label tokens that follow one another are one action."""
    lengths = [last - first for positions in reference.positions for first, last in _spans(positions.tolist())]
    return float(np.mean([part.all() for part in np.split(agree, np.cumsum(lengths)[:-1])]))


def table(parity: Parity) -> str:
    """A short plain-text report."""
    p, b = parity, parity.bounds
    checked = f"{p.ids_checked} samples rendered again" if p.ids_checked else "in the vocabulary"
    rows = [
        ("token ids", checked, "equal", p.ids_equal),
        ("mean |Δ log p|", f"{p.mean:.4f} nats", f"≤ {p.allowed:.4f}", p.mean <= p.allowed),
        ("greedy tokens", f"{p.greedy:.2%} agree", f"≥ {b.greedy:.0%}", p.greedy >= b.greedy),
    ]
    lines = [f"{name:<16}{value:<30}{bound:<12}{'ok' if ok else 'FAILED'}" for name, value, bound, ok in rows]
    return "\n".join([
        f"{p.labels} action tokens of {p.samples} held-out trajectories ({p.tokens} tokens)",
        *lines,
        f"mean log p {p.trained_logprob:.4f} trained, {p.exported_logprob:.4f} exported; largest |Δ| {p.largest:.3f}; "
        f"the same token at {p.greedy_equal:.2%}, agreement counts ties within {b.tie:g} nats; whole actions agree at {p.actions:.2%}",
    ])  # fmt: skip
