"""From banks to samples: successful trajectories, rendered by the one renderer, with memory found by the one retriever.

No trajectory of a task is ever shown to that task's own sample, and none of a held-out task to a training sample. Every sample is checked
before it is used (`check.py`). What is too long is skipped and counted, or an error; it is never cut. Knows no torch and no llama.cpp.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from edgexp.errors import EdgexpError
from edgexp.export.reference import Sample
from edgexp.prompt import Rendered, Renderer
from edgexp.retrieval import Memory, fit
from edgexp.training import mixing
from edgexp.training.check import Remembering, check
from edgexp.training.memories import Memories
from edgexp.training.mixing import Kind
from edgexp.training.prepared import Samples
from edgexp.training.recipe import Recipe
from edgexp.training.sources import Source, part
from edgexp.training.statistics import Statistics, figures, padding_of
from edgexp.trajectory import Trajectory

__all__ = ["MEASURED", "Built", "Source", "build"]

Progress = Callable[[int, int], None]
SHOWN = 2
"""Training samples kept with their parts, for people to look at."""

MEASURED: dict[str, Kind] = {"matched": "matched", "mismatched": "mismatched", "none": "absent"}
"""Held-out sets by name, and the memory in them; the first that there is is what validation loss and parity are about."""


@dataclass(frozen=True)
class About:
    """What a training sample is made of, beside its tokens."""

    trajectory: str
    task: str
    environment: str
    kind: Kind
    memory: tuple[str, ...]
    """Ids of the trajectories in its memory, the most useful first; shortened ones go by the ids of their own content."""
    tasks: tuple[str, ...]
    """The tasks of these."""
    alike: int
    """How many of these are of its own task type (in worlds: of its own house)."""
    dropped: int
    """Found, but left out because they did not fit."""


@dataclass
class Built:
    """A dataset in memory."""

    sets: dict[str, Samples] = field(default_factory=lambda: {"train": Samples()})
    reference: list[Sample] = field(default_factory=list)
    """What was rendered for each sample of the first held-out set."""
    shown: list[list[tuple[str, bool]]] = field(default_factory=list)
    """Texts of the first training samples, in pieces; True marks what the model is to say."""
    about: dict[str, list[About]] = field(default_factory=lambda: {"train": []})
    """Of each set, what each sample is made of."""
    trajectories: int = 0
    """Demonstrations to train on."""
    held_out: tuple[str, ...] = ()
    """Tasks that are not trained on but measured on."""
    kept_out: int = 0
    """Demonstrations that are neither trained on nor measured on, because they are too close to held-out ones."""
    skipped: list[str] = field(default_factory=list)
    """Tasks whose samples are too long even without memory."""
    figures: Statistics = field(default_factory=Statistics)

    def statistics(self) -> dict[str, Any]:
        """The figures as plain data, for the run's record."""
        plain: dict[str, Any] = msgspec.to_builtins(self.figures)
        return plain


def build(recipe: Recipe, sources: Sequence[Source], progress: Progress = lambda *_: None) -> Built:
    """All samples of a recipe. Raises EdgexpError where a source has nothing, a sample is unsound, or (by the recipe) too long."""
    training, held_out, kept_out = part(recipe, sources)
    tasks = tuple(sorted({t.task.id for _, found in held_out for t in found}))
    built = Built(trajectories=sum(len(found) for _, found in training), held_out=tasks, kept_out=kept_out)
    held_kin = frozenset(map(mixing.kin, tasks))
    total = built.trajectories + sum(len(found) for _, found in held_out)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    for source, found in training:
        _train_on(built, _Maker(recipe, source, held_kin), source, found, tick)
    for source, found in held_out:
        _measure_on(built, _Maker(recipe, source), found, tick)
    if not len(built.sets["train"]):
        raise EdgexpError(f"nothing is left to train on: every sample is longer than train.sequence = {recipe.train.sequence}")
    built.figures = _count(built, recipe)
    return built


