"""What an environment is. It knows nothing of models, prompts or banks.

An environment is a plain object with the ten members of `Environment`. Everything else is optional:

| member | what it is | where it is missing |
|---|---|---|
| `admissible()` | the actions that are valid now | a model writes its actions freely |
| `tools()` | what may be called now: an action is a call then, see `calls.py` | an action is a line of text |
| `most_calls` | how many calls an action may be, with `tools()` | 1 |
| `reads_calls` | true: it answers whatever is no valid call itself, by rules of its own | it is told by the boundary, and not asked |
| `action_form` | what an action is that a model writes: a `line`, or a `block` of lines | `line` |
| `action_tokens` | the most tokens that an action may have | a line 64, a block 512; with `tools()` 256 |
| `expert()` | a scripted player | nobody fills a bank but models and people |
| `achieved(trajectory)` | the goal that a lost episode did reach | a lost episode teaches nothing in hindsight |
| `refusals` | the answers which say that an action did nothing | nobody knows which actions did nothing |
| `remote` | true: it works in another process | False: other episodes wait while it works |
| `restarts` | how often the process behind it had to be started anew | 0 |
| `family(task)` | which tasks know things about each other | told from the task's id, see `family_of_id` |
| `lesson(task)` | which tasks are done in the same way | the task's type |
| `aspects(task, goal)` | what a task is about, by name | its type: `{"type": task.type}` |
| `saw(observation, action)` of an expert | hears of an action that it did not choose | mistakes made for it are invalid ones only |
| `advise(observation)` of an expert | what it would do, without doing it | it cannot be asked about another's actions |
| `misled(goal)` | players who take the goal for another one | the goal is never mistaken on purpose |

Each has a protocol, and a function that gives its value or its default. Everybody outside asks by these functions, and so never finds out
which environment it is. `family`, `lesson` and `aspects` tell of tasks and not of an episode: they work before a reset and after `close`,
they answer for tasks of older versions, and they never raise.

What members return is checked before anybody sees it, with limits on size; see `boundary.py`.

Everything is deterministic: the same task and the same actions give the same texts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec

from edgexp.environments.calls import Tool
from edgexp.trajectory import Task, Trajectory


class Start(msgspec.Struct, frozen=True):
    """The beginning of an episode: the goal in words and the first observation (without the goal)."""

    goal: str
    observation: str


class Outcome(msgspec.Struct, frozen=True):
    """What one action led to. `success` and `score` (0 to 1) are the episode's state so far; `done` ends it."""

    observation: str
    reward: float = 0.0
    done: bool = False
    success: bool = False
    score: float = 0.0


