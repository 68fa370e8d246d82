"""Which trajectories are trained on: filters that say what they removed, limits, and what is held out."""

import pytest
from bank_samples import trajectories, trajectory
from dataset_samples import bank_of, recipe, source, worlds

from edgexp.environments.base import family_of_id
from edgexp.errors import EdgexpError
from edgexp.training.demonstrations import entries_of, set_apart


@pytest.fixture
def bank(tmp_path):
    """120 household episodes of an expert, won and lost, and 10 of an agent."""
    with bank_of(tmp_path, [*trajectories(120), *(trajectory(n, source="agent") for n in range(200, 210))]) as opened:
        yield opened


def taken(chosen):
    return [t for _, found in chosen for t in found]


@pytest.mark.parametrize(("data", "message"), [
    ({"environment": "alfworld"}, "130 in all, 0 of alfworld; change"),
    ({"split": "dev"}, "130 in all, 130 of household, 0 of its split dev; change"),
    ({"source": "import"}, "130 of its split train, 0 by import"),
    ({"types": ("heat", "nap"), "groups": ("easy",)}, r"\d+ of type heat or nap, 0 of group easy"),
    ({"types": ("nap",)}, "0 of type nap"),
])  # fmt: skip
def test_an_empty_choice_says_which_filter_removed_what(bank, data, message):
    with pytest.raises(EdgexpError, match=message) as caught:
        entries_of(source(bank, None, **data))
    assert str(bank.path) in str(caught.value) and "fill the bank with: edgexp collect" in str(caught.value)


def test_no_successful_trajectory_and_no_trajectory_at_all_are_said(tmp_path):
    lost = [trajectory(n, success=False) for n in range(5)]
    with bank_of(tmp_path / "lost", lost) as bank, pytest.raises(EdgexpError, match=r"5 of household, 5 of its split train, 0 successful"):
        entries_of(source(bank, None))
    with bank_of(tmp_path / "empty", []) as bank, pytest.raises(EdgexpError, match="no trajectory to train on: 0 in all"):
        entries_of(source(bank, None))


def test_only_accepted_successes_that_pass_are_taken(bank):
    bank.add([trajectory(n, success=True) for n in range(300, 310)], status="quarantined")
    found = entries_of(source(bank, None, source="expert", types=("heat", "cool")))
    assert found and all(e.success and e.source == "expert" and e.task_type in ("heat", "cool") and e.status == "accepted" for e in found)
    assert len(found) == sum(t.success and t.task.type != "place" for t in trajectories(120))


def test_the_order_is_not_that_of_the_bank(tmp_path, bank):
    with bank_of(tmp_path / "reversed", list(bank.each())[::-1]) as other:
        chosen = [[t.id for t in taken(half)] for b in (bank, other) for half in set_apart(recipe(), [source(b, None)])[:2]]
    assert chosen[:2] == chosen[2:]


def test_a_limit_draws_by_the_seed(bank):
    kept, held, _ = set_apart(recipe(), [source(bank, None, limit=20)])
    again, other = set_apart(recipe(), [source(bank, None, limit=20)]), set_apart(recipe("", "seed=1"), [source(bank, None, limit=20)])
    assert len(taken(kept)) == 16 and len(taken(held)) == 4
    assert taken(again[0]) == taken(kept) and {t.id for t in taken(other[0])} != {t.id for t in taken(kept)}


def test_tasks_are_held_out_with_all_their_trajectories(tmp_path):
    twice = [trajectory(n, success=True, source=by, task=f"household/train/{n // 4}") for n in range(80) for by in ("expert", "agent")]
    with bank_of(tmp_path, twice) as bank:
        kept, held, neither = set_apart(recipe("", "check.held_out=5"), [source(bank, None)])
    tasks = {t.task.id for t in taken(held)}
    assert len(taken(held)) == 5 and not tasks & {t.task.id for t in taken(kept)}
    assert len(taken(kept)) + 5 + neither == 80 and neither == 3  # two tasks of four trajectories, of which five are measured on


def test_of_a_house_three_scenes_are_held_out_and_the_others_left(tmp_path):
    with bank_of(tmp_path, worlds("train", 54)) as bank:
        kept, held, neither = set_apart(recipe("", "check.held_out=6"), [source(bank, None, environment="worlds")])
    houses = {family_of_id(t.task.id) for t in taken(held)}
    assert len(houses) == 2 and not houses & {family_of_id(t.task.id) for t in taken(kept)}
    assert len(taken(held)) == 6 and len(taken(kept)) + 6 + neither == sum(t.success for t in worlds("train", 54))


def test_two_sources_share_what_is_held_out_in_proportion(tmp_path):
    all_types = [trajectory(n, success=True) for n in range(200)]
    with bank_of(tmp_path, all_types) as bank:
        sources = [source(bank, None, types=("heat", "cool")), source(bank, None, types=("place",))]
        kept, held, _ = set_apart(recipe("", "check.held_out=12"), sources)
    sizes = [len(found) for _, found in held]
    assert sum(sizes) == 12 and sizes[0] > sizes[1] > 0
    assert len(taken(kept)) == 188


def test_what_one_source_holds_out_another_does_not_train_on(tmp_path):
    with bank_of(tmp_path, [trajectory(n, success=True) for n in range(60)]) as bank:
        kept, held, _ = set_apart(recipe("", "check.held_out=10"), [source(bank, None), source(bank, None)])
    assert not {t.id for t in taken(held)} & {t.id for t in taken(kept)}


def test_marked_sources_are_held_out_instead(tmp_path, bank):
    bank.add([trajectory(n, success=True, task=f"household/dev/{n}") for n in range(400, 430)])  # of split train, but other tasks
    marked = source(bank, None, types=("cool",), use="held_out")
    kept, held, neither = set_apart(recipe("", "check.held_out=6"), [source(bank, None, types=("heat", "place")), marked])
    assert len(taken(held)) == 6 and all(t.task.type == "cool" for t in taken(held))
    assert neither == 0 and {t.task.type for t in taken(kept)} == {"heat", "place"}


def test_half_is_held_out_at_most(tmp_path):
    with bank_of(tmp_path, [trajectory(n, success=True) for n in range(9)]) as bank:
        kept, held, _ = set_apart(recipe("", "check.held_out=64"), [source(bank, None)])
    assert (len(taken(kept)), len(taken(held))) == (5, 4)


def test_nothing_to_train_on_is_an_error(tmp_path):
    with bank_of(tmp_path, worlds("train", 9)) as bank:
        one_house = source(bank, None, environment="worlds")
        with pytest.raises(EdgexpError, match=r"check\.held_out = 4 leaves nothing of \d trajectories to train on"):
            set_apart(recipe(), [one_house])
        with pytest.raises(EdgexpError, match='every source of the recipe is marked use = "held_out"'):
            set_apart(recipe(), [source(bank, None, environment="worlds", use="held_out")])
        assert set_apart(recipe("", "check.held_out=0"), [one_house])[1] == [(one_house, [])]
