"""Environments in other programs: what is said both ways, and everything that the other side may do wrong."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import spoken_doors
from fuzzing import ROUNDS
from hypothesis import given, settings
from hypothesis import strategies as st
from mock_engine import MockEngine, make_policy

from edgexp.environments.base import (
    Environment,
    Outcome,
    action_tokens_of,
    expert_of,
    is_remote,
    most_calls_of,
    restarts_of,
    tools_of,
    valid_actions_of,
)
from edgexp.environments.bridges import json_lines, program
from edgexp.environments.bridges.json_lines import SpokenEnvironment
from edgexp.environments.registry import family_of_task, make
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.collecting import expert_episode
from edgexp.play.episode import play
from edgexp.play.rollout import run, run_many
from edgexp.play.scripted import ExpertPolicy, Scripted
from edgexp.trajectory import Task, decode, encode

HERE = Path(__file__).parent
TASK = Task("spoken/train/1", "spoken", "train", "door")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the test program uses signals")


def command(*wrong: str) -> str:
    return "process:" + shlex.join([sys.executable, "-S", str(HERE / "spoken_doors.py"), *wrong])


@pytest.fixture
def spoken(request: pytest.FixtureRequest) -> Any:
    """Makes environments, and closes them."""
    made: list[Environment] = []

    def one(*wrong: str, **options: Any) -> Any:
        made.append(make(command(*wrong), **options))
        return made[-1]

    yield one
    for environment in made:
        environment.close()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def group_members(group: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def until(holds: Any) -> bool:
    for _ in range(200):
        if holds():
            return True
        time.sleep(0.05)
    return False


def check_line(words: str) -> None:
    assert words and "\n" not in words and len(words) < 2_000
    words.encode()


def episode(environment: Any, number: int = 1, actions: tuple[str, ...] = ("open 0", "open 1")) -> Any:
    return run(play(environment, environment.task(f"spoken/train/{number}"), Scripted(list(actions)))).trajectory


# What is right


def test_a_program_is_an_environment(spoken: Any) -> None:
    world = spoken()
    assert isinstance(world, Environment) and is_remote(world) and restarts_of(world) == 0
    assert (world.name, world.version, world.max_steps, list(world.splits())) == ("spoken", "1", 5, ["train", "test"])
    assert world.instructions() == "Open." and len(world.tasks("test")) == 5
    task = world.task("spoken/test/4")
    assert task == world.tasks("test")[4] == Task("spoken/test/4", "spoken", "test", "door")
    start = world.reset(task)
    assert (start.goal, start.observation) == ("leave.", "Dörs. The sign says 1.")
    assert valid_actions_of(world)() == ["open 0", "open 1", "open 2"]
    assert world.step("open 0") == Outcome("A wall.")
    assert world.step("open 1") == Outcome("Out.", 1.0, True, True, 1.0)
    assert world.admissible() == []
    with pytest.raises(EdgexpError, match="the episode is over"):
        world.step("open 1")


def test_its_expert_plays_and_follows(spoken: Any) -> None:
    world = spoken()
    for task in world.tasks("train"):
        trajectory = run(play(world, task, ExpertPolicy(world))).trajectory
        assert trajectory.success and len(trajectory.steps) == 1 and decode(encode(trajectory)) == trajectory
    player, start = expert_of(world), world.reset(world.task("spoken/train/2"))
    player.begin(start.goal, start.observation)
    player.saw(start.observation, "open 0")
    assert player.advise("x") == player.act("x") == "open 2"


def test_what_it_does_not_offer_is_not_there(tmp_path: Path) -> None:
    bare = tmp_path / "bare.py"
    hello = {"name": "bare", "version": "1", "max_steps": 1, "splits": ["all"], "instructions": ""}
    bare.write_text(f"import json\nprint(json.dumps({{'id': json.loads(input())['id'], 'answer': {hello}}}), flush=True)\ninput()\n")
    world = make(f"process:{shlex.quote(sys.executable)} {shlex.quote(str(bare))}")
    assert valid_actions_of(world) is None and expert_of(world) is None
    world.close()


@pytest.mark.parametrize("task_id", ["", "x", "spoken/train/x", "spoken/train", "a/b/c/d", "spoken/nowhere/1", "\ud800"])
def test_an_unknown_task_is_wrong_usage_and_the_program_goes_on(spoken: Any, task_id: str) -> None:
    world = spoken()
    pid = world._inner._program.pid
    with pytest.raises(EdgexpError) as raised:
        world.task(task_id)
    check_line(str(raised.value))
    assert episode(world).success and (world._inner._program.pid == pid or task_id == "spoken/nowhere/1")


def test_an_unknown_split_is_named_with_the_known(spoken: Any) -> None:
    with pytest.raises(UsageError, match="no split 'nowhere'; it has train, test"):
        spoken().tasks("nowhere")


@pytest.mark.parametrize("action", ["", " ", "\n", "\x00", "☃\u2028", "\ud800", "x" * 300_000, '{"id": 1}', "\\", '"'])
def test_any_action_reaches_it_in_one_line(spoken: Any, action: str) -> None:
    world = spoken()
    world.reset(world.task("spoken/train/1"))
    assert world.step(action) == Outcome("A wall.") and world.step("open 1").success


def test_steps_out_of_turn_are_errors_of_ours(spoken: Any) -> None:
    world = spoken()
    for ask in (lambda: world.step("open 1"), world.admissible):
        with pytest.raises(EdgexpError, match="no episode is under way"):
            ask()
    world.reset(world.task("spoken/train/1"))
    world.close()
    world.close()
    with pytest.raises(EdgexpError, match="no episode is under way"):
        world.step("open 1")
    assert episode(world).success and restarts_of(world) == 0


# What is wrong

WAYS = ["die", "kill", "exit-in-line", "child", "noise", "blank", "garbage", "latin", "surrogate", "huge", "deep", "nan", "inf", "no-id",
        "true-id", "both", "neither", "bad-error", "flood"]
VALUES = [None, 5, -1, 0.5, True, "text", "", [], [None], [5], {}, {"observation": None}, {"observation": 5}, {"observation": ["o"]},
          {"goal": "g"}, {"goal": None, "observation": "o"}, {"goal": "g" * 70_000, "observation": "o"},
          {"goal": "g", "observation": "o", "x": 1},
          {"observation": "o", "reward": "x"}, {"observation": "o", "reward": None}, {"observation": "o", "done": "no"},
          {"observation": "o", "success": 2}, {"observation": "o", "score": 7}, {"observation": "o", "rewrad": 1},
          {"observation": "o" * 300_000},
          {"observation": "o", "reward": 10**400}, ["a", None], ["a", ""], [["a"]], "x" * 70_000]


def check_episode_ends(world: Any) -> None:
    """One episode fails with one line, and nothing is left of the program; the next one is as if nothing had been."""
    before, tasks = restarts_of(world), [Task(f"spoken/train/{n}", "spoken", "train", "door") for n in (1, 2)]
    group = world._inner._program.pid
    try:
        trajectory = run(play(world, tasks[0], ExpertPolicy(world))).trajectory
        assert trajectory.end.startswith("error: ") and not trajectory.success and decode(encode(trajectory)) == trajectory
        check_line(trajectory.end)
    except EdgexpError as error:
        check_line(str(error))
        assert str(error).startswith("process:")
    assert until(lambda: not group_members(group))
    trajectory = run(play(world, tasks[1], ExpertPolicy(world))).trajectory
    assert trajectory.success and restarts_of(world) == before + 1


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_answer_ends_its_episode_only(spoken: Any, way: str, tmp_path: Path) -> None:
    where = "reset" if way in ("surrogate", "latin") else "step"
    check_episode_ends(once(spoken, tmp_path, where, way))


@pytest.mark.parametrize("where", ["reset", "admissible", "step"])
def test_a_line_too_much_ends_its_episode_only(spoken: Any, where: str) -> None:
    """At the end of an episode nobody sees it any more, and the next one does not suffer from it."""
    world = spoken(where, "twice")
    for _ in range(2):
        world.reset(Task("spoken/train/1", "spoken", "train", "door"))
        if where == "step":
            assert world.step("open 1").success
        else:
            with pytest.raises(EdgexpError, match="it may have said more than one line"):
                world.admissible()
                world.step("open 1")
    assert restarts_of(world) == 1


@pytest.mark.parametrize("way", ["hang", "closed"])
@pytest.mark.parametrize("where", ["reset", "step"])
def test_a_hang_ends_at_its_limit(spoken: Any, way: str, where: str, tmp_path: Path) -> None:
    check_episode_ends(once(spoken, tmp_path, where, way, seconds=1.5))


@pytest.mark.parametrize(("where", "value"), [
    ("reset", "None"), ("step", "{'observation': 5}"), ("step", "{'observation': 'o' * 300_000}"), ("act", "5"), ("admissible", "'text'"),
])  # fmt: skip
def test_a_wrong_value_ends_its_episode_only(spoken: Any, where: str, value: str, tmp_path: Path) -> None:
    if where != "admissible":
        check_episode_ends(once(spoken, tmp_path, where, value))
        return
    world = once(spoken, tmp_path, where, value)
    world.reset(TASK)
    with pytest.raises(EdgexpError, match=r"what admissible\(\) answered is 'text', but a list of texts is wanted"):
        world.admissible()
    assert episode(world).success and restarts_of(world) == 1


class Inside:
    """In place of a child: answers as the test program does, in this process, and `value` where it is asked for `where`."""

    where, value = "", None

    def __init__(self, words: list[str]) -> None:
        self.open = True

    def alive(self) -> bool:
        return self.open

    def chatters(self) -> bool:
        return False

    def ask(self, line: bytes, seconds: float) -> bytes:
        asked = json.loads(line)
        value = self.value if asked["call"] == self.where else spoken_doors.answer(asked["call"], asked["arguments"])
        return json.dumps({"id": asked["id"], "answer": value}).encode() + b"\n"

    def close(self, patience: float = 1) -> None:
        self.open = False


RIGHT = {"id": "spoken/train/1", "environment": "spoken", "split": "train", "type": "door"}
HELLO = spoken_doors.answer("hello", {})
ODD_TASKS = [{key: RIGHT[key] for key in RIGHT if key != "type"},
             {**RIGHT, "environment": "other"}, {**RIGHT, "split": "no"}, {**RIGHT, "x": 1},
             *({**RIGHT, key: value} for key in RIGHT for value in (None, 5, "y" * 2000, ["x"], "\ud800"))]
TOOL = {"name": "open", "description": "Open it.", "parameters": {"properties": {"door": {"enum": [1, 2]}}, "required": ["door"]}}
ODD_TOOLS = [{"description": "x"}, {**TOOL, "x": 1}, *({**TOOL, key: value} for key, values in {
    "name": ("", None, 5, "y" * 2000, "\ud800"), "description": (None, 5, "y" * 70_000, "\ud800"),
    "parameters": (None, 5, "x", [], {"type": "string"}, {"properties": []}, {"properties": {"a": {"type": 5}}}, {"required": "a"},
                   {"properties": {"a": {"enum": []}}, "required": ["a"]}, {"properties": {"\ud800": {}}})}.items() for value in values)]
ODD_HELLOS = [{**HELLO, key: value} for key in (*HELLO, "x", "most_calls", "action_tokens")
              for value in (None, 5.5, -1, "y" * 70_000, [5], {"a": 1}, "\ud800")]


@pytest.mark.parametrize(("where", "values"), [
    ("reset", VALUES), ("step", VALUES), ("act", [value for value in VALUES if value not in (None, "text", "")]),
    ("advise", [value for value in VALUES if value not in (None, "text", "")]),
    ("admissible", VALUES), ("tools", [*VALUES, *([one] for one in ODD_TOOLS), [TOOL, TOOL], []]),
    ("tasks", [*(value for value in VALUES if value != []), *([one] for one in ODD_TASKS), [RIGHT, RIGHT]]),
    ("task", [*VALUES, *ODD_TASKS]), ("hello", [*VALUES, *ODD_HELLOS]),
])  # fmt: skip
def test_every_wrong_value_of_every_member_is_one_line(monkeypatch: pytest.MonkeyPatch, where: str, values: list[Any]) -> None:
    monkeypatch.setattr(json_lines, "Program", Inside)
    for value in values:
        monkeypatch.setattr(Inside, "where", "")
        world = SpokenEnvironment("true")
        world.reset(TASK)
        inner = world._program
        monkeypatch.setattr(Inside, "where", where)
        monkeypatch.setattr(Inside, "value", value)
        ask = {"reset": lambda w=world: w.reset(TASK), "step": lambda w=world: w.step("x"), "act": lambda w=world: w.expert().act("o"),
               "advise": lambda w=world: w.expert().advise("o"), "admissible": lambda w=world: w.admissible(),
               "tools": lambda w=world: w._tools(),
               "tasks": lambda w=world: w.tasks("train"), "task": lambda w=world: w.task("spoken/train/1"),
               "hello": lambda: SpokenEnvironment("true")}[where]  # fmt: skip
        right = where == "hello" and is_right_hello(value)
        try:
            ask()
        except EdgexpError as error:
            check_line(str(error))
            assert where == "hello" or not inner.alive(), "a program that answers wrongly is not asked again"
        else:
            assert right, value


def is_right_hello(value: Any) -> bool:
    """Instructions may be long, and names may be long as names go."""
    long = value.get("instructions") if isinstance(value, dict) else None
    if not isinstance(long, str) or "\ud800" in long or len(long) > 65_536:
        return False
    return {**value, "instructions": ""} == {**HELLO, "instructions": ""}


def test_a_program_that_says_another_hello_later_is_not_played(spoken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "Program", Inside)
    world = SpokenEnvironment("true")
    world.close()
    monkeypatch.setattr(Inside, "where", "hello")
    monkeypatch.setattr(Inside, "value", {**HELLO, "version": "2"})
    with pytest.raises(EdgexpError, match="started anew it says another hello than at first"):
        world.reset(TASK)


def once(spoken: Any, folder: Path, where: str, what: str, **options: Any) -> Any:
    """An environment whose program does one thing wrong, once."""
    return spoken(where, what, str(folder / "done"), **options)


KEYS = st.sampled_from(["id", "observation", "goal", "reward", "done", "success", "score", "x", "name", "parameters", "properties"])
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5))  # fmt: skip


@settings(max_examples=100 * ROUNDS)
@given(answer=JSON, member=st.sampled_from(["_read_hello", "_read_start", "_read_outcome", "_read_actions", "_read_tasks", "_read_task",
                                               "_read_tools"]))
def test_whatever_an_answer_holds_is_read_or_one_line(answer: Any, member: str) -> None:
    world = object.__new__(SpokenEnvironment)
    world._who, world.name, world.splits = "process:x", "spoken", lambda: ("train",)  # type: ignore[method-assign]
    read = getattr(world, member)
    arguments = {"_read_tasks": ("train",), "_read_task": ("what",)}.get(member, ())
    try:
        found = read(answer, *arguments)
    except EdgexpError as error:
        check_line(str(error))
    else:
        assert json.dumps(answer) and found is not None


@settings(max_examples=100 * ROUNDS)
@given(line=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_line_is_said_is_an_answer_or_one_line(line: bytes) -> None:
    world = object.__new__(SpokenEnvironment)
    world._who, world._number = "process:x", 1
    try:
        answer = world._opened(line, "step")
    except EdgexpError as error:
        check_line(str(error))
    else:
        assert answer["id"] == 1


# Beginnings and ends


@pytest.mark.parametrize(("name", "words"), [
    ("process:", "name a command"),
    ("process:   ", "name a command"),
    ("process:'", "the command cannot be read"),
    ("process:no-such-program-here x", "there is no program 'no-such-program-here'"),
    ("process:\0", "name a command"),
    ("process:true", "asked for hello, it ended with status 0"),
    ("process:sh -c 'echo oh no >&2; exit 7'", "asked for hello, it ended with status 7; it last said: oh no"),
    ("process:echo hello", "its answer to hello is no JSON in UTF-8: b'hello\\n'; remarks belong on standard error"),
])  # fmt: skip
def test_what_cannot_start_is_one_line(name: str, words: str) -> None:
    with pytest.raises(EdgexpError) as raised:
        make(name)
    check_line(str(raised.value))
    assert words in str(raised.value)


def test_a_program_that_says_no_hello_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "START_SECONDS", 0.5)
    with pytest.raises(EdgexpError, match=r"asked for hello, it did not answer within 0\.5 s and was ended"):
        make("process:sleep 1000", seconds=0.1)


def test_a_program_that_reads_nothing_holds_nobody() -> None:
    """More than a pipe holds."""
    sleeping = program.Program(["sleep", "1000"])
    with pytest.raises(program.ProgramFailed, match="did not answer"):
        sleeping.ask(b"x" * 1_000_000, 0.3)
    assert until(lambda: not group_members(sleeping.pid))


def test_a_name_in_a_bank_starts_nothing(tmp_path: Path) -> None:
    """A task may come from a file that somebody else wrote."""
    mark = tmp_path / "started"
    name = f"process:touch {mark}"
    assert family_of_task(Task("own/train/a/1", name, "train", "count")) == "own/train/a" and not mark.exists()


def test_closing_ends_its_whole_group(tmp_path: Path) -> None:
    """Also a program that ignores the end of its input, and its children."""
    stubborn = program.Program(["sh", "-c", "trap '' TERM HUP INT; sleep 1000 & while read line; do echo ok; done; sleep 1000"])
    assert stubborn.ask(b"x\n", 30) == b"ok\n" and len(group_members(stubborn.pid)) >= 3
    stubborn.close(0.1)
    assert until(lambda: not group_members(stubborn.pid)) and not stubborn.alive()


def test_nothing_outlives_an_edgexp_that_is_killed() -> None:
    source = ("from edgexp.environments.bridges.program import Program\nimport time\n"
              "c = Program(['sh', '-c', 'sleep 1000 & sleep 1000'])\nprint(c.pid, flush=True)\ntime.sleep(1000)\n")  # fmt: skip
    ours = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, env=os.environ)
    group = int(ours.stdout.readline())
    assert until(lambda: len(group_members(group)) >= 3)
    ours.kill()
    ours.wait()
    assert until(lambda: not group_members(group))


def test_a_program_that_waits_for_its_children_does_not_wait_for_ours() -> None:
    source = "import os\ntry:\n    os.wait()\nexcept ChildProcessError:\n    print('none', flush=True)\ninput()"
    waiting = program.Program([sys.executable, "-S", "-c", source])
    assert waiting.ask(b"", 30) == b"none\n"
    waiting.close()


def test_episodes_go_on_beside_one_that_fails(spoken: Any) -> None:
    worlds = [spoken(), spoken("step", "die")]
    tasks = [Task(f"spoken/train/{n}", "spoken", "train", "door") for n in (1, 2)]
    starts = [lambda place, task=task: play(worlds[place], task, ExpertPolicy(worlds[place])) for task in tasks]
    ends = [one.played.trajectory.end for one in sorted(run_many(starts, 2), key=lambda one: one.number)]
    assert ends[0] == "done" and "ended with status 3; it last said: dying" in ends[1]


def test_an_expert_episode_of_it_is_kept(spoken: Any) -> None:
    world = spoken()
    played = run(expert_episode(world, world.task("spoken/train/1")))
    assert played.trajectory.success


TOOLS = """
import json, sys

