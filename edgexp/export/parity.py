"""Does the exported model say what the trained model said? Token ids, log-probabilities and greedy choices on held-out trajectories.

The trained model's answers come from a `Reference`; the exported model is run here, by the engine that will serve it. What counts as
equal depends on the export's type: rounding to 16 bits is nearly invisible, four bits are not. Knows nothing of training or merging.
"""

from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgexp.engine import engine as engines
from edgexp.engine.model import Model
from edgexp.export.reference import Reference
from edgexp.prompt import Renderer
from edgexp.template import learn


class Bounds(msgspec.Struct, frozen=True):
    """What an export may differ by."""

    mean: float
    """Mean of |Δ log-probability| over all label tokens, in nats."""
    shift: float
    """|mean of Δ log-probability|: whether the model became worse or better as a whole, in nats."""
    greedy: float
    """Least share of label tokens at which both models would say the same."""


BOUNDS = {
    "f16": Bounds(0.02, 0.01, 0.985),
    "q8_0": Bounds(0.04, 0.02, 0.97),
    "q4_k_m": Bounds(0.25, 0.15, 0.90),
    "q4_0": Bounds(0.40, 0.30, 0.85),
}
"""By type, for a reference computed with a 16- or 32-bit base; see `bounds_for`."""

NF4 = Bounds(0.25, 0.15, 0.10)
"""Added where the reference was computed on a 4-bit base: the export is merged into the unquantised one."""


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
    shift: float
    largest: float
    """Largest |Δ log-probability| at any label token, in nats."""
    greedy: float
    trained_logprob: float
    """Mean log-probability of a label token under the trained model, in nats."""
    exported_logprob: float
    bounds: Bounds
    failures: tuple[str, ...] = ()


def bounds_for(quant: str, precision: str) -> Bounds:
    """The bounds of an export type against a reference of some precision."""
    b = BOUNDS[quant]
    return b if precision != "nf4" else Bounds(b.mean + NF4.mean, b.shift + NF4.shift, b.greedy - NF4.greedy)


def compare(reference: Reference, model: Model, bounds: Bounds, progress: Callable[[int, int], None] | None = None,
            prepare: Callable[[engines.Engine], None] | None = None) -> Parity:
    """Run the exported model over the reference and judge. `prepare` may attach an adapter to the context before the first token."""
    ids_checked, difference = check_ids(reference, model)
    logprobs: list[NDArray[np.float64]] = []
    same = done = 0
    total = sum(len(ids) for ids in reference.ids)
    with engines.Engine(model, context=max(256, max(len(ids) for ids in reference.ids) + 8), slots=4) as engine:
        if prepare:
            prepare(engine)
        for ids, positions, greedy in zip(reference.ids, reference.positions, reference.greedy, strict=True):
            scores, choices = _answers(engine, ids.tolist(), positions.tolist())
            logprobs.append(scores)
            same += int((choices == greedy).sum())
            done += len(ids)
            if progress:
                progress(done, total)
    return _judged(reference, np.concatenate(logprobs), same / reference.labels, ids_checked, difference, bounds)


def check_ids(reference: Reference, model: Model) -> tuple[int, str]:
    """Render the reference's samples with the model's own tokenizer and template: how many were, and the first difference ("" if none)."""
    vocabulary, origin = model.vocabulary, reference.origin
    for number, ids in enumerate(reference.ids):
        if ids.min() < 0 or ids.max() >= len(vocabulary):
            return 0, f"sample {number + 1} has token {ids.max()}, the exported vocabulary ends at {len(vocabulary) - 1}"
    if not origin.samples:
        return 0, ""
    bos, eos = (vocabulary.decode([token]) if token >= 0 else "" for token in (vocabulary.bos, vocabulary.eos))
    template = learn(origin.template or model.template or "chatml", vocabulary, bos, eos)
    for number, (sample, ids) in enumerate(zip(origin.samples, reference.ids, strict=True)):
        rendered = Renderer(vocabulary, template, sample.instructions).trajectory(sample.trajectory, sample.memory).ids
        if rendered != ids.tolist():
            place = next((i for i, (a, b) in enumerate(zip(rendered, ids, strict=False)) if a != b), min(len(rendered), len(ids)))
            return number, f"sample {number + 1} ({sample.trajectory.task.id}): token {place} is not what the model was trained on"
    return len(origin.samples), ""


