"""From banks to samples: successful trajectories, rendered by the one renderer, with memory found by the one retriever.

No trajectory of a task is ever shown to that task's own sample, and none of a held-out task to a training sample. Every sample is checked
before it is used: its labels are its actions and nothing else. What is too long is skipped and counted, or an error; it is never cut.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from edgexp.bank import Bank, Filters
from edgexp.errors import EdgexpError
from edgexp.export.reference import Sample
from edgexp.prompt import Rendered, Renderer
from edgexp.retrieval import Memory
from edgexp.training.memories import Memories
from edgexp.training.prepared import Samples
from edgexp.training.recipe import Data, Recipe
from edgexp.trajectory import Trajectory

Progress = Callable[[int, int], None]
SHOWN = 2
"""Training samples kept with their parts, for people to look at."""


@dataclass(frozen=True)
class Source:
    """A source of demonstrations, opened: its bank, and the renderer of its environment."""

    data: Data
    bank: Bank
    renderer: Renderer


@dataclass
class Built:
    """A dataset in memory."""

    sets: dict[str, Samples] = field(default_factory=lambda: {"train": Samples()})
    reference: list[Sample] = field(default_factory=list)
    """What was rendered for each sample of the first held-out set."""
    shown: list[list[tuple[str, bool]]] = field(default_factory=list)
    """Texts of the first training samples, in pieces; True marks what the model is to say."""
    trajectories: int = 0
    """Demonstrations to train on."""
    conditions: Counter[str] = field(default_factory=Counter)
    """Training samples by what their memory was to be; `empty` counts those of them that found nothing, or nothing that fitted."""
    remembered: int = 0
    """Trajectories in the memory of training samples."""
    dropped: int = 0
    """Found, but left out because they did not fit."""
    skipped: list[str] = field(default_factory=list)
    """Tasks whose samples are too long even without memory."""

    def statistics(self) -> dict[str, Any]:
        """Figures for people and for the run's record."""
        sets = {name: _figures(samples) for name, samples in self.sets.items()}
        counts = {"trajectories": self.trajectories, "remembered": self.remembered, "dropped": self.dropped, "skipped": len(self.skipped)}
        return {"sets": sets, "conditions": dict(self.conditions), **counts}


def build(recipe: Recipe, sources: Sequence[Source], progress: Progress = lambda *_: None) -> Built:
    """All samples of a recipe. Raises EdgexpError where a source has nothing, a sample is unsound, or (by the recipe) too long."""
    training, held_out = part(recipe, sources)
    built = Built(trajectories=sum(len(found) for _, found in training))
    kept_out = tuple(sorted({t.task.id for _, found in held_out for t in found}))
    total, done = built.trajectories + sum(len(found) for _, found in held_out), 0
    for source, found in [*training, *held_out]:
        into_training = done < built.trajectories
        memories = Memories(recipe, source.bank, source.data.environment, source.renderer, kept_out if into_training else ())
        for trajectory in found:
            (_train_on if into_training else _measure_on)(built, recipe, source, memories, trajectory)
            done += 1
            progress(done, total)
    if not len(built.sets["train"]):
        raise EdgexpError(f"nothing is left to train on: every sample is longer than train.sequence = {recipe.train.sequence}")
    return built


Chosen = list[tuple[Source, list[Trajectory]]]


