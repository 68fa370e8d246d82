"""The boundary around an environment: nobody else ever sees a value of it that was not checked here. Knows no environment by name.

`checked` wraps an environment; `registry.make` does so with every one. What is meant is converted (see `plain.py`), and any collection of
texts will do for `admissible`. What is not ends in an EdgexpError of one line that names the member, what it returned, and what is wanted.
Whatever a member raises becomes such a line too, `sys.exit` included; only Ctrl-C stays what it is.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar, cast

from edgexp.environments import plain
from edgexp.environments.base import Achieved, Environment, Expert, Outcome, Start
from edgexp.environments.calls import Tool
from edgexp.environments.checked_calls import bad_call, checked_tools
from edgexp.environments.splits import Made
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task, Trajectory

LONGEST_ACTION = LONGEST_GOAL = LONGEST_INSTRUCTIONS = 65_536
"""Characters."""
LONGEST_OBSERVATION = 262_144
LONGEST_EPISODE = 16_000_000
"""Characters of all observations of an episode together: what one trajectory of a bank can be read with ease."""
MOST_ACTIONS = 100_000
"""Valid actions at once."""
MOST_TASKS = 1_000_000
"""Tasks of a split that is given one after the other; a split with positions may be of any length."""

Answer = TypeVar("Answer")


class _Guard:
    """Stands before an object: what it has besides passes through, and `isinstance` knows its class."""

    __slots__ = ("_inner", "_owner")

    def __init__(self, inner: Any, owner: str) -> None:
        object.__setattr__(self, "_inner", inner)
        object.__setattr__(self, "_owner", owner)

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # policies ask which environment they play
        return type(self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)

    def __copy__(self) -> "_Guard":
        return type(self)(copy.copy(self._inner), self._owner)

    def __deepcopy__(self, known: dict[int, Any]) -> "_Guard":
        return type(self)(copy.deepcopy(self._inner, known), self._owner)

    def _ask(self, member: str, work: Callable[..., Answer], *arguments: Any) -> Answer:
        """What the work answers; whatever it raises is an EdgexpError, but for Ctrl-C."""
        try:
            return work(*arguments)
        except EdgexpError:
            raise
        except BaseException as error:  # `sys.exit` of a plug-in ends what it was asked for, and nothing else
            if type(error) is KeyboardInterrupt:
                raise
            raise EdgexpError(f"{self._owner}: {member} raised {plain.explain(error)}") from error


class _State:
    """What is so in the episode under way."""

    def __init__(self) -> None:
        self.going, self.size = False, 0
        self.known: set[str] = set()
        """Actions that were checked before."""
        self.tools: Sequence[Tool] | None = None
        """What may be called, as far as it was asked since the last action."""
        self.outcome = Outcome("")


class Checked(_Guard):
    """An environment whose members return what `base.Environment` says, or raise EdgexpError. Made by `checked`."""

    __slots__ = ("_state",)

    def __init__(self, inner: Any, owner: str) -> None:
        super().__init__(inner, owner)
        object.__setattr__(self, "_state", _State())

    @property
    def name(self) -> str:
        """A text that is not empty."""
        return self._ask("name", lambda: plain.text(self._inner.name, self._owner, "name"))

    @property
    def version(self) -> str:
        """A text."""
        return self._ask("version", lambda: plain.text(self._inner.version, self._owner, "version"))

    @property
    def max_steps(self) -> int:
        """One or more; a reset may change it."""
        return self._ask("max_steps", lambda: plain.whole(self._inner.max_steps, self._owner, "max_steps", 1))

    def splits(self) -> Sequence[str]:
        """The names, as a tuple."""
        return tuple(self._ask("splits()", lambda: plain.texts(self._inner.splits(), self._owner, "what splits() returned")))

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split; each is checked when it is looked at. Raises UsageError for a split that is not there."""
        try:
            return self._ask(f"tasks({split!r})", self._tasks, split)
        except UsageError:
            raise
        except EdgexpError as error:
            if split not in (known := self.splits()):
                raise UsageError(f"{self._owner} has no split {split!r}; it has {', '.join(known)}") from error
            raise

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""
        try:
            return self._ask(f"task({plain.shown(task_id)})", self._task, task_id)
        except EdgexpError as error:
            if isinstance(error.__cause__, LookupError | StopIteration):  # what a plug-in's own look-up raises
                raise UsageError(f"{self._owner} has no task {plain.shown(task_id)}") from error
            raise

    def instructions(self) -> str:
        """A text."""
        return self._ask("instructions()", lambda: plain.text(
            self._inner.instructions(), self._owner, "what instructions() returned", LONGEST_INSTRUCTIONS))  # fmt: skip

    def reset(self, task: Task) -> Start:
        """A goal and an observation, both plain texts."""
        return self._ask(f"reset({task.id!r})", self._reset, task)

    def step(self, action: str) -> Outcome:
        """A plain text, finite numbers and truths."""
        return self._ask("step()", self._step, action)

    def close(self) -> None:
        """Raises EdgexpError where it fails."""
        self._ask("close()", self._inner.close)

    def _task(self, task_id: str) -> Task:
        return plain.task(self._inner.task(task_id), self._owner, f"what task({plain.shown(task_id)}) returned")

    def _tasks(self, split: str) -> Sequence[Task]:
        found, what = self._inner.tasks(split), f"what tasks({split!r}) returned"
        if isinstance(found, str | bytes | bytearray | Mapping) or not (isinstance(found, Iterable) or hasattr(found, "__getitem__")):
            plain.refuse(found, self._owner, what, "a list of tasks is wanted")
        if not (hasattr(found, "__len__") and hasattr(found, "__getitem__")):
            unordered, found = isinstance(found, set | frozenset), list(islice(found, MOST_TASKS + 1))
            if len(found) > MOST_TASKS:
                raise EdgexpError(f"{self._owner}: {what} gives more than {MOST_TASKS:,} tasks; give an object with a length and positions")
            if unordered:
                found.sort(key=lambda one: str(getattr(one, "id", "")))
        lazy = Made(len(found), lambda position: self._ask(f"tasks({split!r})", self._task_at, found, position, split))
        return list(lazy) if isinstance(found, list | tuple) else lazy

    def _task_at(self, found: Any, position: int, split: str) -> Task:
        return plain.task(found[position], self._owner, f"task {position} of tasks({split!r})")

    def _reset(self, task: Task) -> Start:
        self._state.going, self._state.tools, self._state.outcome = False, None, Outcome("")
        value, owner, what = self._inner.reset(task), self._owner, f"reset({task.id!r})"
        if not isinstance(value, Start):
            plain.refuse(value, owner, f"what {what} returned", f"a Start(goal, observation) is wanted{_gym(value)}")
        goal = plain.text(value.goal, owner, f"the goal of {what}", LONGEST_GOAL)
        seen = plain.text(value.observation, owner, f"the observation of {what}", LONGEST_OBSERVATION)
        self._state.going, self._state.size = True, len(seen)
        return value if type(value) is Start and goal is value.goal and seen is value.observation else Start(goal, seen)

    def _step(self, action: str) -> Outcome:
        state = self._state
        if state.going and (wrong := bad_call(action, cast("Environment", self))):
            outcome = Outcome(wrong, 0.0, False, state.outcome.success, state.outcome.score)
        else:
            state.tools, value = None, self._inner.step(action)
            outcome = value if _is_plain(value) else outcome_of(value, self._owner)
        state.outcome = outcome
        state.size += len(outcome.observation)
        if state.size > LONGEST_EPISODE:
            raise EdgexpError(f"{self._owner}: the observations of this episode have more than {LONGEST_EPISODE:,} characters together")
        if outcome.done:
            state.going = False
        return outcome