def answer(call, given):
    if call == "hello":
        return {"name": "spoken", "version": "1", "max_steps": 5, "splits": ["train"], "instructions": "Open.", "offers": ["tools"],
                "most_calls": 2, "action_tokens": 99}
    if call == "reset":
        return {"goal": "open door 2.", "observation": "Doors."}
    if call == "tools":
        return [{"name": "open", "parameters": {"properties": {"door": {"enum": [1, 2]}}, "required": ["door"]}}, {"name": "wait"}]
    if call == "step":
        won = "open(door=2)" in given["action"]
        return {"observation": "Out." if won else "A wall.", "reward": float(won), "done": won, "success": won, "score": float(won)}

for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"id": asked["id"], "answer": answer(asked["call"], asked["arguments"])}), flush=True)
"""


def test_a_program_may_offer_tools(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(TOOLS, encoding="utf-8")
    world = make("process:" + shlex.join([sys.executable, "-S", str(tmp_path / "tools.py")]))
    list_tools = tools_of(world)
    assert list_tools is not None and valid_actions_of(world) is None and list(list_tools()) == []
    assert most_calls_of(world) == 2 and action_tokens_of(world) == 99
    actions = ["open(door=3)", "wait(); open(door=1)", "wait(); wait(); wait()", "open(door=2)"]
    steps = run(play(world, TASK, Scripted(actions))).trajectory.steps
    assert [step.observation for step in steps] == [
        "open: door is 3, but 1|2 is wanted", "A wall.", "3 calls are too many: at most 2 may be made at once", "Out."]
    assert list(list_tools()) == []
    for seed in range(5):
        played = run(play(world, TASK, make_policy(world, action_tokens=99, temperature=1.0, seed=seed)), MockEngine()).trajectory
        assert played.steps and {step.observation for step in played.steps} <= {"A wall.", "Out."}
    world.close()


EXAMPLES = HERE.parents[2] / "recipes" / "process"


@pytest.mark.slow
@pytest.mark.parametrize(("language", "file"), [(sys.executable, "doors.py"), ("node", "doors.js"), ("perl", "doors.pl")])
def test_the_examples_play(language: str, file: str) -> None:
    if shutil.which(language) is None:
        pytest.skip(f"no {language} here")
    world = make(f"process:{shlex.join([language, str(EXAMPLES / file)])}")
    assert world.task("doors/test/4") == world.tasks("test")[4]
    with pytest.raises(EdgexpError, match=r"doors/nowhere/1|of the split 'nowhere', which it does not have"):
        world.task("doors/nowhere/1")
    actions = ["open door 1", "open the window", "read sign", "open door 2"]
    trajectory = run(play(world, world.task("doors/test/4"), Scripted(actions))).trajectory
    assert trajectory.success and trajectory.steps[2].observation.endswith("door 2.") and len(world.admissible()) == 0
    world.close()


def test_the_page_prints_the_example() -> None:
    page = (HERE.parents[2] / "docs" / "environments.md").read_text(encoding="utf-8")
    assert (EXAMPLES / "doors.py").read_text(encoding="utf-8").split("\n", 1)[1].strip() in page
