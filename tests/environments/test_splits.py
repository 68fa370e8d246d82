"""Tasks made when asked for, and the splits of houses."""

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.environments.splits import Housed, Houses, Made, check_split
from edgexp.errors import UsageError
from edgexp.trajectory import Task


class Cottages(Housed):
    name = "cottages"
    houses: ClassVar = {"train": Houses(0, 3, 0, 4), "dev": Houses(3, 2, 10, 2), "dev-bank": Houses(3, 2, 0, 5)}

    def type_of(self, house: int, scene: int) -> str:
        return f"{house}:{scene}"


def task(number: int) -> Task:
    return Task(f"e/train/{number}", "e", "train", "t")


@given(st.integers(0, 20), st.slices(20))
def test_made_tasks_are_a_sequence_like_any_other(count: int, part: slice) -> None:
    made, listed = Made(count, task), [task(number) for number in range(count)]
    assert list(made) == listed and made[part] == listed[part] and len(made) == count
    assert not count or made[-1] == listed[-1]
    with pytest.raises(IndexError):
        made[count]


def test_nothing_is_made_before_it_is_asked_for() -> None:
    asked: list[int] = []
    made = Made(1_000_000, lambda number: asked.append(number) or task(number))  # type: ignore[func-returns-value]
    assert made[7].id == "e/train/7" and asked == [7]


def test_an_unknown_split_is_an_error_that_names_the_known() -> None:
    check_split("e", "dev", ("train", "dev"))
    with pytest.raises(UsageError, match="e has no split 'test'; it has train, dev"):
        check_split("e", "test", ("train", "dev"))


def test_scenes_of_a_house_stand_together_and_count_over_all_splits() -> None:
    cottages = Cottages()
    assert [t.id for t in cottages.tasks("dev")] == ["cottages/dev/0/0", "cottages/dev/0/1", "cottages/dev/1/0", "cottages/dev/1/1"]
    assert [t.type for t in cottages.tasks("dev")] == ["3:10", "3:11", "4:10", "4:11"]
    for split in cottages.splits():
        for made in cottages.tasks(split):
            assert cottages.task(made.id) == made
            assert "{}:{}".format(*cottages.place(made)) == made.type


@pytest.mark.parametrize("bad", ["", "cottages/dev/2/0", "cottages/dev/0/2", "cottages/test/0/0", "cottages/dev/00/0", "barns/dev/0/0"])
def test_ids_of_no_task_are_refused(bad: str) -> None:
    with pytest.raises(UsageError, match=r"cottages has no task .*; it has cottages/train/0/0 to 2/3"):
        Cottages().task(bad)


def test_a_task_that_says_something_else_has_no_place() -> None:
    with pytest.raises(UsageError, match="not cottages' own task"):
        Cottages().place(Task("cottages/dev/0/0", "cottages", "dev", "other"))


@given(st.sampled_from(["train", "dev", "dev-bank"]), st.data())
def test_tasks_of_a_house_are_a_family_and_a_lesson(split: str, data: st.DataObject) -> None:
    cottages = Cottages()
    tasks = [task for name in cottages.splits() for task in cottages.tasks(name)]
    one = data.draw(st.sampled_from(list(cottages.tasks(split))))
    for other in tasks:
        alike = cottages.place(one)[0] == cottages.place(other)[0]
        assert (cottages.family(one) == cottages.family(other)) is alike
        assert (cottages.lesson(one) == cottages.lesson(other)) is alike


def test_a_bank_is_of_the_houses_of_its_split() -> None:
    cottages = Cottages()
    assert {cottages.family(task) for task in cottages.tasks("dev")} == {cottages.family(task) for task in cottages.tasks("dev-bank")}
    assert cottages.family(Task("cottages/dev-bank/1/4", "cottages", "dev-bank", "4:4")) == "cottages/dev/1"


@pytest.mark.parametrize("split", ["train", "dev", "dev-bank"])
def test_slices_of_a_split_are_lists_in_its_order(split: str) -> None:
    tasks = Cottages().tasks(split)
    assert tasks[::-1] == list(reversed(list(tasks))) and tasks[:0] == [] and tasks[1:3] == [tasks[1], tasks[2]]
    assert tasks[0] in tasks and tasks.index(tasks[3]) == 3 and tasks[-len(tasks)] == tasks[0]