def outcome_of(value: object, owner: str) -> Outcome:
    """What `step` returned, with plain values in all fields."""
    if not isinstance(value, Outcome):
        plain.refuse(value, owner, "what step() returned", f"an Outcome is wanted{_gym(value)}")
    seen = plain.text(value.observation, owner, "the observation of step()", LONGEST_OBSERVATION)
    reward, score = plain.number(value.reward, owner, "the reward of step()"), plain.share(value.score, owner, "the score of step()")
    done, success = plain.truth(value.done, owner, "done of step()"), plain.truth(value.success, owner, "success of step()")
    return Outcome(seen, reward, done, success, score)


def _is_plain(value: Any) -> bool:
    """Whether an outcome can be taken as it is. This is asked at every step, and so looks at what is usual only."""
    return (
        type(value) is Outcome
        and type(seen := value.observation) is str and len(seen) <= LONGEST_OBSERVATION and seen.isascii()
        and type(value.reward) is float and -math.inf < value.reward < math.inf
        and type(value.score) is float and 0.0 <= value.score <= 1.0
        and type(value.done) is bool and type(value.success) is bool
    )  # fmt: skip


def _gym(value: object) -> str:
    """What to do about an environment that speaks as Gymnasium's do."""
    return "; a Gymnasium environment needs an adapter: a class with the members of edgexp/environments/base.py that asks it" \
        if isinstance(value, tuple) else ""


