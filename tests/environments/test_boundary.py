"""The boundary around environments: what is meant is converted, and what is not is one line that ends its own episode only."""

import copy
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import make_trajectory
from wrong_values import MEMBERS, OF_THE_EXPERT, RAISES, VALUES, Evil, Fickle, Shouting, leave, plenty

from edgexp.environments import boundary
from edgexp.environments.base import (
    Achieved,
    CountsRestarts,
    Environment,
    FollowsOthers,
    HasAchieved,
    HasAdmissible,
    HasAspects,
    HasExpert,
    HasFamilies,
    HasLessons,
    HasMisled,
    LivesElsewhere,
    Outcome,
    Start,
    achieved_by,
    aspects_of,
    expert_of,
    family_of,
    is_remote,
    lesson_of,
    misled_players,
    restarts_of,
    valid_actions_of,
)
from edgexp.environments.boundary import Checked, checked
from edgexp.environments.household import Household
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.collecting import expert_episode
from edgexp.play.rollout import Finished, run_many
from edgexp.trajectory import Task, Trajectory, decode, encode

PROTOCOLS = (
    Environment, HasAdmissible, HasExpert, HasFamilies, HasLessons, HasAspects, HasMisled, HasAchieved, LivesElsewhere, CountsRestarts,
)  # fmt: skip
TASK = Task("fickle/train/0", "fickle", "train", "wait", "easy")


def behind(**answers: Any) -> Any:
    """A fickle environment behind the boundary, whose members answer what is given."""
    return checked(Fickle({name: partial(lambda value: value, value) for name, value in answers.items()}), "test")


def check_line(words: str) -> None:
    """One line that can be written anywhere, and is read at a glance."""
    assert words and "\n" not in words and len(words) < 2_000
    words.encode()


# What passes


class Half(Fickle):
    """Without most of what is optional."""

    admissible = None  # type: ignore[assignment]
    __annotations__: dict[str, Any] = {}


def test_optional_members_stay_optional() -> None:
    from test_base import Bare, Whole

    for inner in (Bare(), Whole(), Half(), Fickle(), Household()):
        outer = checked(inner, "test")
        assert [isinstance(outer, protocol) for protocol in PROTOCOLS] == [isinstance(inner, protocol) for protocol in PROTOCOLS]
        assert isinstance(outer, type(inner)) and type(outer).__mro__[1] is Checked
    assert isinstance(expert_of(behind()), FollowsOthers) and not isinstance(expert_of(checked(Whole(), "test")), FollowsOthers)


def test_an_environment_is_wrapped_once_and_other_attributes_pass_through() -> None:
    inner = Fickle()
    outer: Any = checked(inner, "test")
    assert checked(outer, "again") is outer
    inner.note = "said"  # type: ignore[attr-defined]
    assert outer.note == "said" and not hasattr(outer, "other")
    outer.max_steps = 9
    assert inner.max_steps == 9 == outer.max_steps
    for another in (copy.copy(outer), copy.deepcopy(outer)):
        assert type(another) is type(outer) and another._inner is not inner and another.max_steps == 9
        another.max_steps = 3
    assert inner.max_steps == 9


def test_every_environment_that_is_made_stands_behind_the_boundary() -> None:
    for name in ("household", "worlds", "treatments", "toys:Counting"):
        assert issubclass(type(make(name)), Checked)


def test_what_is_right_is_passed_on_as_it_is() -> None:
    start, outcome, actions, task = Start("g", "ö"), Outcome("o", 1.0, False, False, 0.5), ["a", "b"], TASK
    world = behind(reset=start, step=outcome, admissible=actions, task=task)
    assert world.reset(task) is start and world.step("x") is outcome and world.task("x") is task
    assert world.admissible() == actions and world.admissible() is actions


