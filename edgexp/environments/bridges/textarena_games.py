"""TextArena's games for one player, by their own protocol: `textarena:ID`, for example `textarena:TowerOfHanoi-v0`.

`reset` returns nothing, `step` returns whether it is over, what is seen comes by `get_observation`, and the reward comes at the end by
`close`. A game is made without TextArena's wrappers, which would show everything that was said so far at each turn: here an observation is
what the game says next. Actions get the square brackets that the games want, where they have none.

A task is a seed. The games draw from Python's and NumPy's common source of random numbers; each episode keeps a state of its own there, so
that episodes do not disturb each other, nor anything else. Success is a reward of 1, the most that a game gives; the score is the reward.

The rules are the instructions where they are the same for every seed, and the goal where they are not. Games are refused that need a model
behind a server, and nothing is downloaded: a game that needs NLTK's words finds them on this machine, or says that it does not. Knows no
game.
"""

import importlib
import importlib.metadata
import io
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

from edgexp.environments import plain
from edgexp.environments.base import Outcome, Start
from edgexp.environments.splits import SEEDS, SeededTasks
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task

Value = TypeVar("Value")

MAX_STEPS = 100
"""Actions of an episode where the game names no limit."""
_GAME = -1
"""Who speaks when the game does."""
_EXAMPLE = "textarena:TowerOfHanoi-v0"