@runtime_checkable
class Environment(Protocol):
    """The contract every environment keeps. `close` frees every process and file; closing twice is fine."""

    name: str
    version: str
    """Changes whenever the same actions could give other texts; goes into every trajectory's provenance."""
    max_steps: int
    """Actions an episode may take when the caller names no other limit."""

    def splits(self) -> Sequence[str]:
        """The names of the splits, for example `train`, `dev`, `test`."""

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, in a fixed order; may be lazy. Raises UsageError for an unknown split."""

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""

    def instructions(self) -> str:
        """What the system prompt says about acting here: the form of actions, one template a line."""

    def reset(self, task: Task) -> Start:
        """Begin an episode of that task; an episode under way is dropped. Raises EdgexpError when the task cannot be loaded."""

    def step(self, action: str) -> Outcome:
        """Take an action, any text at all. After the end, or before a reset, raises EdgexpError."""

    def close(self) -> None:
        """Free everything."""


# How an episode is played


@runtime_checkable
class HasAdmissible(Protocol):
    """An environment that can list what is valid now."""

    def admissible(self) -> list[str]:
        """Valid actions in the current state, sorted, without repeats; empty when the episode is over."""


def valid_actions_of(environment: Environment) -> Callable[[], list[str]] | None:
    """What lists the actions that are valid now; None where the environment lists none."""
    list_valid = getattr(environment, "admissible", None)  # asked before every action: the protocol's own check takes longer
    return list_valid if callable(list_valid) else None


@runtime_checkable
class HasRefusals(Protocol):
    """An environment that answers in the same words whatever cannot be done."""

    refusals: Sequence[str]
    """Observations after which all is as it was, and will be refused again; none of them ever follows an action that did something."""


def refusals_of(environment: Environment) -> Sequence[str]:
    """The answers that are refusals; none where the environment does not say."""
    return environment.refusals if isinstance(environment, HasRefusals) else ()


@runtime_checkable
class HasTools(Protocol):
    """An environment whose actions are calls."""

    def tools(self) -> Sequence[Tool]:
        """What may be called now, in a fixed order, with the values that are valid now; empty when the episode is over.

        Before the first reset it may be asked as well: what it returns then is what can be said of all tasks.
        """


def tools_of(environment: Environment) -> Callable[[], Sequence[Tool]] | None:
    """What lists the tools that may be called now; None where the environment has none."""
    list_tools = getattr(environment, "tools", None)  # as in `valid_actions_of`
    return list_tools if callable(list_tools) else None


@runtime_checkable
class TakesSeveralCalls(Protocol):
    """An environment with tools that takes several calls as one action."""

    most_calls: int
    """How many; 1 or more."""


def most_calls_of(environment: Environment) -> int:
    """How many calls an action may be; 1 where the environment does not say."""
    return int(getattr(environment, "most_calls", 1))


@runtime_checkable
class ReadsCalls(Protocol):
    """An environment with tools whose rules are wider than their schemas: names in small letters, an answer in words."""

    reads_calls: bool
    """Whether any text at all reaches its `step`."""


def reads_calls(environment: object) -> bool:
    """Whether an environment answers what is no valid call itself; False where it does not say."""
    return bool(getattr(environment, "reads_calls", False))


Form = Literal["line", "block"]


@runtime_checkable
class HasForm(Protocol):
    """An environment whose actions are no lines."""

    action_form: Form
    """`block`: code, a statement, a document. A model ends it with its turn, or with the fence that closes a fenced block; then the block
    is what stands between the fences."""


def action_form_of(environment: Environment) -> Form:
    """What an action is that a model writes freely."""
    return "block" if getattr(environment, "action_form", "line") == "block" else "line"


LINE_TOKENS, CALL_TOKENS, BLOCK_TOKENS = 64, 256, 512
"""The most that an action may have where the environment does not say."""


@runtime_checkable
class LimitsActions(Protocol):
    """An environment that says how long its actions may be."""

    action_tokens: int
    """Tokens; 1 or more. A model that has not come to an end by then is cut short."""


def action_tokens_of(environment: Environment) -> int:
    """The most tokens that an action may have."""
    calls = tools_of(environment) is not None and valid_actions_of(environment) is None
    usual = CALL_TOKENS if calls else BLOCK_TOKENS if action_form_of(environment) == "block" else LINE_TOKENS
    return int(getattr(environment, "action_tokens", usual))


class Expert(Protocol):
    """A scripted player. It sees the goal and observations, as an agent does, and nothing else."""

    def begin(self, goal: str, observation: str) -> None:
        """A new episode."""

    def act(self, observation: str) -> str | None:
        """The next action, given the latest observation; None when it gives up."""


@runtime_checkable
class FollowsOthers(Protocol):
    """An expert that can go on after a valid action that was not its own. Without `saw`, an expert knows of its own actions only."""

    def saw(self, observation: str, action: str) -> None:
        """Take note of an observation, and that another action follows than the one it would choose."""


@runtime_checkable
class GivesAdvice(Protocol):
    """An expert that can be asked without being followed."""

    def advise(self, observation: str) -> str | None:
        """What `act` would return for the latest observation. Nothing is noted: `act` or `saw` is told the same observation afterwards."""


@runtime_checkable
class HasExpert(Protocol):
    """An environment with a scripted expert."""

    def expert(self) -> Expert:
        """A fresh player."""


def has_expert(environment: Environment) -> bool:
    """Whether the environment has a scripted expert. Makes none."""
    return isinstance(environment, HasExpert)


def expert_of(environment: Environment) -> Expert | None:
    """A fresh player; None where the environment has none."""
    return environment.expert() if isinstance(environment, HasExpert) else None


@runtime_checkable
class HasMisled(Protocol):
    """An environment that knows how its goals are mistaken."""

    def misled(self, goal: str) -> Sequence[Expert]:
        """Fresh players who take the goal for another one: who forget a part of it, or do another thing than it asks for."""


def misled_players(environment: Environment, goal: str) -> Sequence[Expert]:
    """Players who mistake the goal, in a fixed order; none where the environment knows of none."""
    return environment.misled(goal) if isinstance(environment, HasMisled) else ()


class Achieved(msgspec.Struct, frozen=True):
    """A goal that an episode reached, though another was asked for."""

    goal: str
    """As the environment would have worded it."""
    type: str
    """The type of the task that it would have been."""
    group: str
    steps: int
    """Actions until it was reached, 1 or more."""


@runtime_checkable
class HasAchieved(Protocol):
    """An environment that can tell in hindsight what an episode was good for."""

    def achieved(self, trajectory: Trajectory) -> Achieved | None:
        """A goal that did not hold at the start and holds at the end; None where there is none, or the trajectory is of something else.

        It tells of a trajectory and not of the episode under way, which it leaves alone.
        """


def achieved_by(environment: Environment, trajectory: Trajectory) -> Achieved | None:
    """The goal that a trajectory reached, in hindsight; None where the environment has no rule for it."""
    return environment.achieved(trajectory) if isinstance(environment, HasAchieved) else None


@runtime_checkable
class LivesElsewhere(Protocol):
    """An environment that may work in another process."""

    remote: bool
    """Whether it does: while it works, on a thread, other episodes go on."""


def is_remote(environment: Environment) -> bool:
    """Whether other episodes can go on while the environment works; False where it does not say."""
    return bool(getattr(environment, "remote", False))  # as in `valid_actions_of`


@runtime_checkable
class CountsRestarts(Protocol):
    """An environment behind which something may die and be started anew."""

    restarts: int
    """How often that has happened to this object."""


def restarts_of(environment: Environment) -> int:
    """How often the process behind the environment was started anew; 0 where it does not count."""
    return environment.restarts if isinstance(environment, CountsRestarts) else 0


# What tasks are about


@runtime_checkable
class HasFamilies(Protocol):
    """An environment that says which of its tasks know things about each other."""

    def family(self, task: Task) -> str:
        """The name of all tasks that an episode of this one tells about: those of the same room, house or template.

        No family stands on both sides of what is trained on and what is held out. A split `<split>-bank` holds more of the families of
        `<split>`. Names are unique among all environments.
        """


def family_of(environment: Environment | None, task: Task) -> str:
    """The family of a task; told from its id where the environment does not say, or there is none at hand."""
    return environment.family(task) if isinstance(environment, HasFamilies) else family_of_id(task.id)


def family_of_id(task_id: str) -> str:
    """The family of a task by the usual form of ids, `<environment>/<split>/<family>/<number>`: all but the number.

    An id of three parts is a family of its own. A split `<split>-bank` counts as `<split>`.
    """
    environment, _, rest = task_id.partition("/")
    split, _, rest = rest.partition("/")
    return "/".join([environment, split.removesuffix("-bank"), rest.partition("/")[0]])


@runtime_checkable
class HasLessons(Protocol):
    """An environment that says which of its tasks are done in the same way."""

    def lesson(self, task: Task) -> str:
        """The name of what an episode of the task teaches. Memory of other lessons shows nothing of how the task is done."""


def lesson_of(environment: Environment | None, task: Task) -> str:
    """What an episode of a task teaches; the task's type where the environment does not say, or there is none at hand."""
    return environment.lesson(task) if isinstance(environment, HasLessons) else task.type


@runtime_checkable
class HasAspects(Protocol):
    """An environment that says what its tasks are about."""

    def aspects(self, task: Task, goal: str) -> Mapping[str, str]:
        """Name → value of what the goal names, for example `{"type": "heat", "object": "egg", "receptacle": "shelf"}`.

        `type` is always there. An aspect that the goal says nothing about is left out.
        """


def aspects_of(environment: Environment | None, task: Task, goal: str) -> Mapping[str, str]:
    """What a task is about, by name; only its type where the environment does not say, or there is none at hand."""
    return environment.aspects(task, goal) if isinstance(environment, HasAspects) else {"type": task.type}