@pytest.mark.parametrize(("given_", "wanted"), [
    (Outcome("o", True, 1, 1, True), Outcome("o", 1.0, True, True, 1.0)),  # type: ignore[arg-type]
    (Outcome("o", 1, 0, 0.0, 0), Outcome("o", 1.0, False, False, 0.0)),  # type: ignore[arg-type]
    (Outcome(np.str_("o"), np.float32(0.5), np.bool_(True), np.int64(1), np.array(0.25)), Outcome("o", 0.5, True, True, 0.25)),  # type: ignore[arg-type]
    (Outcome(Shouting("o"), Fraction(1, 2), False, False, 1 + 1e-9), Outcome("o", 0.5, False, False, 1.0)),  # type: ignore[arg-type]
    (Outcome(np.array("o"), np.array(1), np.array(False), np.bool_(False), np.longdouble(-1e-12)), Outcome("o", 1.0, False, False, 0.0)),  # type: ignore[arg-type]
])  # fmt: skip
def test_what_is_meant_is_converted(given_: Outcome, wanted: Outcome) -> None:
    found = behind(step=given_).step("x")
    assert found == wanted
    assert [type(getattr(found, name)) for name in Outcome.__struct_fields__] == [str, float, bool, bool, float]


@pytest.mark.parametrize("actions", [
    ("b", "a", "b"), {"a", "b"}, frozenset("ab"), ["b", "a"], np.array(["a", "b", "a"]), [np.str_("b"), Shouting("a")],
    dict.fromkeys("ab").keys(),
])  # fmt: skip
def test_any_collection_of_texts_lists_actions(actions: Any) -> None:
    for world in (behind(admissible=actions), checked(Fickle({"admissible": lambda: (one for one in actions)}), "test")):
        found = world.admissible()
        assert found == ["a", "b"] and {*map(type, found)} == {str}


def test_no_action_is_left_when_an_episode_is_over_and_only_then() -> None:
    world = behind(admissible=[])
    assert world.admissible() == []
    world.reset(TASK)
    world.step("wait")
    with pytest.raises(EdgexpError, match="what admissible\\(\\) returned is empty, but the episode is not over"):
        world.admissible()
    world.step("wait")
    assert world.admissible() == []


def test_tasks_of_any_kind_of_collection() -> None:
    tasks = Fickle().tasks("train")
    for value in (tasks, tuple(tasks), set(tasks), iter(tasks), np.array(tasks, dtype=object), dict.fromkeys(tasks).keys()):
        found = behind(tasks=value).tasks("train")
        assert sorted(found, key=lambda task: task.id) == tasks and found[2:4] == list(found)[2:4] and len(found) == 10
        with pytest.raises(IndexError):
            found[10]
    numpy = behind(tasks=[Task(np.str_("fickle/train/1"), "fickle", "train", np.str_("wait"))]).tasks("train")
    assert numpy[0] == Task("fickle/train/1", "fickle", "train", "wait") and type(numpy[0].id) is type(numpy[0].type) is str


def test_a_long_split_is_looked_at_where_it_is_asked_for() -> None:
    class Long:
        def __len__(self) -> int:
            return 10**12

        def __getitem__(self, position: int) -> Any:
            return Task(f"fickle/train/{position}", "fickle", "train", "wait" if position != 7 else 7)  # type: ignore[arg-type]

    found = behind(tasks=Long()).tasks("train")
    assert len(found) == 10**12 and found[10**12 - 1].id == "fickle/train/999999999999"
    with pytest.raises(EdgexpError, match=r"^fickle: the type of task 7 of tasks\('train'\) is 7, but a text is wanted$"):
        found[7]


# What is refused, in words