def _answers(engine: engines.Engine, ids: list[int], positions: list[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Log-probability of each label token, and the token the model would have said there."""
    scores, choices = [], []
    sequence = engine.new()
    try:
        for first, last in _spans(positions):
            sequence.append(ids[len(sequence.ids) : first])
            engine.evaluate([sequence])
            assert sequence.logits is not None
            inner = ids[first : last - 1]
            rows = [sequence.logits, *(engine.evaluate_tree(sequence, range(-1, len(inner) - 1), inner) if inner else ())]
            scores += [engines.log_probability(row, token) for row, token in zip(rows, ids[first:last], strict=True)]
            choices += [int(row.argmax()) for row in rows]
    finally:
        engine.free(sequence)
    return np.array(scores), np.array(choices)


def _spans(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbouring positions as half-open ranges."""
    start = 0
    for i in range(1, len(positions) + 1):
        if i == len(positions) or positions[i] != positions[i - 1] + 1:
            yield positions[start], positions[i - 1] + 1
            start = i


def _judged(reference: Reference, exported: NDArray[np.float64], greedy: float, ids_checked: int, difference: str,
            bounds: Bounds) -> Parity:
    trained = np.concatenate(reference.logprobs).astype(np.float64)
    delta = exported - trained
    mean, shift = float(np.abs(delta).mean()), float(delta.mean())
    failures = [difference] if difference else []
    if not mean <= bounds.mean:
        failures.append(f"log-probabilities differ by {mean:.3f} nats on average, {bounds.mean:.3f} are allowed")
    if not abs(shift) <= bounds.shift:
        way = "more" if shift > 0 else "less"
        failures.append(f"expert actions became {way} probable by {abs(shift):.3f} nats a token, {bounds.shift:.3f} are allowed")
    if not greedy >= bounds.greedy:
        failures.append(f"greedy choices agree at {greedy:.1%} of the tokens, {bounds.greedy:.1%} are needed")
    return Parity(
        samples=len(reference.ids), tokens=sum(map(len, reference.ids)), labels=reference.labels,
        ids_equal=not difference, ids_checked=ids_checked,
        mean=mean, shift=shift, largest=float(np.abs(delta).max()), greedy=greedy,
        trained_logprob=float(trained.mean()), exported_logprob=float(exported.mean()), bounds=bounds, failures=tuple(failures),
    )  # fmt: skip


def table(parity: Parity) -> str:
    """A short plain-text report."""
    b = parity.bounds
    checked = f"{parity.ids_checked} samples rendered again" if parity.ids_checked else "in the vocabulary"
    rows = [
        ("token ids", checked, "equal", parity.ids_equal),
        ("mean |Δ log p|", f"{parity.mean:.4f} nats", f"≤ {b.mean:g}", parity.mean <= b.mean),
        ("mean Δ log p", f"{parity.shift:+.4f} nats", f"within ±{b.shift:g}", abs(parity.shift) <= b.shift),
        ("greedy agreement", f"{parity.greedy:.2%}", f"≥ {b.greedy:.1%}", parity.greedy >= b.greedy),
    ]
    lines = [f"{name:<18}{value:<30}{bound:<18}{'ok' if ok else 'FAILED'}" for name, value, bound, ok in rows]
    head = f"{parity.labels} action tokens of {parity.samples} held-out trajectories ({parity.tokens} tokens)"
    means = f"mean log p {parity.trained_logprob:.4f} trained, {parity.exported_logprob:.4f} exported"
    return "\n".join([head, *lines, f"largest |Δ log p| {parity.largest:.3f}; {means}"])
