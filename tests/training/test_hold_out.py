"""What is held out, whatever the bank: no family on both sides, nothing lost, the same every time. Real banks, families of any size."""

from pathlib import Path

import msgspec
import pytest
from bank_samples import trajectory
from dataset_samples import bank_of, recipe, source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgexp.errors import EdgexpError
from edgexp.training.demonstrations import Chosen, Source, set_apart
from edgexp.training.recipe import Recipe
from edgexp.trajectory import Trajectory

houses = st.lists(st.integers(1, 6), min_size=2, max_size=12)
"""Scenes of each house."""
slow_banks = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def scenes(sizes: list[int], split: str = "train", start: int = 0) -> list[Trajectory]:
    """One episode of every scene; of the environment `worlds`, in which the scenes of a house are one family."""
    names = [f"worlds/{split}/{house}/{scene}" for house, count in enumerate(sizes) for scene in range(count)]
    told = [trajectory(start + number, "worlds", success=True, task=name) for number, name in enumerate(names)]
    return [msgspec.structs.replace(t, task=msgspec.structs.replace(t.task, split=split)) for t in told]


def house_of(found: Trajectory) -> str:
    return found.task.id.rsplit("/", 1)[0]


def taken(chosen: Chosen) -> list[Trajectory]:
    return [t for _, found in chosen for t in found]


def of_worlds(bank: object) -> Source:
    return source(bank, None, environment="worlds")  # type: ignore[arg-type]


def asked(held_out: int, seed: int = 0) -> Recipe:
    return recipe("", f"check.held_out={held_out}", f"seed={seed}")


@given(sizes=houses, held_out=st.integers(0, 20), seed=st.integers(0, 3))
@slow_banks
def test_no_house_is_on_both_sides_and_nothing_is_lost(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], held_out: int,
                                                       seed: int) -> None:
    told = scenes(sizes)
    with bank_of(tmp_path_factory.mktemp("houses"), told) as bank:
        try:
            kept, held, neither = set_apart(asked(held_out, seed), [of_worlds(bank)])
        except EdgexpError as error:
            assert f"check.held_out = {held_out} leaves nothing of {len(told)} trajectories to train on" in str(error)
            assert held_out >= len(sizes) - 1
            return
        again = set_apart(asked(held_out, seed), [of_worlds(bank)])
    assert not {house_of(t) for t in taken(held)} & {house_of(t) for t in taken(kept)}
    assert len(taken(kept)) + len(taken(held)) + neither == len(told)
    assert len(taken(held)) <= min(held_out, len(told) // 2)
    assert max([sum(house_of(t) == house_of(other) for other in taken(held)) for t in taken(held)], default=0) <= 3
    assert [t.id for half in again[:2] for t in taken(half)] == [t.id for half in (kept, held) for t in taken(half)]


@given(sizes=houses, other=houses, held_out=st.integers(1, 8))
@slow_banks
def test_a_house_that_one_bank_holds_out_no_other_bank_trains_on(tmp_path_factory: pytest.TempPathFactory, sizes: list[int],
                                                                 other: list[int], held_out: int) -> None:
    folder = tmp_path_factory.mktemp("two")
    with bank_of(folder / "a", scenes(sizes)) as one, bank_of(folder / "b", scenes(other, start=500)) as two:
        try:
            kept, held, _ = set_apart(asked(held_out), [of_worlds(one), of_worlds(two)])
        except EdgexpError as error:
            assert "leaves nothing" in str(error)
            return
    assert not {house_of(t) for t in taken(held)} & {house_of(t) for t in taken(kept)}
    assert len(held) == 2 and len(taken(held)) <= held_out


def test_other_seeds_hold_out_other_houses(tmp_path: Path) -> None:
    with bank_of(tmp_path, scenes([2] * 12)) as bank:
        drawn = {frozenset(house_of(t) for t in taken(set_apart(asked(4, seed), [of_worlds(bank)])[1])) for seed in range(6)}
    assert len(drawn) > 3


def test_a_bank_that_grows_elsewhere_keeps_what_was_held_out_whole(tmp_path: Path) -> None:
    """More scenes of a held-out house do not come into training."""
    with bank_of(tmp_path, scenes([2] * 8)) as bank:
        held = {house_of(t) for t in taken(set_apart(asked(4), [of_worlds(bank)])[1])}
        bank.add([trajectory(900 + n, "worlds", success=True, task=f"{house}/{9}") for n, house in enumerate(sorted(held))])
        kept, again, neither = set_apart(asked(4), [of_worlds(bank)])
    assert {house_of(t) for t in taken(again)} <= held
    assert not {house_of(t) for t in taken(kept)} & {house_of(t) for t in taken(again)}
    assert len(taken(kept)) + len(taken(again)) + neither == 16 + len(held)


def test_scenes_of_a_bank_split_are_of_the_houses_of_its_split(tmp_path: Path) -> None:
    """`dev-bank` holds other scenes of the houses of `dev`: what one holds out the other does not train on."""
    told = [*scenes([2] * 6, "dev"), *scenes([2] * 6, "dev-bank", start=300)]
    with bank_of(tmp_path, told) as bank:
        marked = source(bank, None, environment="worlds", split="dev", use="held_out")
        training = source(bank, None, environment="worlds", split="dev-bank")
        kept, held, neither = set_apart(asked(4), [training, marked])
    numbers = [{t.task.id.split("/")[2] for t in taken(half)} for half in (kept, held)]
    assert len(taken(held)) == 4 and not numbers[0] & numbers[1]
    assert {t.task.split for t in taken(kept)} == {"dev-bank"} and neither == 12 - len(taken(kept)) > 0