@pytest.mark.parametrize(("member", "value", "words"), [
    ("step", None, "fickle: what step() returned is None, but an Outcome is wanted"),
    ("step", ("o", 1.0, False, False, {}), "but an Outcome is wanted; a Gymnasium environment needs an adapter"),
    ("step", Outcome(None), "fickle: the observation of step() is None, but a text is wanted"),  # type: ignore[arg-type]
    ("step", Outcome(b"o"), "fickle: the observation of step() is b'o', but a text is wanted"),  # type: ignore[arg-type]
    ("step", Outcome("\ud800"), r"the observation of step() is '\ud800', but a text without lone surrogates is wanted"),
    ("step", Outcome("o" * 10_000_000), "the observation of step() has 10,000,000 characters, and at most 262,144 are allowed"),
    ("step", Outcome("o", float("nan")), "fickle: the reward of step() is nan, but a finite number is wanted"),
    ("step", Outcome("o", Decimal(1)), "fickle: the reward of step() is Decimal('1'), but a finite number is wanted"),  # type: ignore[arg-type]
    ("step", Outcome("o", 0.0, "no"), "fickle: done of step() is 'no', but True or False is wanted"),  # type: ignore[arg-type]
    ("step", Outcome("o", 0.0, False, 0.5), "fickle: success of step() is 0.5, but True or False is wanted"),  # type: ignore[arg-type]
    ("step", Outcome("o", 0.0, False, False, 100), "fickle: the score of step() is 100.0, but a number from 0 to 1 is wanted"),
    ("reset", "You see.", "fickle: what reset('fickle/train/0') returned is 'You see.', but a Start(goal, observation) is wanted"),
    ("reset", ("o", {}), "a Start(goal, observation) is wanted; a Gymnasium environment needs an adapter"),
    ("reset", Start("g" * 20_000_000, "o"), "the goal of reset('fickle/train/0') has 20,000,000 characters, and at most 65,536 are"),
    ("admissible", "open door", "fickle: what admissible() returned is 'open door', but a list of texts is wanted"),
    ("admissible", None, "what admissible() returned is None, but a list of texts is wanted"),
    ("admissible", [1, 2], "fickle: text 1 of what admissible() returned is 1, but a text is wanted"),
    ("admissible", ["go", ""], "what admissible() returned holds an empty text"),
    ("instructions", None, "fickle: what instructions() returned is None, but a text is wanted"),
    ("splits", "train", "fickle: what splits() returned is 'train', but a list of texts is wanted"),
    ("tasks", None, "what tasks('train') returned is None, but a list of tasks is wanted"),
    ("tasks", ["fickle/train/0"], "task 0 of tasks('train') is 'fickle/train/0', but an edgexp.trajectory.Task is wanted"),
    ("task", None, "fickle: what task('fickle/train/0') returned is None, but an edgexp.trajectory.Task is wanted"),
    ("expert", None, "what expert() returned is None, but a player with begin(goal, observation) and act(observation) is wanted"),
    ("achieved", "rest.", "fickle: what achieved() returned is 'rest.', but an Achieved or None is wanted"),
    ("achieved", Achieved("rest.", "rest", "", 0), "fickle: the steps of what achieved() returned is 0"),
    ("achieved", Achieved("rest.", "rest", "", 3), "or more steps than the 2 of the trajectory"),
    ("achieved", Achieved("", "rest", "", 1), "names no goal"),
    ("misled", None, "fickle: misled() raised TypeError"),
    ("misled", [5], "a player with begin(goal, observation) and act(observation) is wanted"),
    ("advise", 5, "fickle: what advise() of the expert returned is 5, but a text is wanted"),
    ("family", 5, "what family() returned is 5, but a text is wanted"),
    ("lesson", None, "what lesson() returned is None, but a text is wanted"),
    ("aspects", {"object": "egg"}, "but a dictionary of texts with 'type' in it is wanted"),
    ("restarts", -1, "restarts is -1, but a whole number, 0 or more, is wanted"),
])  # fmt: skip
def test_what_is_refused_is_told_with_the_member_and_what_is_wanted(member: str, value: Any, words: str) -> None:
    with pytest.raises(EdgexpError) as raised:
        ask(behind(**{member: value}), member)
    assert words in str(raised.value)
    check_line(str(raised.value))


@pytest.mark.parametrize(("member", "value"), [
    ("name", None), ("name", 5), ("name", ""), ("name", "\ud800"), ("version", 1), ("version", None), ("max_steps", 0), ("max_steps", -3),
    ("max_steps", True), ("max_steps", "50"), ("max_steps", 2.5), ("max_steps", None), ("remote", "yes"), ("restarts", None),
])  # fmt: skip
def test_wrong_attributes_are_told_when_an_environment_is_made(member: str, value: Any) -> None:
    with pytest.raises(EdgexpError, match=member):
        behind(**{member: value})


