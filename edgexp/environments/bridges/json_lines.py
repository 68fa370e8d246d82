"""Environments that any program plays: `process:COMMAND` starts it and asks it in JSON, a line for a question and a line for an answer.

A question is `{"id": 7, "call": "step", "arguments": {"action": "go north"}}`, an answer `{"id": 7, "answer": …}`, or `{"id": 7, "error":
"…"}` where the program refuses. The first question is `hello`: who it is, and which optional members it has. The others are the members
of `base.Environment` word for word; docs/environments.md has the whole protocol.

Whatever is not an answer ends the program, and the episode with it, in one line: a hang, a death, other text on its output, wrong types,
too long a line, bytes that are no UTF-8. The next reset starts it anew. What an answer holds is checked by the rules of `boundary.py`,
here already, so that a program that answers wrongly is not asked again. Knows no game.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from edgexp.environments import plain
from edgexp.environments.base import Expert, Outcome, Start
from edgexp.environments.boundary import (
    LONGEST_ACTION,
    LONGEST_GOAL,
    LONGEST_INSTRUCTIONS,
    LONGEST_OBSERVATION,
    MOST_ACTIONS,
    outcome_of,
)
from edgexp.environments.bridges.program import Program, ProgramFailed, split_command
from edgexp.environments.calls import Tool
from edgexp.environments.checked_calls import checked_tools
from edgexp.environments.splits import check_split
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task

PREFIX = "process:"
START_SECONDS = 60.0
"""How long a program may take for its first answer."""
CALL_SECONDS = 60.0
"""How long it may take for any other."""
MOST_TASKS = 100_000
"""Tasks of a split, which are all sent at once."""
OFFERS = ("admissible", "expert", "saw", "advise", "tools")
"""What a program may have besides; `saw` and `advise` are its expert's."""

Value = TypeVar("Value")


class Refused(EdgexpError):
    """The program itself says that it cannot do what it was asked for. It goes on."""


class Stale(EdgexpError):
    """What it says belongs to an older question: it has said more than one line then."""


class Hello(msgspec.Struct, frozen=True):
    """What a program says of itself first."""

    name: str
    version: str
    max_steps: int
    splits: tuple[str, ...]
    instructions: str
    offers: tuple[str, ...] = ()
    most_calls: int | None = None
    action_tokens: int | None = None
    action_form: str | None = None


