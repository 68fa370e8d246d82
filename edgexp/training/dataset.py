"""From banks to samples: successful trajectories, rendered by the one renderer, with memory found by the one retriever. Knows no torch and
no llama.cpp.

No trajectory of a task is ever shown to that task's own sample, and none of a held-out task to a training sample. What is too long is
skipped and counted, or an error; it is never cut.

Every sample is checked before it is used: its labels are the trajectory's actions but for mistakes, each with its end of turn; none of
them lies in the memory; control tokens stand where the template puts them and nowhere else; blocks are the past episodes, each whole, where
memory stands apart."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from edgexp.engine.tokenizer import Tokenizer
from edgexp.environments.registry import family_of_task, lesson_of_task
from edgexp.errors import EdgexpError
from edgexp.export.reference import Sample
from edgexp.prompt.render import Rendered, Renderer
from edgexp.prompt.template import Template
from edgexp.retrieval import Memory, fit
from edgexp.training import demonstrations
from edgexp.training.demonstrations import Kind, Memories, Source, set_apart
from edgexp.training.prepared import Samples, Statistics, count_figures, padding_of_epoch
from edgexp.training.recipe import Recipe
from edgexp.trajectory import Trajectory

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
    """How many of these are of its own lesson: its task type, or where houses have ways of their own, its house."""
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
    training, held_out, kept_out = set_apart(recipe, sources)
    tasks = {t.task for _, found in held_out for t in found}
    ids = tuple(sorted({task.id for task in tasks}))
    built = Built(trajectories=sum(len(found) for _, found in training), held_out=ids, kept_out=kept_out)
    held_families = frozenset(map(family_of_task, tasks))
    total = built.trajectories + sum(len(found) for _, found in held_out)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    for source, found in training:
        _train_on(built, _Maker(recipe, source, held_families), source, found, tick)
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
        self.renderer = Renderer(Remembering(given.tokenizer), given.template, given.instructions, recipe.memory.stands)
        self.memories = Memories(recipe.memory, source.bank, source.data.environment, recipe.seed, kept_out)
        self._latest: tuple[Trajectory | None, int] = (None, 0)

    def can(self, kind: Kind) -> bool:
        """Whether there can be memory of that kind."""
        return kind == "absent" or (self.recipe.memory.remembers and (kind != "mismatched" or self.memories.has_strangers))

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
        check_sample(rendered, trajectory, self.renderer)
        built.sets.setdefault(name, Samples()).add(rendered.ids, rendered.labels, rendered.blocks)
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
    kinds = [demonstrations.kinds(source.data.mix or memory.mix, len(found), seed, variant) for variant in variants]
    for number, trajectory in enumerate(found):
        tick()
        if maker.too_long(built, trajectory):
            continue
        for variant in variants:
            kind = kinds[variant][number] if memory.remembers else "absent"
            rendered = maker.add(built, "train", trajectory, kind, maker.memory(trajectory, kind, variant))
            if len(built.shown) < SHOWN:
                built.shown.append(marked_text(rendered, maker.renderer))


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


def marked_text(rendered: Rendered, renderer: Renderer) -> list[tuple[str, bool]]:
    """The text of a sample in pieces, each with whether the model is to say it."""
    out: list[tuple[str, bool]] = []
    at = 0
    for first, last in [*rendered.labels, (len(rendered.ids), len(rendered.ids))]:
        out += [(renderer.tokenizer.decode(rendered.ids[at:first]), False), (renderer.tokenizer.decode(rendered.ids[first:last]), True)]
        at = last
    return [(text, said) for text, said in out if text]


def _about(trajectory: Trajectory, kind: Kind, memory: Memory) -> About:
    task, others = trajectory.task, [r.trajectory.task for r in memory.recalled]
    lesson = lesson_of_task(task)
    return About(
        trajectory.id, task.id, task.environment, kind,
        memory=tuple(r.trajectory.id for r in memory.recalled),
        tasks=tuple(other.id for other in others),
        alike=sum(lesson_of_task(other) == lesson for other in others),
        dropped=sum(d.reason == "budget" for d in memory.dropped),
    )  # fmt: skip


def _count(built: Built, recipe: Recipe) -> Statistics:
    about = built.about["train"]
    kinds = Counter(a.kind for a in about)
    matched = [a for a in about if a.kind == "matched"]
    return Statistics(
        trajectories=built.trajectories,
        sets={name: count_figures(samples) for name, samples in built.sets.items()},
        conditions={kind: kinds[kind] for kind in demonstrations.KINDS},
        empty=sum(a.kind != "absent" and not a.memory for a in about),
        remembered=sum(len(a.memory) for a in about),
        alike=round(sum(a.alike for a in matched) / max(1, sum(len(a.memory) for a in matched)), 4),
        dropped=sum(a.dropped for a in about),
        skipped=len(built.skipped),
        kept_out=built.kept_out,
        padding=round(padding_of_epoch(built.sets["train"].lengths, recipe.train, recipe.seed), 4),
    )


class Remembering:
    """A tokenizer that remembers: the same instructions, observations and actions come up in sample after sample."""

    def __init__(self, tokenizer: Tokenizer, size: int = 1 << 15):
        self.encode = lru_cache(size)(tokenizer.encode)
        self.is_control = lru_cache(None)(tokenizer.is_control)
        self.is_end = lru_cache(None)(tokenizer.is_end)
        self.control = tokenizer.control
        self._decode = lru_cache(size)(lambda ids: tokenizer.decode(list(ids)))

    def decode(self, ids: list[int]) -> str:
        """Text of ids."""
        return self._decode(tuple(ids))


def check_sample(rendered: Rendered, trajectory: Trajectory, renderer: Renderer) -> None:
    """Raises EdgexpError naming the trajectory: such a sample would teach something else than it seems to."""
    problem = next(find_problems(rendered, trajectory, renderer), None)
    if problem:
        raise EdgexpError(f"the sample of {trajectory.task.id} ({trajectory.id}) cannot be trained on: {problem}")


def find_problems(rendered: Rendered, trajectory: Trajectory, renderer: Renderer) -> Iterator[str]:
    """Everything that is wrong with a sample."""
    yield from _problems_of_labels(rendered, trajectory, renderer)
    yield from _problems_of_parts(rendered, renderer)
    yield from _problems_of_blocks(rendered, renderer)


def _problems_of_labels(rendered: Rendered, trajectory: Trajectory, renderer: Renderer) -> Iterator[str]:
    tokenizer, labels = renderer.tokenizer, rendered.labels
    steps = [step for step in trajectory.steps if not step.mistake]
    if not labels or len(labels) != len(steps):
        yield f"it has {len(labels)} labels for {len(steps)} actions"
        return
    end = tokenizer.decode(renderer.template.end)
    for (first, last), step in zip(labels, steps, strict=True):
        said, action = tokenizer.decode(rendered.ids[first:last]), step.action.encode("utf-8", "replace").decode()
        # Some vocabularies put a space before the first word of any text.
        if said.lstrip(" ") != (action + end).lstrip(" "):
            yield f"the label {said!r} is not the action {step.action!r} with its end of turn"
    for part in rendered.parts:
        if part.name.startswith("memory") and any(first < part.end and part.start < last for first, last in labels):
            yield f"a label lies in {part.name}"


def _problems_of_parts(rendered: Rendered, renderer: Renderer) -> Iterator[str]:
    """Parts follow one another without a gap; what the template writes is what it writes; the rest holds no control token."""
    at, is_control, template = 0, renderer.tokenizer.is_control, renderer.template
    own = (template.before, template.after_system, template.after_user)
    for part in rendered.parts:
        ids = rendered.ids[part.start : part.end]
        if part.start != at:
            yield f"there is something unnamed before {part.name}"
        at = part.end
        if part.name == "template":
            if ids not in own:
                yield "it was not rendered with this template"
            continue
        before, after = _frame(part.name, template)
        inner = ids[len(before) : len(ids) - len(after)]
        if ids != [*before, *inner, *after]:
            yield f"{part.name} does not begin and end as the template wants it"
        elif any(map(is_control, inner)):
            yield f"{part.name} holds a control token"
    if at != len(rendered.ids):
        yield "there is something unnamed at its end"


def _problems_of_blocks(rendered: Rendered, renderer: Renderer) -> Iterator[str]:
    """Apart, every past episode is a block and nothing else is; they stand between the instructions and the task."""
    parts = [part for part in rendered.parts if part.name.startswith("memory")]
    if rendered.blocks != ([(part.start, part.end) for part in parts] if renderer.layout == "apart" else []):
        yield "its blocks are not its past episodes"
    if not rendered.blocks:
        return
    expected = ["template", "instructions", *["memory"] * len(rendered.blocks), "template", "task"]
    if [part.name.split()[0] for part in rendered.parts[: len(expected)]] != expected:
        yield "its blocks do not stand between the instructions and the task"


def _frame(name: str, template: Template) -> tuple[list[int], list[int]]:
    """What the template writes at the beginning and the end of a part."""
    if name.startswith("action "):
        return [], template.end
    if name.startswith("observation "):
        return template.after_action, template.after_user
    return [], []