def test_attributes_are_converted_too() -> None:
    world = behind(name=np.str_("fickle"), max_steps=np.int64(7), remote=np.bool_(True), restarts=np.array(2))
    assert (world.name, world.max_steps, is_remote(world), restarts_of(world)) == ("fickle", 7, True, 2)
    assert [type(one) for one in (world.name, world.max_steps, world.remote, world.restarts)] == [str, int, bool, int]


def test_what_is_not_there_is_told_with_what_is() -> None:
    world = behind()
    world._inner.tasks = {"train": []}.__getitem__
    world._inner.task = {}.__getitem__
    with pytest.raises(UsageError, match=r"^fickle has no split 'dev'; it has train, test$"):
        world.tasks("dev")
    with pytest.raises(UsageError, match=r"^fickle has no task 'fickle/dev/1'$"):
        world.task("fickle/dev/1")


def test_an_error_of_ours_passes_and_ctrl_c_too() -> None:
    for error in (UsageError("no such thing"), EdgexpError("broken"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as raised:
            checked(Fickle({"step": partial(throw, error)}), "test").step("x")
        assert raised.value is error


def test_sys_exit_is_an_error_of_what_was_asked() -> None:
    with pytest.raises(EdgexpError, match=r"^fickle: step\(\) raised SystemExit: bye bye\?$"):
        checked(Fickle({"step": leave}), "test").step("x")


def test_an_episode_has_a_longest_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "LONGEST_EPISODE", 21)
    world = behind()
    world.reset(TASK)
    world.step("wait")
    world.reset(TASK)
    world.step("wait")
    world.step("wait")
    world._inner.steps = 0
    with pytest.raises(EdgexpError, match="have more than 21 characters together"):
        world.step("wait")


# Every member and every wrong value


def throw(error: BaseException) -> None:
    raise error


def ask(world: Any, member: str) -> Any:
    """Ask a member behind the boundary as others do."""
    player = expert_of(world) if member in OF_THE_EXPERT else None
    calls: dict[str, Callable[[], Any]] = {
        "splits": world.splits, "tasks": lambda: list(world.tasks("train")[:3]), "task": lambda: world.task(TASK.id),
        "instructions": world.instructions, "reset": lambda: world.reset(TASK), "step": lambda: world.step("wait"), "close": world.close,
        "admissible": lambda: (valid_actions_of(world) or list)(), "expert": lambda: expert_of(world),
        "family": lambda: family_of(world, TASK), "lesson": lambda: lesson_of(world, TASK), "aspects": lambda: aspects_of(world, TASK, "g"),
        "begin": lambda: player.begin("g", "o"), "act": lambda: player.act("o"), "advise": lambda: player.advise("o"),  # type: ignore[union-attr]
        "misled": lambda: misled_players(world, "g"), "achieved": lambda: achieved_by(world, make_trajectory()),
        "saw": lambda: player.saw("o", "a"),  # type: ignore[union-attr]
        **{name: partial(getattr, world, name) for name in VALUES},
    }  # fmt: skip
    return calls[member]()


def plain_all_through(value: Any) -> bool:
    """Whether a value consists of plain ones."""
    if isinstance(value, Start | Outcome | Task | Achieved):
        fields = value.__struct_fields__
        return type(value) in (Start, Outcome, Task, Achieved) and all(plain_all_through(getattr(value, n)) for n in fields)
    if type(value) in (list, tuple):
        return all(map(plain_all_through, value))
    if type(value) is dict:
        return all(map(plain_all_through, [*value, *value.values()]))
    if type(value) is str:
        return len(value) <= 300_000 and value.encode().decode() == value
    return type(value) in (bool, int, type(None)) or (type(value) is float and np.isfinite(value)) or hasattr(value, "act")


@pytest.mark.parametrize("member", [*MEMBERS, *OF_THE_EXPERT, *VALUES])
def test_every_wrong_value_of_a_member_is_converted_or_one_line(member: str) -> None:
    for number in range(len(plenty())):
        answers = {member: lambda number=number: plenty()[number]}
        try:
            found = ask(checked(Fickle(answers), "test"), member)
        except EdgexpError as error:
            check_line(str(error))
        else:
            assert plain_all_through(found) or member in ("close", "begin", "saw"), (member, number)


@pytest.mark.parametrize("member", [*MEMBERS, *OF_THE_EXPERT])
@pytest.mark.parametrize("kind", RAISES)
def test_whatever_a_member_raises_is_one_line(member: str, kind: type[BaseException]) -> None:
    for error in (kind("a\nb\ud800"), kind(Evil())):
        with pytest.raises(EdgexpError) as raised:
            ask(checked(Fickle({member: partial(throw, error)}), "test"), member)
        check_line(str(raised.value))


VALUE = st.deferred(lambda: st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(), max_size=8), st.binary(max_size=4), st.just(Evil()),
    st.floats(width=32).map(np.float32), st.booleans().map(np.bool_), st.text(max_size=4).map(np.str_), st.lists(VALUE, max_size=3),
    st.builds(np.array, st.floats()), st.dictionaries(st.text(max_size=2), st.integers(), max_size=2), st.complex_numbers(),
))  # fmt: skip