# Optional members: an environment has them behind the boundary where it has them before it.


def _admissible(self: Checked) -> list[str]:
    """Valid actions, sorted, without repeats; empty only when no episode is under way."""
    return self._ask("admissible()", _valid_actions, self)


def _valid_actions(self: Checked) -> list[str]:
    found, state = self._inner.admissible(), self._state
    if type(found) is not list or {*map(type, found)} != {str} or not state.known.issuperset(found):
        what = "what admissible() returned"
        found = plain.texts(found, self._owner, what, LONGEST_ACTION, MOST_ACTIONS)
        if "" in found:
            raise EdgexpError(f"{self._owner}: {what} holds an empty text, but an action has at least one character")
        if not found and state.going:
            raise EdgexpError(f"{self._owner}: {what} is empty, but the episode is not over: at least one valid action is wanted")
        if len(state.known) > MOST_ACTIONS:
            state.known.clear()
        state.known.update(found)
    ordered = sorted({*found})
    return found if found == ordered else ordered


def _tools(self: Checked) -> Sequence[Tool]:
    """Tools whose schemas can be read; some of them can be called while an episode is under way."""
    state, found = self._state, self._state.tools if self._state.going else None
    if found is None:
        found = state.tools = self._ask("tools()", lambda: checked_tools(self._inner.tools(), self._owner, going=state.going))
    return found


def _expert(self: Checked) -> Expert:
    """A fresh player, checked too."""
    return self._ask("expert()", lambda: _checked_expert(self._inner.expert(), self._owner))


def _checked_expert(player: Any, owner: str) -> Expert:
    if not (callable(getattr(player, "begin", None)) and callable(getattr(player, "act", None))):
        plain.refuse(player, owner, "what expert() returned", "a player with begin(goal, observation) and act(observation) is wanted")
    if not callable(getattr(player, "saw", None)):
        return CheckedExpert(player, owner)
    return CheckedAdviser(player, owner) if callable(getattr(player, "advise", None)) else CheckedFollower(player, owner)


class CheckedExpert(_Guard):
    """An expert whose actions are plain texts, and that raises EdgexpError and nothing else."""

    __slots__ = ()

    def begin(self, goal: str, observation: str) -> None:
        """A new episode."""
        self._ask("begin() of the expert", self._inner.begin, goal, observation)

    def act(self, observation: str) -> str | None:
        """The next action; None when it gives up."""
        return self._action("act() of the expert", self._inner.act, observation)

    def _action(self, member: str, work: Callable[[str], object], observation: str) -> str | None:
        action = self._ask(member, work, observation)
        return None if action is None else self._ask(member, plain.text, action, self._owner, f"what {member} returned", LONGEST_ACTION)


class CheckedFollower(CheckedExpert):
    """An expert that hears of actions of others."""

    __slots__ = ()

    def saw(self, observation: str, action: str) -> None:
        """Take note of another's action."""
        self._ask("saw() of the expert", self._inner.saw, observation, action)


class CheckedAdviser(CheckedFollower):
    """An expert that can be asked as well."""

    __slots__ = ()

    def advise(self, observation: str) -> str | None:
        """What it would do; None when it would give up."""
        return self._action("advise() of the expert", self._inner.advise, observation)


def _misled(self: Checked, goal: str) -> Sequence[Expert]:
    """Fresh players, checked too."""
    return self._ask("misled()", lambda: [_checked_expert(player, self._owner) for player in self._inner.misled(goal)])


def _achieved(self: Checked, trajectory: Trajectory) -> Achieved | None:
    """A goal in plain texts, and a number of steps that the trajectory has."""
    return self._ask("achieved()", _checked_goal, self._inner.achieved, trajectory, self._owner)