def part(recipe: Recipe, sources: Sequence[Source]) -> tuple[Chosen, Chosen]:
    """Demonstrations to train on and to hold out. Where no source is marked for that, whole tasks of the training sources are held out,
    from each source in proportion. Raises EdgexpError for a source in which nothing passes the filters.
    """
    chosen = [(source, demonstrations(recipe, source)) for source in sources]
    training = [(source, found) for source, found in chosen if source.data.use == "train"]
    marked = [(source, found) for source, found in chosen if source.data.use == "held_out"]
    chance = random.Random(f"{recipe.seed}/held out")
    if marked:
        share = -(-recipe.check.held_out // len(marked))
        return training, [(source, chance.sample(found, min(share, len(found)))) for source, found in marked]
    total = sum(len(found) for _, found in training)
    kept: Chosen = []
    held: Chosen = []
    for source, found in training:
        tasks = sorted({t.task.id for t in found})
        out = set(chance.sample(tasks, min(len(tasks) // 2, round(recipe.check.held_out * len(found) / total))))
        held.append((source, [t for t in found if t.task.id in out]))
        kept.append((source, [t for t in found if t.task.id not in out]))
    return kept, held


def demonstrations(recipe: Recipe, source: Source) -> list[Trajectory]:
    """The successful trajectories that pass a source's filters, by id. Raises EdgexpError where there are none."""
    data = source.data
    filters = Filters(environment=data.environment, success=True, source=data.source or None, split=data.split)
    found = [t for t in source.bank.each(filters) if _wanted(data, t)]
    if not found:
        raise EdgexpError(f"the bank {source.bank.path} has no successful trajectory of {_named(data)}; fill it with: edgexp collect "
                          f"{data.environment} --split {data.split} --bank {source.bank.path}")
    found.sort(key=lambda t: t.id)
    if data.limit and data.limit < len(found):
        found = random.Random(f"{recipe.seed}/limit").sample(found, data.limit)
    return found


def check(rendered: Rendered, trajectory: Trajectory, renderer: Renderer) -> None:
    """That the labels are the trajectory's actions, each with its end of turn, and that none lies in the memory.

    Raises EdgexpError: such a sample would teach something else than it seems to.
    """
    where, tokenizer = f"the training sample of {trajectory.task.id}", renderer.tokenizer
    if not rendered.labels or len(rendered.labels) != len(trajectory.steps):
        raise EdgexpError(f"{where} has {len(rendered.labels)} labels for {len(trajectory.steps)} actions")
    end = tokenizer.decode(renderer.template.end)
    for (first, last), step in zip(rendered.labels, trajectory.steps, strict=True):
        said = tokenizer.decode(rendered.ids[first:last])
        # Some vocabularies put a space before the first word of any text.
        if said.lstrip(" ") != (step.action + end).lstrip(" "):
            raise EdgexpError(f"{where}: the label {said!r} is not the action {step.action!r}")
    for part in rendered.parts:
        if part.name.startswith("memory") and any(first < part.end and part.start < last for first, last in rendered.labels):
            raise EdgexpError(f"{where}: a label lies in {part.name}")


def pieces(rendered: Rendered, renderer: Renderer) -> list[tuple[str, bool]]:
    """The text of a sample, control tokens written out; True marks labels."""
    edges = [0, *(edge for span in rendered.labels for edge in span), len(rendered.ids)]
    texts = ((renderer.tokenizer.decode(rendered.ids[a:b]), number % 2 == 1) for number, (a, b) in enumerate(pairwise(edges)))
    return [(text, label) for text, label in texts if text]


def _train_on(built: Built, recipe: Recipe, source: Source, memories: Memories, trajectory: Trajectory) -> None:
    """Add the training samples of a trajectory."""
    for variant in range(recipe.memory.variants):
        condition = memories.draw(source.data.mix or recipe.memory.mix, trajectory, variant)
        memory = memories.recall(trajectory, condition, variant)
        if memory is None:
            _too_long(built, recipe, source, trajectory)
            return
        rendered = _add(built.sets["train"], source, trajectory, memory)
        built.conditions[condition] += 1
        built.conditions["empty"] += condition != "absent" and not memory.recalled
        built.remembered += len(memory.recalled)
        built.dropped += sum(1 for d in memory.dropped if d.reason == "budget")
        if len(built.shown) < SHOWN:
            built.shown.append(pieces(rendered, source.renderer))


def _measure_on(built: Built, recipe: Recipe, source: Source, memories: Memories, trajectory: Trajectory) -> None:
    """Add a held-out trajectory under every memory condition that is measured."""
    conditions = {"matched": "matched", "mismatched": "mismatched", "none": "absent"} if recipe.memory.k else {"none": "absent"}
    found = {name: memories.recall(trajectory, condition) for name, condition in conditions.items()}
    if None in found.values():
        _too_long(built, recipe, source, trajectory)
        return
    for number, (name, memory) in enumerate(found.items()):
        assert memory is not None
        _add(built.sets.setdefault(f"valid-{name}", Samples()), source, trajectory, memory)
        if number == 0:
            shown = tuple(r.trajectory for r in memory.recalled)
            built.reference.append(Sample(source.renderer.instructions, trajectory, shown))


def _add(samples: Samples, source: Source, trajectory: Trajectory, memory: Memory) -> Rendered:
    rendered = source.renderer.trajectory(trajectory, [r.trajectory for r in memory.recalled])
    check(rendered, trajectory, source.renderer)
    samples.add(rendered.ids, rendered.labels)
    return rendered


def _too_long(built: Built, recipe: Recipe, source: Source, trajectory: Trajectory) -> None:
    tokens, limit = len(source.renderer.trajectory(trajectory).ids), recipe.train.sequence
    if recipe.train.over_length == "error":
        raise EdgexpError(f"the sample of {trajectory.task.id} has {tokens} tokens without memory, train.sequence is {limit}: raise it, or "
                          'set train.over_length = "skip"')
    built.skipped.append(trajectory.task.id)


def _wanted(data: Data, trajectory: Trajectory) -> bool:
    task = trajectory.task
    return (not data.types or task.type in data.types) and (not data.groups or task.group in data.groups) and bool(trajectory.steps)


def _named(data: Data) -> str:
    parts = [f"{data.environment}, split {data.split}"]
    parts += [f"types {', '.join(data.types)}"] if data.types else []
    parts += [f"groups {', '.join(data.groups)}"] if data.groups else []
    return "; ".join(parts + ([f"by {data.source}"] if data.source else []))


def _figures(samples: Samples) -> dict[str, int]:
    lengths = samples.lengths
    labels = sum(len(samples.labels(i)) for i in range(len(samples)))
    return {"samples": len(samples), "actions": sum(map(len, samples.spans)), "tokens": sum(lengths), "labels": labels,
            "shortest": min(lengths, default=0), "median": int(median(lengths or [0])), "longest": max(lengths, default=0)}  # fmt: skip
