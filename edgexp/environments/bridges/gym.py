"""Environments that speak as Gymnasium's or TextWorld's do, in texts: `gym:ID`, or `gym:module:attribute` for what makes one of your own.

An environment is known by what it returns, and Gymnasium is imported only for an id of Gymnasium's. `step` gives five values
(observation, reward, terminated, truncated, information) or four (observation, score, done, information). Of four, the second is the sum of
all rewards where the information speaks as TextWorld's does, and the reward of this step elsewhere.

A task is a seed. Success is what the information says (`won`, `is_success`, `success`); where it says nothing, an episode is won when it is
terminated with a reward above zero, or with the full score (`max_score`). An action space of numbers becomes names where the environment
names its actions. A walkthrough, or TextWorld's `policy_commands`, is played as the expert. Knows no game.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from edgexp.environments import plain
from edgexp.environments.base import Expert, Outcome, Start
from edgexp.environments.boundary import LONGEST_ACTION, MOST_ACTIONS
from edgexp.environments.bridges.gym_texts import read_actions, read_observation
from edgexp.environments.registry import load
from edgexp.environments.splits import SEEDS, SeededTasks
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task

Value = TypeVar("Value")

MAX_STEPS = 100
"""Actions of an episode where the environment names no limit."""
_SUCCESS = ("won", "is_success", "success")
_CUMULATIVE = ("won", "lost", "score", "max_score", "moves", "admissible_commands")
"""Keys of the information that TextWorld's environments give, whose second value is a score."""
_SCORING = ("textworld", "tales")
"""Packages whose environments give a score also where the information is empty."""