@given(st.builds(Outcome, VALUE, VALUE, VALUE, VALUE, VALUE), st.builds(Start, VALUE, VALUE))
def test_outcomes_of_anything_are_plain_or_one_line(outcome: Outcome, start: Start) -> None:
    world = behind(step=outcome, reset=start)
    for work in (lambda: world.reset(TASK), lambda: world.step("wait")):
        try:
            found = work()
        except EdgexpError as error:
            check_line(str(error))
        else:
            assert plain_all_through(found)


@given(VALUE)
def test_actions_of_anything_are_a_sorted_list_or_one_line(value: Any) -> None:
    try:
        found = behind(admissible=value).admissible()
    except EdgexpError as error:
        check_line(str(error))
    else:
        assert plain_all_through(found) and found == sorted(set(found)) and not isinstance(value, str | bytes)


# Episodes


def episodes(worlds: list[Any], mistakes: float = 0.0) -> list[Finished]:
    """An expert's episode in each world, at two places."""
    starts = [lambda place, world=world: expert_episode(world, TASK, mistakes=mistakes) for world in worlds]
    return sorted(run_many(starts, 2), key=lambda one: one.number)


def check_kept(trajectory: Trajectory) -> None:
    """It is stored and read again as the same."""
    again = decode(encode(trajectory))
    assert again == trajectory and again.id == trajectory.id
    check_line(trajectory.end)


def faults() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every member that an episode asks, with everything that may be wrong with it."""
    for member in ("reset", "step", "admissible", "begin", "act", "saw", "expert"):
        for number in range(len(plenty())):
            yield member, lambda number=number: plenty()[number]
        for kind in RAISES:
            yield member, partial(throw, kind("a\nb\ud800"))


@pytest.mark.parametrize("remote", [False, True])
def test_each_fault_ends_its_own_episode_and_what_is_kept_can_be_read(remote: bool) -> None:
    for member, answer in faults():
        one: Any = checked(Fickle({member: answer}), "test")
        other: Any = checked(Fickle(), "test")
        one.remote = other.remote = remote
        faulty, sound = episodes([one, other], mistakes=0.5)
        assert sound.trajectory is not None and sound.trajectory.success and not sound.problem, member
        check_kept(sound.trajectory)
        if faulty.played is None:
            check_line(faulty.problem)
        else:
            check_kept(faulty.played.trajectory)


def test_an_episode_that_broke_off_says_so() -> None:
    [broken] = episodes([behind(step=None)])
    assert broken.problem == ("broken off after 0 actions: fickle/train/0: error: fickle: what step() returned is None, "
                              "but an Outcome is wanted")  # fmt: skip
    [never] = episodes([behind(reset="x")])
    assert never.problem.startswith("not played: fickle: what reset('fickle/train/0') returned is 'x'")
    assert episodes([behind()])[0].problem == ""
