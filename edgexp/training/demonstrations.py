"""Which trajectories of a bank are trained on, which are held out, and what each finds in its memory. Knows no tokens.

Memory is what retrieval would show, or by a stated share something worse: that of other tasks, a shortened one, or none. At run time a
bank can be empty, foreign or full of half episodes; a model that met such memory in training does not fall over it. Retrieval is that of
running: the same retriever, the same filter, the same key.

All chance comes from the recipe's seed and from what it is about, so that the same recipe and bank give the same samples."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from edgexp.bank import Bank, Embedder, Entry, Filters, task_text
from edgexp.environments.registry import family_of_task, lesson_of_task
from edgexp.errors import EdgexpError
from edgexp.prompt.render import Renderer
from edgexp.retrieval import Memory, Recalled, VectorRetriever
from edgexp.training.recipe import Data, Mix, Recipe
from edgexp.training.recipe import Memory as Settings
from edgexp.trajectory import Task, Trajectory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["matched", "mismatched", "shortened", "absent"]
"""What is in the memory of a sample; the fields of `Mix`."""
KINDS: tuple[Kind, ...] = get_args(Kind)

_GOLDEN = 0.6180339887498949
"""Steps of this size fill the ring evenly, however many there are."""


def draw(seed: int, *what: object) -> Random:
    """A source of chance of its own for everything that has a name."""
    return Random("/".join(map(str, (seed, *what))))


def task_of(entry: Entry) -> Task:
    """The task of a trajectory that was not read."""
    return Task(entry.task_id, entry.environment, entry.split, entry.task_type, entry.group)


def kinds(mix: Mix, count: int, seed: int, variant: int) -> list[Kind]:
    """The kinds of memory of `count` samples, in shares as exact as whole numbers allow.

    The samples stand in a drawn order on a ring that the kinds divide by their shares; each variant turns the ring by the golden ratio.
    So every variant has the shares, and so has every sample over its variants.
    """
    places = list(range(count))
    draw(seed, "kinds").shuffle(places)
    turn = variant * _GOLDEN
    ends = [mix.matched, mix.matched + mix.mismatched, mix.matched + mix.mismatched + mix.shortened]
    # A share of 0 has no stretch of the ring: bisect_right passes over it. The last kind takes rounding only when its share is above 0.
    last = max(number for number, kind in enumerate(KINDS) if getattr(mix, kind) > 0)
    return [KINDS[min(bisect_right(ends, ((place + 0.5) / count + turn) % 1), last)] for place in places]


def shorten(trajectory: Trajectory, chance: Random) -> Trajectory:
    """The trajectory without a random number of its last steps: of two or more, at least one is gone and at least one is left."""
    return msgspec.structs.replace(trajectory, steps=trajectory.steps[: chance.randint(1, max(1, len(trajectory.steps) - 1))])


_OF_A_KIN = 3
"""Held out of one house at most: more would measure the same thing again, fewer would cost more houses."""


@dataclass(frozen=True)
class Source:
    """A source of demonstrations, opened: its bank, and the renderer of its environment."""

    data: Data
    bank: Bank
    renderer: Renderer


Chosen = list[tuple[Source, list[Trajectory]]]
"""Sources with the trajectories taken from each."""


def set_apart(recipe: Recipe, sources: Sequence[Source]) -> tuple[Chosen, Chosen, int]:
    """Demonstrations to train on and to hold out, and how many are neither because they are of families of held-out ones.

    Where no source is marked for that, tasks of the training sources are held out, from each source in proportion. Raises EdgexpError for
    a source in which nothing passes the filters, and where nothing is left to train on.
    """
    picked = [(source, _limited(recipe, source, entries_of(source))) for source in sources]
    training = [(source, entries) for source, entries in picked if source.data.use == "train"]
    marked = [(source, entries) for source, entries in picked if source.data.use == "held_out"]
    wanted = recipe.check.held_out
    if not training:
        raise EdgexpError('every source of the recipe is marked use = "held_out": there is nothing to train on')
    if marked:
        shares = _even(wanted, len(marked))
    else:
        shares, marked = _proportional(wanted, [len(entries) for _, entries in training]), training
    chance = draw(recipe.seed, "held out")
    held = [(source, _hold_out(entries, share, chance.shuffle)) for (source, entries), share in zip(marked, shares, strict=True)]
    ids = {entry.id for _, entries in held for entry in entries}
    related = {family_of_task(task_of(entry)) for _, entries in held for entry in entries}
    kept = [(source, [entry for entry in entries if family_of_task(task_of(entry)) not in related]) for source, entries in training]
    if not any(entries for _, entries in kept):
        total = sum(len(entries) for _, entries in training)
        raise EdgexpError(f"check.held_out = {wanted} leaves nothing of {total} trajectories to train on: lower it, or collect more")
    neither = sum(entry.id not in ids for _, entries in training for entry in entries) - sum(len(entries) for _, entries in kept)
    return _read(kept), _read(held), neither


def entries_of(source: Source) -> list[Entry]:
    """What passes a source's filters, by id. Raises EdgexpError, saying what each filter left, where that is nothing."""
    data = source.data
    left = source.bank.entries(Filters(), "accepted")
    trail = [f"{len(left)} in all"]
    for name, passes in _tests(data):
        left = [entry for entry in left if passes(entry)]
        trail.append(f"{len(left)} {name}")
        if not left:
            break
    else:
        return sorted(left, key=lambda entry: entry.id)
    raise EdgexpError(f"the bank {source.bank.path} has no trajectory to train on: {', '.join(trail)}; change the recipe's [[data]], or "
                      f"fill the bank with: edgexp collect {data.environment} --split {data.split} --bank {source.bank.path}")


