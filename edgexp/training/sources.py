"""Which trajectories are trained on and which are held out. Knows no tokens and no memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgexp.bank import Bank, Entry, Filters
from edgexp.errors import EdgexpError
from edgexp.prompt import Renderer
from edgexp.training import mixing
from edgexp.training.recipe import Data, Recipe
from edgexp.trajectory import Trajectory

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


def part(recipe: Recipe, sources: Sequence[Source]) -> tuple[Chosen, Chosen, int]:
    """Demonstrations to train on and to hold out, and how many are neither because they are kin of held-out ones.

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
    chance = mixing.draw(recipe.seed, "held out")
    held = [(source, _hold_out(entries, share, chance.shuffle)) for (source, entries), share in zip(marked, shares, strict=True)]
    ids = {entry.id for _, entries in held for entry in entries}
    kin = {mixing.kin(entry.task_id) for _, entries in held for entry in entries}
    kept = [(source, [entry for entry in entries if mixing.kin(entry.task_id) not in kin]) for source, entries in training]
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
    return mixing.draw(recipe.seed, "limit").sample(entries, limit) if 0 < limit < len(entries) else entries


def _hold_out(entries: Sequence[Entry], wanted: int, shuffle: Callable[[list[str]], None]) -> list[Entry]:
    """`wanted` entries, but half of them at most, of tasks or houses drawn one after the other."""
    families: dict[str, list[Entry]] = {}
    for entry in entries:
        families.setdefault(mixing.kin(entry.task_id), []).append(entry)
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
    return [(source, source.bank.read([entry.id for entry in entries])) for source, entries in chosen]