class GymEnvironment:
    """An environment of somebody else's behind our contract. Made anew after it has raised or returned nonsense."""

    def __init__(self, target: str) -> None:
        """Make it, and look at one episode. Raises UsageError where there is none of that name, EdgexpError where it cannot be played."""
        self._who = f"gym:{plain.one_line(target, 200)}"
        self._make = find_maker(target, self._who)
        self.name = "gym-" + (re.sub(r"[^A-Za-z0-9._-]+", "-", target).strip("-.") or "environment")
        self._env: Any = None
        self._going = self._over = self._scores = False
        self._info: Mapping[str, Any] = {}
        self._total = 0.0
        env = self._open()
        self.version = _words(env, "version") or _version_of(self._make)
        self.max_steps = _steps_of(env)
        self._seeds = SeededTasks(self.name, _takes_seed(env.reset) or callable(getattr(env, "seed", None)))
        self._space = self._asked("action_space", lambda: read_actions(env, self._who))
        self._look()
        if self._space.names or "admissible_commands" in self._info:
            self.admissible = self._admissible
        if _path_of(self._info) is not None:
            self.expert = self._expert
        self._words_of_its_own = _words(env, "instructions")

    def splits(self) -> Sequence[str]:
        """`train`, `dev` and `test`, which have no seed in common; only `train`, with one task, where it takes no seed."""
        return self._seeds.splits()

    def tasks(self, split: str) -> Sequence[Task]:
        """A task for each seed. Raises UsageError for an unknown split."""
        return self._seeds.tasks(split)

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""
        return self._seeds.task(task_id)

    def instructions(self) -> str:
        """What the environment says (`instructions`), or else which actions there are, as far as they are known."""
        if self._words_of_its_own:
            return self._words_of_its_own
        if self._space.names and len(self._space.names) <= 50:
            return f"You act in {self.name.removeprefix('gym-')}. Answer with one action: {', '.join(self._space.names)}."
        return f"You act in {self.name.removeprefix('gym-')}. Answer with one action, in the words that it understands."

    def reset(self, task: Task) -> Start:
        """Begin the episode of a seed. Raises EdgexpError, UsageError."""
        return self._begin(self._seeds.seed(task.id))

    def step(self, action: str) -> Outcome:
        """Take an action. One that the action space does not have changes nothing. Raises EdgexpError where the environment fails."""
        self._check_going()
        if not self._space.has(action):
            return Outcome("Nothing happens.", score=self._share())
        result = self._asked("step()", lambda: self._env.step(self._space.value(action)))
        outcome = self._read_safely(lambda: self._read_step(result))
        self._over = outcome.done
        return outcome

    def close(self) -> None:
        """Close the environment; a reset makes it anew."""
        env, self._env, self._going = self._env, None, False
        if callable(close := getattr(env, "close", None)):
            close()

    def path(self) -> tuple[list[str], bool]:
        """What the expert should do: actions, and whether they are told anew at every turn. Of the episode under way."""
        return _path_of(self._info) or ([], False)

    # Episodes

    def _look(self) -> None:
        """Begin one episode, to see how the environment speaks; it is dropped."""
        try:
            self._begin(SEEDS["train"][0])
        except EdgexpError:
            self._drop()
            raise
        self._going = False

    def _begin(self, seed: int) -> Start:
        self._going = False
        env = self._open()
        found = self._asked("reset()", lambda: _reset(env, seed))
        self._total = 0.0
        start = self._read_safely(lambda: self._read_reset(found))
        self._going, self._over = True, False
        return start

    def _read_reset(self, found: Any) -> Start:
        seen, self._info = found if isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Mapping) else (found, {})
        package = type(getattr(self._env, "unwrapped", self._env)).__module__.partition(".")[0]
        self._scores = package in _SCORING or any(key in self._info for key in _CUMULATIVE)
        goal = self._goal(seen)
        return Start(goal, read_observation(seen, self._env, self._who, "the observation of reset()"))

    def _read_step(self, result: Any) -> Outcome:
        if not isinstance(result, tuple | list) or len(result) not in (4, 5):
            plain.refuse(result, self._who, "what step() returned", "four or five values are wanted, as in Gymnasium or TextWorld")
        seen, value, *ends, info = result
        if not isinstance(info, Mapping):
            plain.refuse(info, self._who, "the information of step()", "a dictionary is wanted")
        self._info, before = info, self._total
        given = plain.number(value, self._who, "the second value of step()")
        terminated, truncated = [*(plain.truth(end, self._who, "the end of step()") for end in ends), False][:2]
        self._total = given if len(ends) == 1 and self._scores else before + given
        reward, done = self._total - before, terminated or truncated
        success = self._won(terminated, reward)
        observation = read_observation(seen, self._env, self._who, "the observation of step()")
        return Outcome(observation, reward, done or success, success, 1.0 if success else self._share())

    def _won(self, terminated: bool, reward: float) -> bool:
        for key in _SUCCESS:
            if (said := self._info.get(key)) is not None:
                return plain.truth(said, self._who, f"{key!r} of the information")
        if (most := self._most()) is not None:
            return terminated and self._total >= most
        return terminated and reward > 0

    def _share(self) -> float:
        """The score so far, from 0 to 1, as far as the environment says what the most is."""
        most = self._most()
        return min(1.0, max(0.0, self._total / most)) if most else 0.0

    def _most(self) -> float | None:
        said = self._info.get("max_score")
        most = None if said is None else plain.number(said, self._who, "'max_score' of the information")
        return most if most and most > 0 else None

    def _goal(self, seen: Any) -> str:
        """The goal in words: of the information, of the observation (`mission`), of the environment, or none but its name."""
        said = [self._info.get("objective"), self._info.get("goal"), seen.get("mission") if isinstance(seen, Mapping) else None]
        found = next((goal.strip() for goal in said if isinstance(goal, str) and goal.strip()), "")
        return found or _words(self._env, "goal") or f"win {self.name.removeprefix('gym-')}."

    def _admissible(self) -> list[str]:
        """The valid actions now; none once the episode is over."""
        if self._going and self._over:
            return []
        self._check_going()
        said = self._info.get("admissible_commands")
        if said is None:
            return self._space.allowed(self._info.get("action_mask"))
        return plain.texts(said, self._who, "'admissible_commands' of the information", LONGEST_ACTION, MOST_ACTIONS)

    def _expert(self) -> Expert:
        return Walkthrough(self)

    # The environment itself

    def _open(self) -> Any:
        if self._env is None:
            self._env = self._asked("making it", self._make)
            lacking = [member for member in ("reset", "step") if not callable(getattr(self._env, member, None))]
            if lacking or isinstance(self._env, type):
                self._env = None
                raise EdgexpError(f"{self._who}: what was made is no environment: it has no {' and no '.join(lacking) or 'object'}")
        return self._env

    def _asked(self, member: str, work: Callable[[], Value]) -> Value:
        """What the environment's own code answers. Whatever it raises drops the environment, and is an EdgexpError."""
        try:
            return work()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._drop()
            if isinstance(error, EdgexpError):
                raise
            raise EdgexpError(f"{self._who}: {member} raised {plain.explain(error)}") from error

    def _read_safely(self, read: Callable[[], Value]) -> Value:
        return self._asked("what it returned", read)

    def _drop(self) -> None:
        """Nobody knows what state a failed call left behind: the next episode has another environment."""
        try:
            self.close()
        except KeyboardInterrupt:
            raise
        except BaseException:  # it has failed already, and has said so
            return

    def _check_going(self) -> None:
        if not self._going:
            raise EdgexpError("no episode is under way: reset the environment with a task first")
        if self._over:
            raise EdgexpError("the episode is over: reset the environment before the next action")