def _tests(data: Data) -> Iterator[tuple[str, Callable[[Entry], bool]]]:
    """The filters of a source in order, each with what it leaves."""
    yield f"of {data.environment}", lambda e: e.environment == data.environment
    yield f"of its split {data.split}", lambda e: e.split == data.split
    if data.source:
        yield f"by {data.source}", lambda e: e.source == data.source
    if data.types:
        yield f"of type {' or '.join(data.types)}", lambda e: e.task_type in data.types
    if data.groups:
        yield f"of group {' or '.join(data.groups)}", lambda e: e.group in data.groups
    yield "successful", lambda e: e.success
    yield "with an action", lambda e: e.steps > 0


def _limited(recipe: Recipe, source: Source, entries: list[Entry]) -> list[Entry]:
    limit = source.data.limit
    return draw(recipe.seed, "limit").sample(entries, limit) if 0 < limit < len(entries) else entries


def _hold_out(entries: Sequence[Entry], wanted: int, shuffle: Callable[[list[str]], None]) -> list[Entry]:
    """`wanted` entries, but half of them at most, of tasks or houses drawn one after the other."""
    families: dict[str, list[Entry]] = {}
    for entry in entries:
        families.setdefault(family_of_task(task_of(entry)), []).append(entry)
    order = sorted(families)
    shuffle(order)
    found = [entry for name in order for entry in families[name][:_OF_A_KIN]]
    return found[: min(wanted, len(entries) // 2)]


def _even(count: int, parts: int) -> list[int]:
    return [count // parts + (number < count % parts) for number in range(parts)]


def _proportional(count: int, sizes: Sequence[int]) -> list[int]:
    """`count` divided in the proportions of `sizes`, in whole numbers that add up to it."""
    total, ends = sum(sizes), [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    edges = [round(count * end / total) for end in ends]
    return [after - before for before, after in pairwise(edges)]


def _read(chosen: Sequence[tuple[Source, list[Entry]]]) -> Chosen:
    return [(source, [t for t in source.bank.read([entry.id for entry in entries]) if _teaches(t)]) for source, entries in chosen]


def _teaches(trajectory: Trajectory) -> bool:
    """Whether there is anything to learn: mistakes alone may have won it."""
    return not all(step.mistake for step in trajectory.steps)


_NEAREST = 16
"""Mismatched memory is drawn from so many: the nearest of other tasks, as a bank without the right experience would show them."""


class Memories:
    """Finds memory for trajectories of one environment in one bank. Nothing finds its own task, nor what is of the families `kept_out`."""

    def __init__(self, settings: Settings, bank: Bank, environment: str, seed: int, kept_out: frozenset[str] = frozenset()):
        self._bank, self._environment, self._seed = bank, environment, seed
        # As playing filters; what is held out is left out besides.
        self._filters = Filters(environment=environment)
        if kept_out:
            tasks = {task_of(entry) for entry in bank.entries(self._filters, "accepted")}
            related = sorted({task.id for task in tasks if family_of_task(task) in kept_out})
            self._filters = Filters(environment=environment, exclude_task_ids=tuple(related))
        self._retriever = VectorRetriever(bank, settings, self._filters) if settings.remembers else None
        self._latest: tuple[str, Memory] = ("", Memory())

    def find(self, trajectory: Trajectory, kind: Kind, variant: int | None = None) -> Memory:
        """Memory of that kind, not yet fitted into a budget; the most useful first.

        `variant` numbers the samples made of one trajectory. None draws nothing: mismatched memory is then the nearest there is. Raises
        EdgexpError where mismatched memory is asked for and the bank has nothing of other tasks.
        """
        if self._retriever is None or kind == "absent" or not self._retriever.due(0):
            return Memory()
        found = self._matched(trajectory)
        if kind == "matched" or not found.recalled:
            return found
        chance = None if variant is None else draw(self._seed, kind, trajectory.id, variant)
        if kind == "mismatched":
            return Memory(found.query, self._strangers(trajectory, len(found.recalled), chance))
        chance = chance or draw(self._seed, kind, trajectory.id)
        short = (msgspec.structs.replace(r, trajectory=shorten(r.trajectory, chance)) for r in found.recalled)
        return msgspec.structs.replace(found, recalled=tuple(short))

    @property
    def has_strangers(self) -> bool:
        """Whether everything in the bank can be mismatched with something."""
        return len(set(self._strange[1].tolist())) > 1

    def _matched(self, trajectory: Trajectory) -> Memory:
        if self._latest[0] != trajectory.id:
            assert self._retriever is not None
            t = trajectory
            self._latest = (t.id, self._retriever.recall(t.task, t.goal, t.observation, known=self._vector(t)))
        return self._latest[1]

    def _vector(self, trajectory: Trajectory) -> "NDArray[np.float32]":
        """The vector of the query that the trajectory's task would be: the stored one of its key where that is the same text.

        It is rounded to half precision, as searches round every query; what is found is the same (of 1,049 retrievals, all).
        """
        if self._asks_as_it_stores:
            vector: NDArray[np.float32] = self._bank.vectors("task", [trajectory.id])[0]
            return vector
        return self._bank.embed(task_text(trajectory.goal, trajectory.observation))

    @cached_property
    def _asks_as_it_stores(self) -> bool:
        return asks_as_it_stores(self._bank.embedder)

    def _strangers(self, trajectory: Trajectory, count: int, chance: Random | None) -> tuple[Recalled, ...]:
        """`count` of the nearest trajectories of other tasks, the nearest first."""
        import numpy as np

        ids, likes, vectors = self._strange
        task = trajectory.task
        own = self._codes.get(lesson_of_task(task), -1)
        others = np.flatnonzero(likes != own)
        if not len(others):
            raise EdgexpError(f"the bank {self._bank.path} has nothing to mismatch with {task.id}: its trajectories of {self._environment} "
                              "are all of one task type; take a memory.mix without mismatched, or collect more types")
        # Rounded, since the last digits of a product depend on how many threads had a part in it.
        scores = np.round(vectors @ self._vector(trajectory), 6)[others]
        best = np.lexsort((others, -scores))[: max(_NEAREST, count)]
        chosen = range(min(count, len(best))) if chance is None else sorted(chance.sample(range(len(best)), min(count, len(best))))
        found = self._bank.read([ids[others[best[n]]] for n in chosen])
        return tuple(Recalled(t, float(scores[best[n]])) for t, n in zip(found, chosen, strict=True))

    @cached_property
    def _strange(self) -> "tuple[list[str], NDArray[np.int64], NDArray[np.float32]]":
        """Ids of all that could be remembered, sorted, what each is like (a number of `_codes`), and their vectors."""
        import numpy as np

        entries = sorted(self._bank.entries(self._filters, "accepted"), key=lambda e: e.id)
        codes = [self._codes.setdefault(lesson_of_task(task_of(e)), len(self._codes)) for e in entries]
        ids = [e.id for e in entries]
        return ids, np.array(codes, np.int64), self._bank.vectors("task", ids)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {}


def asks_as_it_stores(embedder: Embedder) -> bool:
    """Whether a query gets the vector that the same text has as a key: so it is with encoders that have no prefix for queries."""
    import numpy as np

    text = task_text("find out.", "You see nothing.")
    asked, stored = embedder.encode([text], query=True), embedder.encode([text])
    return bool(np.allclose(asked, stored, atol=1e-5))