class TextArenaGame:
    """A game behind our contract. Made anew for each episode."""

    def __init__(self, target: str) -> None:
        """Find it, and look at the beginnings of two episodes. Raises UsageError where it cannot be played here."""
        self._who = f"textarena:{plain.one_line(target, 200)}"
        self._arena = _find_package(self._who)
        self._make = _find_maker(self._arena, target, self._who)
        self.name = "textarena-" + (re.sub(r"[^A-Za-z0-9._-]+", "-", target).strip("-.") or "game")
        self.version = f"textarena-{_installed_version()}"
        self.max_steps = MAX_STEPS
        self._seeds = SeededTasks(self.name)
        self._env: Any = None
        self._random: Any = None
        self._over = False
        rules = [self._begin(seed)[0] for seed in (SEEDS["train"][0], SEEDS["train"][0] + 1)]
        self.close()
        self._rules = rules[0] if rules[0] == rules[1] else ""
        """What is the same for every seed."""

    def splits(self) -> Sequence[str]:
        """`train`, `dev` and `test`."""
        return self._seeds.splits()

    def tasks(self, split: str) -> Sequence[Task]:
        """A task for each seed. Raises UsageError for an unknown split."""
        return self._seeds.tasks(split)

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where there is none."""
        return self._seeds.task(task_id)

    def instructions(self) -> str:
        """The rules, where every seed has the same ones."""
        return self._rules or "You play a game. Answer with one move, in the form that its rules ask for."

    def reset(self, task: Task) -> Start:
        """Begin the episode of a seed. Raises EdgexpError, UsageError."""
        rules, seen = self._begin(self._seeds.seed(task.id))
        return Start(f"win {self.name.removeprefix('textarena-')}." if self._rules else rules, seen)

    def step(self, action: str) -> Outcome:
        """Make a move. Raises EdgexpError before a reset, after the end, and where the game fails, which ends the episode."""
        if self._env is None:
            raise EdgexpError("no episode is under way: reset the environment with a task first")
        if self._over:
            raise EdgexpError("the episode is over: reset the environment before the next action")
        env, move = self._env, action if "[" in action or "]" in action else f"[{action}]"
        return self._asked("step()", lambda: self._read_step(env, env.step(move)))

    def close(self) -> None:
        """Drop the episode."""
        self._env, self._random = None, None

    def _begin(self, seed: int) -> tuple[str, str]:
        """The rules and what is seen first."""
        self.close()
        env = self._asked("making it", lambda: self._made(seed))  # some draw what is to be done when they are made
        found = self._asked("reset()", lambda: self._read_reset(env, seed))
        self._env, self._over = env, False
        return found

    def _made(self, seed: int) -> Any:
        random.seed(seed)
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed(seed)
        return self._make()

    def _read_reset(self, env: Any, seed: int) -> tuple[str, str]:
        env.reset(num_players=1, seed=seed)
        most = getattr(getattr(env, "state", None), "max_turns", None)
        self.max_steps = 2 * most if type(most) is int and 0 < most <= 10_000 else MAX_STEPS  # every move may be tried twice
        messages = self._messages(env)
        rules = "\n".join(text for kind, text in messages if kind == "PROMPT").strip()
        if not rules:
            raise EdgexpError(f"{self._who}: it begins without rules")
        return rules, "\n".join(text for kind, text in messages if kind != "PROMPT").strip()

    def _read_step(self, env: Any, found: Any) -> Outcome:
        if not isinstance(found, tuple) or len(found) != 2:
            plain.refuse(found, self._who, "what step() returned", "two values are wanted, as in TextArena")
        self._over = plain.truth(found[0], self._who, "the first value of step()")
        seen = [text for _, text in self._messages(env)]
        if not self._over:
            return Outcome("\n".join(seen).strip())
        rewards, about = env.close()
        reward, why = _sorted_out(rewards[0], about[0].get("reason"))
        reward = plain.number(reward, self._who, "the reward of close()")
        seen += [why] if isinstance(why, str) and why not in seen else []
        success = reward >= 1
        return Outcome("\n".join(seen).strip(), reward, True, success, min(1.0, max(0.0, reward)))

    def _messages(self, env: Any) -> list[tuple[str, str]]:
        """What the game has said since it was last asked: kinds and texts."""
        _, told = env.get_observation()
        if not isinstance(told, list) or not all(isinstance(one, tuple) and len(one) == 3 for one in told):
            plain.refuse(told, self._who, "what get_observation() returned", "a list of messages is wanted")
        return [(getattr(kind, "name", ""), str(text)) for sender, text, kind in told if sender == _GAME and kind_is_told(kind)]

    def _asked(self, member: str, work: Callable[[], Value]) -> Value:
        """What the game's own code answers, with random numbers of the episode's own. Whatever it raises drops the episode."""
        try:
            with self._own_random(), _nothing_downloaded(), redirect_stdout(io.StringIO()):  # some print what they think
                return work()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.close()
            if isinstance(error, EdgexpError):
                raise
            if "nltk" in type(error).__module__ or "nltk" in str(error).lower():
                raise EdgexpError(f"{self._who}: it needs words of NLTK that are not on this machine; get them with: "
                                  "python -m nltk.downloader words averaged_perceptron_tagger_eng") from error
            raise EdgexpError(f"{self._who}: {member} raised {plain.explain(error)}") from error

    @contextmanager
    def _own_random(self) -> Iterator[None]:
        numpy: Any = sys.modules.get("numpy")
        before = random.getstate(), numpy.random.get_state() if numpy else None
        if self._random:
            _set_random(*self._random)
        try:
            yield
            self._random = random.getstate(), numpy.random.get_state() if numpy else None
        finally:
            _set_random(*before)


def _sorted_out(reward: Any, why: Any) -> tuple[Any, Any]:
    """Reward and reason of the end. Several games give one for the other where a wrong move ends them."""
    if not isinstance(reward, str):
        return reward, why
    try:
        return float(str(why).removeprefix("Invalid Move: ")), reward
    except ValueError:
        return 0.0, reward


def kind_is_told(kind: Any) -> bool:
    """Whether a message is news: what the player has just said is not."""
    return getattr(kind, "name", "") != "PLAYER_ACTION"


def _set_random(python: Any, numpy: Any) -> None:
    random.setstate(python)
    if numpy is not None:
        sys.modules["numpy"].random.set_state(numpy)


def _find_package(who: str) -> Any:
    try:
        with _nothing_downloaded():
            return importlib.import_module("textarena")
    except ImportError as error:
        raise UsageError(f"{who}: the package textarena is not installed; get it with: pip install textarena") from error


def _installed_version() -> str:
    try:
        return importlib.metadata.version("textarena")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _find_maker(arena: Any, target: str, who: str) -> Callable[[], Any]:
    """What makes the game without wrappers. Raises UsageError for an unknown game, and for one that needs a model behind a server."""
    known = importlib.import_module("textarena.envs.registration").ENV_REGISTRY
    if target not in known:
        near = sorted(name for name in known if target and name.lower().startswith(target.lower()[:4]) and name.count("-") == 1)
        raise UsageError(f"{who}: TextArena has no game of that id{'; it has ' + ', '.join(near[:5]) if near else f', such as {_EXAMPLE}'}")
    raw = f"{target}-raw" if f"{target}-raw" in known else target
    module = str(known[target].entry_point).partition(":")[0]
    if _asks_models(arena, module):
        raise UsageError(f"{who}: this game asks a model behind a server; only games that play by themselves can be played here")

    def make() -> Any:
        env = arena.make(raw)
        while isinstance(env, arena.Wrapper):
            env = env.env
        return env

    return make


def _asks_models(arena: Any, module: str) -> bool:
    """Whether a game's source names a model behind a server. It is read and not imported, which would run it."""
    try:
        path = Path(arena.__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
        return "OpenRouter" in path.read_text(encoding="utf-8")
    except (AttributeError, TypeError, OSError, ValueError):
        return False


@contextmanager
def _nothing_downloaded() -> Iterator[None]:
    """Games that need words download them when they are made; nothing here opens a socket without being told to."""
    try:
        nltk: Any = importlib.import_module("nltk")
    except ImportError:
        yield
        return
    before, nltk.download = nltk.download, lambda *_, **__: False
    try:
        yield
    finally:
        nltk.download = before