class SpokenEnvironment:
    """An environment that is another program."""

    remote = True
    """Other episodes go on while the program works."""

    def __init__(self, command: str, seconds: float = CALL_SECONDS) -> None:
        """Start the program; `seconds` is how long an answer may take. Raises UsageError, or EdgexpError where it says no proper hello."""
        self._who = f"{PREFIX}{plain.one_line(command, 200)}"
        self._words = split_command(command, self._who)
        self._seconds = seconds
        self._program: Program | None = None
        self._number = 0
        self._going = self._over = False
        self.restarts = 0
        """How often the program died, hung or answered wrongly, and was started anew."""
        self._failed = False
        self._tasks: dict[str, list[Task]] = {}
        self._hello: Hello | None = None
        self._hello = self._running()
        self.name, self.version, self.max_steps = self._hello.name, self._hello.version, self._hello.max_steps
        if "admissible" in self._hello.offers:
            self.admissible = self._admissible
        if "tools" in self._hello.offers:
            self.tools = self._tools
        for said in ("most_calls", "action_tokens", "action_form"):
            if (value := getattr(self._hello, said)) is not None:
                setattr(self, said, value)
        if "expert" in self._hello.offers:
            self.expert = self._expert

    def splits(self) -> Sequence[str]:
        """The names of the splits, as the program said them at its start."""
        return self._running().splits

    def instructions(self) -> str:
        """What the program said at its start."""
        return self._running().instructions

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split; asked for once. Raises UsageError for an unknown split."""
        check_split(self.name, split, self.splits())
        if split not in self._tasks:
            self._tasks[split] = self._ask("tasks", {"split": split}, lambda answer: self._read_tasks(answer, split))
        return self._tasks[split]

    def task(self, task_id: str) -> Task:
        """The task of that id. Raises UsageError where the program has none."""
        try:
            return self._ask("task", {"task_id": task_id}, lambda answer: self._read_task(answer, "what task() answered", task_id))
        except Refused as error:
            raise UsageError(str(error)) from error

    def reset(self, task: Task) -> Start:
        """Begin an episode, in a new program where the last one is gone. Raises EdgexpError where the task cannot be begun."""
        self._going = False
        if self._program is not None and self._program.chatters():  # it said too much in the last episode, which is over
            self._drop()
        asked = {"task": msgspec.to_builtins(task)}
        try:
            start = self._ask("reset", asked, self._read_start)
        except Stale:
            start = self._ask("reset", asked, self._read_start)
        self._going, self._over = True, False
        return start

    def step(self, action: str) -> Outcome:
        """Take an action. Raises EdgexpError before a reset, after the end, and where the program fails, which ends the episode."""
        self._check_going()
        text = action.encode("utf-8", "replace").decode()  # lone surrogates would be no JSON to most programs
        outcome = self._put("step", {"action": text}, self._read_outcome)
        self._over = outcome.done
        return outcome

    def close(self) -> None:
        """End the program: its input ends, and after a second what is left of it is killed. A reset starts it again."""
        self._going = False
        if (program := self._program) is not None:
            self._program = None
            program.close()

    def _admissible(self) -> list[str]:
        """The valid actions now; none once the episode is over."""
        if self._going and self._over:
            return []
        self._check_going()
        return self._put("admissible", {}, self._read_actions)

    def _tools(self) -> list[Tool]:
        """What may be called now: nothing once the episode is over, nor before there is one."""
        if not self._going or self._over:
            return []
        self._check_going()
        return self._put("tools", {}, self._read_tools)

    def _expert(self) -> Expert:
        """A player that asks the program what to do."""
        offers = self._running().offers
        return (SpokenAdviser if {"saw", "advise"} <= {*offers} else SpokenFollower if "saw" in offers else SpokenExpert)(self)

    def ask_expert(self, member: str, **arguments: str) -> str | None:
        """What a member of the program's expert answers: a text, or nothing."""
        self._check_going()
        return self._put(member, arguments, lambda answer: None if answer is None else plain.text(
            answer, self._who, f"what {member}() of the expert answered", LONGEST_ACTION))  # fmt: skip

    def _check_going(self) -> None:
        if not self._going:
            raise EdgexpError("no episode is under way: reset the environment with a task first")
        if self._over:
            raise EdgexpError("the episode is over: reset the environment before the next action")
        if self._program is None or not self._program.alive():
            self._drop()
            raise EdgexpError(f"{self._who}: the program has ended, and the episode with it")

    # Questions and answers

    def _running(self) -> Hello:
        """What the program said of itself; it is started where it does not run."""
        if self._program is not None and not self._program.alive():
            self._drop()
        if self._program is None:
            self.restarts += self._failed
            self._failed = False
            self._program = Program(self._words)
            said = self._put("hello", {"protocol": 1}, self._read_hello, max(START_SECONDS, self._seconds))
            if self._hello is not None and said != self._hello:
                self._drop()
                raise EdgexpError(f"{self._who}: started anew it says another hello than at first")
            return said
        assert self._hello is not None
        return self._hello

    def _ask(self, member: str, arguments: Mapping[str, Any], read: Callable[[Any], Value]) -> Value:
        self._running()
        return self._put(member, arguments, read)

    def _put(self, member: str, arguments: Mapping[str, Any], read: Callable[[Any], Value], seconds: float | None = None) -> Value:
        """Ask the program that runs, and read the answer. If it answers wrongly, it is ended."""
        program = self._program
        if program is None:
            raise EdgexpError(f"{self._who}: it was closed")
        self._number += 1
        question = json.dumps({"id": self._number, "call": member, "arguments": arguments}).encode() + b"\n"  # ASCII: read by anything
        try:
            answer = self._opened(program.ask(question, self._seconds if seconds is None else seconds), member)
            if "error" in answer:
                raise Refused(f"{self._who}: {member}: {plain.one_line(plain.text(answer['error'], self._who, 'its error', 100_000))}")
            return read(answer["answer"])
        except Refused:
            raise
        except ProgramFailed as error:
            self._drop()
            raise EdgexpError(f"{self._who}: asked for {member}, {error}") from error
        except BaseException:
            self._drop()
            raise

    def _opened(self, line: bytes, member: str) -> dict[str, Any]:
        """The object of a line that answers the last question. Raises EdgexpError where it is something else."""
        hint = "; remarks belong on standard error"
        try:
            answer = msgspec.json.decode(line)
        except (ValueError, RecursionError):
            raise EdgexpError(f"{self._who}: its answer to {member} is no JSON in UTF-8: {plain.shown(line)}{hint}") from None
        if not isinstance(answer, dict) or len(answer.keys() & {"answer", "error"}) != 1 or answer.keys() - {"id", "answer", "error"}:
            wanted = '{"id": …, "answer": …} or {"id": …, "error": "…"} is wanted'
            raise EdgexpError(f"{self._who}: its answer to {member} is {plain.shown(answer)}, but {wanted}{hint}")
        if type(answer.get("id")) is not int or answer["id"] != self._number:
            stale = type(answer.get("id")) is int and answer["id"] < self._number
            raise (Stale if stale else EdgexpError)(f"{self._who}: its answer to {member} has the id {plain.shown(answer.get('id'))}, "
                                                    f"but the question has {self._number}; it may have said more than one line")
        return answer

    def _drop(self) -> None:
        """End the program at once; the next question starts another."""
        self._going, self._failed = False, True
        if (program := self._program) is not None:
            self._program = None
            program.close(0)

    # What answers hold

    def _fields(self, answer: Any, what: str, needed: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any]:
        """An object with these keys and no others. A key that is nearly one of them would be overlooked otherwise."""
        if not isinstance(answer, dict):
            plain.refuse(answer, self._who, what, f"an object with {', '.join(needed)} is wanted")
        lacking, unknown = [key for key in needed if key not in answer], [key for key in answer if key not in (*needed, *optional)]
        if lacking or unknown:
            wrong = f"has no {lacking[0]}" if lacking else f"has {plain.shown(unknown[0])}, which is not known"
            raise EdgexpError(f"{self._who}: {what} {wrong}; its keys are {', '.join((*needed, *optional))}")
        return answer

    def _read_hello(self, answer: Any) -> Hello:
        what, who = "what hello() answered", self._who
        given = self._fields(answer, what, ("name", "version", "max_steps", "splits", "instructions"),
                             ("offers", "most_calls", "action_tokens", "action_form"))  # fmt: skip
        name, version = (plain.text(given[key], who, f"the {key} of {what}") for key in ("name", "version"))
        splits = tuple(plain.texts(given["splits"], who, f"splits of {what}"))
        offers = tuple(plain.texts(given.get("offers", []), who, f"offers of {what}"))
        if not name or not splits or len({*splits}) < len(splits):
            raise EdgexpError(f"{who}: {what} names nothing, no splits, or one twice")
        if unknown := {*offers} - {*OFFERS}:
            raise EdgexpError(f"{who}: {what} offers {plain.shown(min(unknown))}; what can be offered is {', '.join(OFFERS)}")
        instructions = plain.text(given["instructions"], who, f"the instructions of {what}", LONGEST_INSTRUCTIONS)
        limits = (plain.whole(given[key], who, f"{key} of {what}", 1) if key in given else None for key in ("most_calls", "action_tokens"))
        calls, tokens = limits
        form = plain.one_of(given["action_form"], who, f"action_form of {what}", ("line", "block")) if "action_form" in given else None
        steps = plain.whole(given["max_steps"], who, f"max_steps of {what}", 1)
        return Hello(name, version, steps, splits, instructions, offers, calls, tokens, form)

    def _read_tasks(self, answer: Any, split: str) -> list[Task]:
        what = f"what tasks({split!r}) answered"
        if not isinstance(answer, list) or len(answer) > MOST_TASKS:
            plain.refuse(answer, self._who, what, f"a list of at most {MOST_TASKS:,} tasks is wanted")
        found = [self._read_task(one, f"task {number} of {what}", split=split) for number, one in enumerate(answer)]
        if len({task.id for task in found}) < len(found):
            raise EdgexpError(f"{self._who}: {what} has two tasks of one id")
        return found

    def _read_task(self, answer: Any, what: str, task_id: str | None = None, split: str | None = None) -> Task:
        given = self._fields(answer, what, ("id", "environment", "split", "type"), ("group",))
        task = plain.task(Task(**given), self._who, what)
        wanted = {"id": task_id or task.id, "environment": self.name, "split": split or task.split}
        for key, value in wanted.items():
            if getattr(task, key) != value:
                plain.refuse(getattr(task, key), self._who, f"the {key} of {what}", f"{plain.shown(value)} is wanted")
        if task.split not in self.splits():
            raise EdgexpError(f"{self._who}: {what} is of the split {plain.shown(task.split)}, which it does not have")
        return task

    def _read_start(self, answer: Any) -> Start:
        what = "what reset() answered"
        given = self._fields(answer, what, ("goal", "observation"))
        return Start(plain.text(given["goal"], self._who, f"the goal of {what}", LONGEST_GOAL),
                     plain.text(given["observation"], self._who, f"the observation of {what}", LONGEST_OBSERVATION))

    def _read_actions(self, answer: Any) -> list[str]:
        found = plain.texts(answer, self._who, what := "what admissible() answered", LONGEST_ACTION, MOST_ACTIONS)
        if not found or "" in found:
            raise EdgexpError(f"{self._who}: {what} is empty or holds an empty text, but the episode is not over")
        return found

    def _read_tools(self, answer: Any) -> list[Tool]:
        what = "what tools() answered"
        if not isinstance(answer, list):
            plain.refuse(answer, self._who, what, "a list of tools is wanted")
        given = (self._fields(one, f"tool {n} of {what}", ("name",), ("description", "parameters")) for n, one in enumerate(answer, 1))
        return checked_tools([Tool(**fields) for fields in given], self._who, going=True)

    def _read_outcome(self, answer: Any) -> Outcome:
        given = self._fields(answer, "what step() answered", ("observation",), ("reward", "done", "success", "score"))
        return outcome_of(Outcome(**given), self._who)


class SpokenExpert:
    """The program's expert."""

    def __init__(self, environment: SpokenEnvironment) -> None:
        self._environment = environment

    def begin(self, goal: str, observation: str) -> None:
        """A new episode."""
        self._environment.ask_expert("begin", goal=goal, observation=observation)

    def act(self, observation: str) -> str | None:
        """Its next action; None when it gives up."""
        return self._environment.ask_expert("act", observation=observation)


class SpokenFollower(SpokenExpert):
    """An expert that hears of others' actions."""

    def saw(self, observation: str, action: str) -> None:
        """Another's action follows."""
        self._environment.ask_expert("saw", observation=observation, action=action)


class SpokenAdviser(SpokenFollower):
    """An expert that can be asked as well."""

    def advise(self, observation: str) -> str | None:
        """What it would do."""
        return self._environment.ask_expert("advise", observation=observation)