def _checked_goal(achieved: Callable[[Trajectory], object], trajectory: Trajectory, owner: str) -> Achieved | None:
    found, what = achieved(trajectory), "what achieved() returned"
    if found is None:
        return None
    if not isinstance(found, Achieved):
        plain.refuse(found, owner, what, "an Achieved or None is wanted")
    goal = plain.text(found.goal, owner, f"the goal of {what}", LONGEST_GOAL)
    type, group = (plain.text(getattr(found, name), owner, f"the {name} of {what}") for name in ("type", "group"))
    steps = plain.whole(found.steps, owner, f"the steps of {what}", 1)
    if not goal or not type or steps > len(trajectory.steps):
        raise EdgexpError(f"{owner}: {what} names no goal, no type, or more steps than the {len(trajectory.steps)} of the trajectory")
    return Achieved(goal, type, group, steps)


def _family(self: Checked, task: Task) -> str:
    return self._ask("family()", lambda: plain.text(self._inner.family(task), self._owner, "what family() returned"))


def _lesson(self: Checked, task: Task) -> str:
    return self._ask("lesson()", lambda: plain.text(self._inner.lesson(task), self._owner, "what lesson() returned"))


def _aspects(self: Checked, task: Task, goal: str) -> Mapping[str, str]:
    return self._ask("aspects()", _named_texts, self._inner.aspects, task, goal, self._owner)


def _named_texts(aspects: Callable[[Task, str], object], task: Task, goal: str, owner: str) -> Mapping[str, str]:
    found, what = aspects(task, goal), "what aspects() returned"
    if not isinstance(found, Mapping) or "type" not in found:
        plain.refuse(found, owner, what, "a dictionary of texts with 'type' in it is wanted")
    return {plain.text(name, owner, f"a name of {what}"): plain.text(value, owner, f"a value of {what}") for name, value in found.items()}


def _value(member: str, convert: Callable[..., Any], *limits: int) -> Callable[[Checked], Any]:
    """A member that is no method, as one of `plain.py` converts it."""
    return lambda self: self._ask(member, lambda: convert(getattr(self._inner, member), self._owner, member, *limits))


def _action_form(self: Checked) -> str:
    return self._ask("action_form", lambda: plain.one_of(self._inner.action_form, self._owner, "action_form", ("line", "block")))


_METHODS = {
    "admissible": _admissible, "expert": _expert, "misled": _misled, "achieved": _achieved, "family": _family, "lesson": _lesson,
    "aspects": _aspects, "tools": _tools,
}  # fmt: skip
_VALUES = {
    "refusals": _value("refusals", plain.texts, LONGEST_OBSERVATION), "remote": _value("remote", plain.truth),
    "reads_calls": _value("reads_calls", plain.truth),
    "restarts": _value("restarts", plain.whole), "most_calls": _value("most_calls", plain.whole, 1),
    "action_tokens": _value("action_tokens", plain.whole, 1), "action_form": _action_form,
}  # fmt: skip


@lru_cache(maxsize=256)
def _with(members: tuple[str, ...]) -> type[Checked]:
    """The class with these optional members: protocols of `base.py` look for them in it."""
    having: dict[str, Any] = {"__slots__": ()}
    for name in members:
        having[name] = _METHODS[name] if name in _METHODS else property(_VALUES[name])
    return type("Checked", (Checked,), having)


def checked(environment: Any, called: str) -> Environment:
    """An environment behind the boundary; one that is behind it already as it is. `called` names it where it has no name to be read.

    Raises EdgexpError where a member that is no method is of a wrong type.
    """
    if issubclass(type(environment), Checked):
        return environment  # type: ignore[no-any-return]
    guard = _Guard(environment, called)
    members = guard._ask("an attribute", lambda: tuple(
        name for name in (*_METHODS, *_VALUES)
        if (callable(getattr(environment, name, None)) if name in _METHODS else hasattr(environment, name))
    ))  # fmt: skip
    made = _with(members)(environment, called)
    name = made.name
    if not name:
        raise EdgexpError(f"{called}: name is empty")
    made = _with(members)(environment, name)
    for member in ("version", "max_steps", *(member for member in members if member in _VALUES)):
        getattr(made, member)
    return cast("Environment", made)