class Walkthrough:
    """Plays what the environment says that leads to the end."""

    def __init__(self, environment: GymEnvironment) -> None:
        self._environment, self._left = environment, list[str]()

    def begin(self, goal: str, observation: str) -> None:
        """A new episode."""
        self._left = self._environment.path()[0]

    def act(self, observation: str) -> str | None:
        """The next action; None at the end of the walkthrough."""
        path, anew = self._environment.path()
        if anew:
            self._left = path
        return self._left.pop(0) if self._left else None


def find_maker(target: str, who: str) -> Callable[[], Any]:
    """What makes the environment: `module:attribute` of somebody's own, or Gymnasium by an id. Raises UsageError where there is none."""
    place, _, attribute = target.rpartition(":")
    if place and attribute.isidentifier() and not re.fullmatch(r".*-v\d+", attribute):
        own: Callable[[], Any] = load(target, who, "gym:./mine.py:make_env or gym:FrozenLake-v1")
        if not callable(own):
            raise UsageError(f"{who}: {target} is nothing that can be called to make an environment")
        return own
    if not target.strip():
        raise UsageError(f"{who}: name an environment, for example gym:FrozenLake-v1 or gym:./mine.py:make_env")
    try:
        gymnasium = importlib.import_module("gymnasium")
    except ImportError as error:
        raise UsageError(f"{who}: the package gymnasium is not installed; get it with: pip install gymnasium") from error
    return FromGymnasium(gymnasium, target)


class FromGymnasium:
    """Makes an environment by its id, with texts to look at where it has no other texts."""

    def __init__(self, gymnasium: Any, target: str) -> None:
        self.gymnasium, self._target = gymnasium, target

    def __call__(self) -> Any:
        env = self.gymnasium.make(self._target)
        modes = (getattr(env, "metadata", None) or {}).get("render_modes") or ()
        if type(getattr(env, "observation_space", None)).__name__ in ("Discrete", "Tuple", "MultiDiscrete", "Box") and "ansi" in modes:
            env.close()
            env = self.gymnasium.make(self._target, render_mode="ansi")
        return env


def _version_of(make: Callable[[], Any]) -> str:
    return f"gymnasium-{getattr(make.gymnasium, '__version__', '')}" if isinstance(make, FromGymnasium) else "1"


def _reset(env: Any, seed: int) -> Any:
    """Begin an episode of a seed, however the environment takes it."""
    if _takes_seed(env.reset):
        return env.reset(seed=seed)
    if callable(seeding := getattr(env, "seed", None)):
        seeding(seed)
    return env.reset()


def _takes_seed(reset: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(reset).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(one.name == "seed" or one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)


def _steps_of(env: Any) -> int:
    """The most actions of an episode, where the environment says so."""
    for owner in (getattr(env, "spec", None), env, getattr(env, "unwrapped", None)):
        for member in ("max_episode_steps", "max_steps"):
            said = plain.scalar(getattr(owner, member, None))
            if type(said) is int and said > 0:
                return said
    return MAX_STEPS


def _words(env: Any, member: str) -> str:
    """A text that the environment has as an attribute."""
    for owner in (env, getattr(env, "unwrapped", None)):
        said = getattr(owner, member, None)
        if isinstance(said, str) and said.strip():
            return said
    return ""


def _path_of(info: Mapping[str, Any]) -> tuple[list[str], bool] | None:
    """What the information says that leads to the end, and whether it says so anew at every turn. None where it says nothing."""
    for key, anew in (("policy_commands", True), ("extra.walkthrough", False), ("walkthrough", False)):
        said = info.get(key)
        if isinstance(said, list | tuple) and all(isinstance(one, str) for one in said):
            return list(said), anew
    return None