class _Maker:
    """Makes the samples of one source: finds, fits, renders, checks."""

    def __init__(self, recipe: Recipe, source: Source, kept_out: frozenset[str] = frozenset()):
        given = source.renderer
        self.recipe = recipe
        self.renderer = Renderer(Remembering(given.tokenizer), given.template, given.instructions)
        self.memories = Memories(recipe.memory, source.bank, source.data.environment, recipe.seed, kept_out)
        self._latest: tuple[Trajectory | None, int] = (None, 0)

    def can(self, kind: Kind) -> bool:
        """Whether there can be memory of that kind."""
        return kind == "absent" or (self.recipe.memory.k > 0 and (kind != "mismatched" or self.memories.has_strangers))

    def room(self, trajectory: Trajectory) -> int:
        """Tokens left beside a trajectory without memory; negative where it is too long by itself."""
        if self._latest[0] is not trajectory:
            self._latest = (trajectory, len(self.renderer.trajectory(trajectory).ids))
        return self.recipe.train.sequence - self._latest[1]

    def memory(self, trajectory: Trajectory, kind: Kind, variant: int | None = None) -> Memory:
        """Memory of that kind, less what does not fit.

        The arithmetic is `ModelPolicy`'s, with one thing known here that is guessed there: how many tokens the episode will take.
        """
        found = self.memories.find(trajectory, kind, variant)
        room = max(0, self.room(trajectory) - self.renderer.headers_cost) if found.recalled else 0
        return fit(found, self.renderer.cost, min(room, self.recipe.memory.budget or room))

    def add(self, built: Built, name: str, trajectory: Trajectory, kind: Kind, memory: Memory) -> Rendered:
        """Render, check and append a sample."""
        remembered = [r.trajectory for r in memory.recalled]
        rendered = self.renderer.trajectory(trajectory, remembered)
        check(rendered, trajectory, self.renderer)
        built.sets.setdefault(name, Samples()).add(rendered.ids, rendered.labels)
        built.about.setdefault(name, []).append(_about(trajectory, kind, memory))
        return rendered

    def too_long(self, built: Built, trajectory: Trajectory) -> bool:
        """Whether it is, and counted as skipped. Raises EdgexpError where the recipe wants it so."""
        room, limit = self.room(trajectory), self.recipe.train.sequence
        if room >= 0:
            return False
        if self.recipe.train.over_length == "error":
            raise EdgexpError(f"the sample of {trajectory.task.id} ({trajectory.id}) is {limit - room} tokens long without memory, "
                              f'train.sequence is {limit}: raise it, or set train.over_length = "skip"')
        built.skipped.append(trajectory.task.id)
        return True


def _train_on(built: Built, maker: _Maker, source: Source, found: Sequence[Trajectory], tick: Callable[[], None]) -> None:
    """Add the training samples of a source."""
    memory, seed = maker.recipe.memory, maker.recipe.seed
    variants = range(memory.variants)
    kinds = [mixing.kinds(source.data.mix or memory.mix, len(found), seed, variant) for variant in variants]
    for number, trajectory in enumerate(found):
        tick()
        if maker.too_long(built, trajectory):
            continue
        for variant in variants:
            kind = kinds[variant][number] if memory.k else "absent"
            rendered = maker.add(built, "train", trajectory, kind, maker.memory(trajectory, kind, variant))
            if len(built.shown) < SHOWN:
                built.shown.append(pieces(rendered, maker.renderer))


def _measure_on(built: Built, maker: _Maker, found: Sequence[Trajectory], tick: Callable[[], None]) -> None:
    """Add held-out trajectories under every kind of memory that is measured."""
    measured = {name: kind for name, kind in MEASURED.items() if found and maker.can(kind)}
    for trajectory in found:
        tick()
        if maker.too_long(built, trajectory):
            continue
        for name, kind in measured.items():
            memory = maker.memory(trajectory, kind)
            maker.add(built, f"valid-{name}", trajectory, kind, memory)
            if name == next(iter(measured)):
                built.reference.append(Sample(maker.renderer.instructions, trajectory, tuple(r.trajectory for r in memory.recalled)))


def pieces(rendered: Rendered, renderer: Renderer) -> list[tuple[str, bool]]:
    """The text of a sample in pieces, each with whether the model is to say it."""
    out: list[tuple[str, bool]] = []
    at = 0
    for first, last in [*rendered.labels, (len(rendered.ids), len(rendered.ids))]:
        out += [(renderer.tokenizer.decode(rendered.ids[at:first]), False), (renderer.tokenizer.decode(rendered.ids[first:last]), True)]
        at = last
    return [(text, said) for text, said in out if text]


def _about(trajectory: Trajectory, kind: Kind, memory: Memory) -> About:
    task, others = trajectory.task, [r.trajectory.task for r in memory.recalled]
    like = mixing.likeness(task.environment, task.id, task.type)
    return About(
        trajectory.id, task.id, task.environment, kind,
        memory=tuple(r.trajectory.id for r in memory.recalled),
        tasks=tuple(other.id for other in others),
        alike=sum(mixing.likeness(other.environment, other.id, other.type) == like for other in others),
        dropped=sum(d.reason == "budget" for d in memory.dropped),
    )  # fmt: skip


def _count(built: Built, recipe: Recipe) -> Statistics:
    about = built.about["train"]
    kinds = Counter(a.kind for a in about)
    matched = [a for a in about if a.kind == "matched"]
    return Statistics(
        trajectories=built.trajectories,
        sets={name: figures(samples) for name, samples in built.sets.items()},
        conditions={kind: kinds[kind] for kind in mixing.KINDS},
        empty=sum(a.kind != "absent" and not a.memory for a in about),
        remembered=sum(len(a.memory) for a in about),
        alike=round(sum(a.alike for a in matched) / max(1, sum(len(a.memory) for a in matched)), 4),
        dropped=sum(a.dropped for a in about),
        skipped=len(built.skipped),
        kept_out=built.kept_out,
        padding=round(padding_of(built.sets["train"].lengths, recipe.train, recipe.seed), 4),
    )

