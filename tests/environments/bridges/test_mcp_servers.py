"""Servers of MCP as an environment: what works, and what a server that breaks the protocol costs: its episode, with one line."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzzing import ROUNDS
from hypothesis import given, settings
from hypothesis import strategies as st

from edgexp.environments import plain
from edgexp.environments.base import Environment, expert_of, has_expert, is_remote, restarts_of, tools_of
from edgexp.environments.bridges import mcp_client
from edgexp.environments.bridges.mcp_servers import McpServers
from edgexp.environments.bridges.program import ProgramFailed
from edgexp.environments.calls import Call, Tool, read_calls, shape_of, write_call
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError

TOY = Path(__file__).with_name("mcp_toy.py")
TASKS = """
folder = "notes"

[[task]]
name = "copy"
split = "train"
instruction = "Copy the text of a.txt into b.txt."
max_steps = 4
look = 'list()'
solution = ['read_note(path="/desk/a.txt")', 'write_note(path="/desk/b.txt", text="hello")']
check = { file = "b.txt", says = "hello" }

[[task]]
name = "read"
instruction = "Read c.txt."
files = { "c.txt" = "see", "in/d.txt" = "d" }
check = { called = 'read_note(path="/desk/c.txt")' }

[[task]]
name = "told"
instruction = "Let a.txt say bye."
setup = ['write_note(path="/desk/e.txt", text="e")']
check = { call = 'read_note(path="/desk/a.txt")', contains = ["bye"] }

[[task]]
name = "gone"
instruction = "x"
check = { call = 'read_note(path="/desk/a.txt")', gone = true }
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of servers and its tasks; the file's path."""

    def written(tasks: str = TASKS, wrong: str = "", **more: Any) -> Path:
        notes = tmp_path / "notes"
        notes.mkdir(exist_ok=True)
        (notes / "a.txt").write_text("hello")
        entry = {"command": sys.executable, "args": [str(TOY), str(notes)], "env": {"MCP_WRONG": wrong}, "type": "stdio", **more}
        (tmp_path / "My Notes.json").write_text(json.dumps({"mcpServers": {"notes": entry, "off": {"url": "http://x", "disabled": True}}}))
        (tmp_path / "My Notes.toml").write_text(tasks)
        return tmp_path / "My Notes.json"

    return written


@pytest.fixture
def opened(write: Write) -> Iterator[Callable[..., Environment]]:
    made: list[Environment] = []

    def make_one(*arguments: Any, **more: Any) -> Environment:
        made.append(make(f"mcp:{write(*arguments, **more)}"))
        return made[-1]

    yield make_one
    for one in made:
        one.close()


def begin(environment: Environment, name: str, split: str = "test") -> Any:
    return environment.reset(environment.task(f"{environment.name}/{split}/{name}"))


def test_a_file_is_an_environment(opened):
    environment = opened()
    assert environment.name == "mcp-my-notes" and environment.splits() == ("test", "train") and is_remote(environment)
    assert [task.id for task in environment.tasks("test")] == [f"mcp-my-notes/test/{name}" for name in ("read", "told", "gone")]
    assert [tool.name for tool in tools_of(environment)()] == ["write_note", "read_note", "list", "odd"]
    assert 'write_note(path: text, text: text, mode?: "new"' in environment.instructions()
    with pytest.raises(UsageError, match="has no task 'x'"):
        environment.task("x")


def test_the_solution_is_played_and_the_folder_stays_as_it_is(opened, tmp_path):
    environment = opened()
    for _ in range(2):
        start = begin(environment, "copy", "train")
        assert (start.goal, start.observation) == ("Copy the text of a.txt into b.txt.", "/desk/a.txt")
        assert environment.max_steps == 4 and has_expert(environment)
        player = expert_of(environment)
        player.begin(start.goal, start.observation)
        first = environment.step(player.act(""))
        assert (first.observation, first.done) == ("hello", False)
        last = environment.step(player.act(""))
        assert (last.observation, last.done, last.success, last.score) == ("written to /desk/b.txt", True, True, 1.0)
        assert player.act("") is None
        with pytest.raises(EdgexpError, match="the episode is over"):
            environment.step("list()")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("read", ['read_note(path="/desk/x")', 'read_note(path="/desk/a.txt")'], 'read_note(path="/desk/c.txt")'),
        ("told", ['read_note(path="/desk/e.txt")'], 'write_note(path="/desk/a.txt", text="bye!")'),
    ],
)
def test_the_check_is_asked_after_every_action(opened, name, wrong, right):
    environment = opened()
    begin(environment, name)
    assert not any(environment.step(action).done for action in wrong)
    assert environment.step(right).success


def test_what_fails_is_an_observation(opened):
    environment = opened()
    begin(environment, "read")
    assert environment.step('read_note(path="/etc/passwd")').observation == "error: /etc/passwd is not in /desk"
    assert environment.step('read_note(path="/desk/x")').observation == "error: no note at /desk/x"
    assert environment.step('odd(x="/desk/y")').observation == '{"x": "/desk/y"}'
    assert environment.step("list()").observation == "/desk/a.txt\n/desk/c.txt\n/desk/in"
    assert "secret" in [tool.name for tool in tools_of(environment)()]
    assert environment.step("secret()").observation == "[image]\nfile:///x"


@pytest.mark.parametrize(
    "action", ["", "hello", "list(", "nothing()", "read_note()", "read_note(path=5)", 'read_note(path="a", x=1)', "list(); list()"]
)
def test_what_is_no_call_reaches_no_server(opened, action, monkeypatch):
    environment = opened()
    begin(environment, "read")
    monkeypatch.setattr(mcp_client.McpServer, "call", lambda *_: pytest.fail("it was asked"))
    assert not environment.step(action).done


def test_odd_texts_go_there_and_back(opened):
    environment = opened()
    begin(environment, "read")
    for text in ('"', "a\nb", "é☃", "\\n", "/desk", "x" * 3_000, "\x7f", "{}"):
        environment.step(write_call(Call("write_note", {"path": "/desk/t", "text": text})))
        assert environment.step('read_note(path="/desk/t")').observation == text
    environment.step(write_call(Call("write_note", {"path": "/desk/t", "text": "x" * 10_000})))
    assert environment.step('read_note(path="/desk/t")').observation == "x" * 4_000 + "\n(and 6,000 characters more)"


def test_nothing_is_left(opened):
    environment = opened()
    begin(environment, "read")
    inner = environment._inner
    folder, server = inner._copy.parent, inner._servers["notes"]
    assert folder.is_dir() and server.alive()
    environment.close()
    environment.close()
    assert not folder.exists() and not server.alive()
    begin(environment, "read")


WRONG = [
    "die",
    "hang",
    "close",
    "half",
    "flood",
    "long",
    "hello",
    "[1]",
    "1",
    "null",
    "{}",
    '{"jsonrpc": "2.0", "id": 99999, "result": {}}',
    '{"id": ID}',
    '{"id": ID, "result": []}',
    '{"id": ID, "result": null}',
    '{"id": "ID", "result": {}}',
    '{"id": true, "result": {}}',
    '{"id": null, "error": {"message": "parse"}}',
    '{"error": 5}',
    "\x00",
    "\x80",
    "[" * 5000,
]
RESULTS = [
    '{"content": 5}',
    '{"content": [5]}',
    '{"content": [{}]}',
    '{"content": [{"type": "text"}]}',
    '{"content": [{"type": "text", "text": 1}]}',
    '{"content": [{"type": 5, "text": "x"}]}',
    '{"content": [], "isError": "no"}',
    '{"content": [{"type": "resource", "resource": {}}]}',
]
LISTS = [
    "{}",
    '{"tools": 5}',
    '{"tools": [5]}',
    '{"tools": [{}]}',
    '{"tools": [{"name": "", "inputSchema": {}}]}',
    '{"tools": [{"name": "x"}]}',
    '{"tools": [], "nextCursor": 5}',
    '{"tools": [], "nextCursor": "again"}',
    '{"tools": []}',
]
HELLOS = ["{}", '{"protocolVersion": 5}', '{"protocolVersion": "1", "serverInfo": []}']


def result(text: str) -> str:
    return f'{{"jsonrpc": "2.0", "id": ID, "result": {text}}}'


@pytest.mark.parametrize("what", [*WRONG, *map(result, RESULTS)], ids=lambda what: plain.one_line(what, 60))
def test_a_server_that_breaks_the_protocol_ends_its_episode_only(opened, what, monkeypatch):
    environment = opened(TASKS.replace("[[task]]", "seconds = 0.5\n[[task]]", 1), f"tools/call:{what}".replace("\0", "\\u0000"))
    begin(environment, "read")
    server = environment._inner._servers["notes"]
    with pytest.raises(EdgexpError) as error:
        environment.step("list()")
    assert "\n" not in str(error.value) and "mcp server notes" in str(error.value) and len(str(error.value)) < 3_000
    assert not server.alive()
    with pytest.raises(EdgexpError, match="no episode is under way"):
        environment.step("list()")
    begin(environment, "read")
    assert restarts_of(environment) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        *(f"initialize:{result(text)}" for text in HELLOS),
        *(f"tools/list:{result(text)}" for text in LISTS),
        "initialize:die",
        "initialize:hang",
        "tools/list:hello",
        "initialize:flood",
    ],
)
def test_a_server_that_never_works_is_one_line(write, wrong, monkeypatch):
    monkeypatch.setattr(mcp_client, "START_SECONDS", 1.0)
    monkeypatch.setattr(mcp_client, "MOST_MESSAGES", 300)
    with pytest.raises(EdgexpError) as error:
        make(f"mcp:{write(wrong=wrong)}")
    assert "\n" not in str(error.value)


class Said:
    """In the place of a program: says lines."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines = lines

    def say(self, line: bytes) -> None:
        assert json.loads(line)["jsonrpc"] == "2.0" and line.isascii() and line.count(b"\n") == 1

    def hear(self, seconds: float) -> bytes:
        if not self.lines:
            raise ProgramFailed("it ended")
        return self.lines.pop(0)

    def close(self, patience: float = 0) -> None:
        self.lines.clear()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([1, "text"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "jsonrpc",
                    "id",
                    "result",
                    "error",
                    "message",
                    "method",
                    "params",
                    "content",
                    "type",
                    "text",
                    "isError",
                    "tools",
                    "name",
                    "inputSchema",
                    "properties",
                    "required",
                    "enum",
                    "nextCursor",
                    "resource",
                    "uri",
                    "structuredContent",
                    "items",
                    "anyOf",
                    "$ref",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)
RESULT = st.fixed_dictionaries(
    {"content": st.lists(st.fixed_dictionaries({"type": JSON, "text": JSON}), max_size=2)}, optional={"isError": JSON}
)
TOOL = st.fixed_dictionaries({"name": JSON, "inputSchema": st.fixed_dictionaries({"properties": JSON, "required": JSON}) | JSON})


@settings(max_examples=100 * ROUNDS, deadline=None)
@given(
    st.lists(
        JSON | st.fixed_dictionaries({"id": st.just(1), "result": JSON | RESULT | st.fixed_dictionaries({"tools": st.lists(TOOL)})}),
        max_size=4,
    )
)
def test_whatever_a_server_says_is_an_answer_or_one_line(messages):
    lines = [json.dumps(message).encode() + b"\n" for message in messages]
    for work in (lambda server: server.call("x", {}), lambda server: server._list_tools(), lambda server: server._shake_hands()):
        server = mcp_client.McpServer.__new__(mcp_client.McpServer)
        server.who, server._seconds, server._number, server._changed, server._program = "mcp server x", 1.0, 0, False, Said([*lines])
        try:
            found = work(server)
        except EdgexpError as error:
            assert "\n" not in str(error) and len(str(error)) < 3_000
            continue
        if isinstance(found, tuple):
            assert isinstance(found[0], str) and isinstance(found[1], bool)
        if isinstance(found, list):
            assert all(isinstance(tool, Tool) and (shape_of(tool) is None or shape_of(tool)) for tool in found)


def test_an_error_of_the_protocol_is_an_observation(opened):
    environment = opened(TASKS, 'tools/call:{"id": ID, "error": {"code": -32602, "message": "no\\nsuch tool"}}')
    begin(environment, "read")
    assert environment.step("list()").observation == "error: no such tool"


def test_a_server_that_died_between_actions_ends_the_episode(opened):
    environment = opened()
    begin(environment, "read")
    os.killpg(environment._inner._servers["notes"]._program.pid, 9)
    time.sleep(0.2)
    with pytest.raises(EdgexpError, match="mcp server notes"):
        environment.step("list()")
    assert begin(environment, "read").goal == "Read c.txt."


def test_two_servers_and_names_that_both_have(write, tmp_path):
    file = write(TASKS.replace("list()", "one.list()").replace("read_note", "two.read_note").replace("write_note", "one.write_note"))
    table = json.loads(file.read_text())
    one = table["mcpServers"].pop("notes")
    file.write_text(json.dumps({"mcpServers": {"one": one, "two": one}}))
    environment = make(f"mcp:{file}")
    names = [tool.name for tool in tools_of(environment)()]
    assert names[0] == "one.write_note" and "two.list" in names and len(names) == 8
    begin(environment, "copy", "train")
    environment.step('two.write_note(path="/desk/b.txt", text="hell")')
    assert environment.step('one.write_note(path="/desk/b.txt", text="o", mode="add")').success
    environment.close()


def test_where_a_server_starts(write, tmp_path):
    """Relative paths are those of the file's folder or of `cwd`; ours alone are moved to the copy."""
    shutil.copy(TOY, tmp_path / "toy.py")
    tasks = TASKS.replace('folder = "notes"', 'folder = "notes"\nonly = ["list"]')
    for args, cwd in ((["toy.py", "notes"], ""), (["../toy.py", "."], "notes"), ([str(tmp_path / "toy.py"), str(tmp_path / "notes")], "/")):
        environment = make(f"mcp:{write(tasks, args=args, cwd=cwd)}")
        assert begin(environment, "copy", "train").observation == "/desk/a.txt", args
        assert [tool.name for tool in tools_of(environment)()] == ["list"]
        environment.close()


def test_a_server_sees_the_variables_that_it_needs_and_no_others(opened, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "hunter2")
    environment = opened()
    begin(environment, "read")
    pid = environment._inner._servers["notes"]._program.pid
    seen = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"MY_TOKEN" not in seen and b"MCP_WRONG" in seen and b"PATH=" in seen


@pytest.mark.parametrize(
    ("servers", "says"),
    [
        ("", "not JSON"),
        ("[]", "it has no"),
        ('{"mcpServers": {}}', "names no server"),
        ('{"mcpServers": {"a": {}}}', "no command"),
        ('{"mcpServers": {"a": {"url": "http://x"}}}', "a url"),
        ('{"mcpServers": {"a": {"command": 5}}}', "mcpServers.a: command"),
        ('{"mcpServers": {"a": {"command": "no-such-program-x"}}}', "there is no program"),
        ('{"mcpServers": {"a": 5}}', "no command"),
        ('{"mcpServers": {"a": {"command": "x", "timeout_ms": -1}}}', "timeout_ms"),
        ('{"mcpServers": {"a": {"command": "x\\u0000"}}}', "NUL"),
        ('{"mcpServers": {"a": {"command": "true"}}}', "initialize"),
    ],
)
def test_a_wrong_file_of_servers_is_one_line(write, servers, says):
    file = write()
    file.write_text(servers)
    with pytest.raises(EdgexpError, match=says) as error:
        make(f"mcp:{file}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('instruction = "Read c.txt."', "", "instruction"),
        ('name = "read"', 'name = "copy"', "two have one name"),
        ('name = "read"', 'name = "a/b"', "letters"),
        ('split = "train"', 'split = ""', "letters"),
        ("max_steps = 4", "max_steps = 0", "max_steps"),
        ("files = {", 'files = { "../x" = "", ', "without .."),
        ('folder = "notes"', "", "name the folder"),
        ('folder = "notes"', 'folder = "nowhere"', "there is no folder"),
        ("called =", 'says = "x", called =', "alone"),
        ("called =", "file = 'a', called =", "one of call"),
        ("'read_note(path=\"/desk/c.txt\")'", "'read'", "is no call"),
        ("look = 'list()'", "look = 'l'", "no call"),
        (', contains = ["bye"]', "", "call needs"),
        ("gone = true", 'gone = true, says = "x"', "gone needs"),
        ('says = "hello"', 'said = "hello"', "no such setting"),
        ('folder = "notes"', 'folder = "notes"\nkeep = true', "keep"),
        ('folder = "notes"', 'folder = "notes"\nseconds = 0', "seconds"),
        (TASKS, "x", "not TOML"),
        (TASKS, "", "task"),
        (TASKS, "task = []", "at least one"),
        ('folder = "notes"', 'folder = "notes"\nonly = ["x"]', "have no tools"),
    ],
)
def test_a_wrong_file_of_tasks_is_one_line(write, old, new, says):
    assert old in TASKS
    with pytest.raises(EdgexpError, match=says) as error:
        make(f"mcp:{write(TASKS.replace(old, new))}")
    assert "\n" not in str(error.value)


def test_what_is_not_there_is_said(write, tmp_path):
    with pytest.raises(UsageError, match="there is no such file"):
        make("mcp:")
    file = write()
    file.with_suffix(".toml").unlink()
    with pytest.raises(UsageError, match="there are no tasks"):
        make(f"mcp:{file}")


def test_a_task_that_is_done_or_cannot_be_set_up_is_refused(opened):
    environment = opened(TASKS.replace('says = "hello"', "gone = true").replace('"/desk/e.txt"', '"/elsewhere"'))
    with pytest.raises(EdgexpError, match="its check holds before"):
        begin(environment, "copy", "train")
    with pytest.raises(EdgexpError, match=r"its setup .* failed"):
        begin(environment, "told")
    begin(environment, "read")


def test_links_out_of_the_folder_lead_nowhere(opened, tmp_path):
    (tmp_path / "outside").write_text("hello")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "b.txt").symlink_to(tmp_path / "outside")
    environment = opened()
    begin(environment, "copy", "train")
    assert not environment.step("list()").done


def test_servers_can_be_kept(opened):
    tasks = 'keep = true\n[[task]]\nname = "x"\ninstruction = "x"\ncheck = { called = "list()" }\n'
    environment = opened(tasks)
    pids = []
    for _ in range(2):
        begin(environment, "x")
        pids.append(environment._inner._servers["notes"]._program.pid)
        assert environment.step("list()").success
    assert pids[0] == pids[1]


def test_the_version_changes_with_what_decides_the_texts(write):
    first, again = McpServers(str(write())), McpServers(str(write()))
    other = McpServers(str(write(TASKS.replace("Read c", "Look at c"))))
    assert first.version == again.version != other.version
    for one in (first, again, other):
        one.close()


@pytest.mark.skipif(shutil.which("mcp-server-time") is None, reason="mcp-server-time is not installed (the package mcp-server-time)")
def test_a_real_server_tells_the_time(tmp_path):
    (tmp_path / "time.json").write_text('{"mcpServers": {"time": {"command": "mcp-server-time", "args": ["--local-timezone", "UTC"]}}}')
    call = 'convert_time(source_timezone="Asia/Tokyo", time="12:00", target_timezone="UTC")'
    (tmp_path / "time.toml").write_text(
        f"keep = true\n[[task]]\nname = 'x'\ninstruction = 'x'\nsolution = ['{call}']\ncheck = {{ called = '{call}' }}\n"
    )
    environment = make(f"mcp:{tmp_path / 'time.json'}")
    begin(environment, "x")
    assert environment.step('get_current_time(timezone="Nowhere/Land")').observation.lower().startswith("error")
    done = environment.step(call)
    assert done.success and '"03:00' in done.observation.replace("T03", '"03')
    environment.close()


@pytest.mark.skipif(shutil.which("mcp-server-git") is None, reason="mcp-server-git is not installed (the package mcp-server-git)")
def test_a_real_server_works_on_the_copy(tmp_path):
    (tmp_path / "repo").mkdir()
    (tmp_path / "git.json").write_text(json.dumps({"mcpServers": {"git": {"command": "mcp-server-git"}}}))
    (tmp_path / "git.toml").write_text(
        'folder = "repo"\n[[task]]\nname = "x"\ninstruction = "x"\nfiles = { "a.txt" = "x" }\ncheck = { file = ".git/HEAD" }\n'
    )
    environment = make(f"mcp:{tmp_path / 'git.json'}")
    assert len(tools_of(environment)()) >= 10
    begin(environment, "x")
    for tool in tools_of(environment)():
        assert read_calls(write_call(Call(tool.name, example(tool.parameters)), tool), [tool])
    assert "/desk" in environment.step('git_status(repo_path="/desk")').observation
    environment.close()


@pytest.mark.skipif(
    shutil.which("mcp-server-filesystem") is None, reason="the npm package @modelcontextprotocol/server-filesystem is not installed"
)
def test_a_real_server_for_files_writes_into_the_copy(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "fs.json").write_text(json.dumps({"mcpServers": {"fs": {"command": "mcp-server-filesystem", "args": ["docs"]}}}))
    (tmp_path / "fs.toml").write_text(
        'folder = "docs"\n[[task]]\nname = "x"\ninstruction = "x"\nlook = \'list_directory(path="/desk")\'\nfiles = { "a.txt" = "hi" }\n'
        'check = { file = "b.txt", says = "hi" }\n'
    )
    environment = make(f"mcp:{tmp_path / 'fs.json'}")
    assert begin(environment, "x").observation == "[FILE] a.txt"
    assert environment.step('read_text_file(path="/desk/a.txt")').observation == "hi"
    assert environment.step('read_text_file(path="/etc/passwd")').observation.lower().startswith("error")
    assert environment.step('move_file(source="/desk/a.txt", destination="/desk/b.txt")').success
    assert list((tmp_path / "docs").iterdir()) == []
    environment.close()


@pytest.mark.skipif(
    shutil.which("mcp-server-memory") is None, reason="the npm package @modelcontextprotocol/server-memory is not installed"
)
def test_a_real_server_with_nested_arguments(tmp_path):
    (tmp_path / "m").mkdir()
    entry = {"command": "mcp-server-memory", "env": {"MEMORY_FILE_PATH": str(tmp_path / "m" / "memory.jsonl")}}
    (tmp_path / "m.json").write_text(json.dumps({"mcpServers": {"m": entry}}))
    call = 'create_entities(entities=[{"name": "Bob", "entityType": "cat", "observations": ["is \\"grey\\""]}])'
    (tmp_path / "m.toml").write_text(
        'folder = "m"\n[[task]]\nname = "x"\ninstruction = "x"\ncheck = { file = "memory.jsonl", contains = ["Bob", "grey"] }\n'
    )
    environment = make(f"mcp:{tmp_path / 'm.json'}")
    begin(environment, "x")
    assert not environment.step("read_graph()").done
    assert "entities" in environment.step("create_entities(entities=5)").observation
    assert environment.step(call).success
    environment.close()


def example(schema: dict[str, Any]) -> dict[str, Any]:
    """Arguments that a tool takes."""
    simple = {"string": "x", "integer": 1, "boolean": True, "array": ["x"]}
    return {name: simple[schema["properties"][name]["type"]] for name in schema.get("required", [])}
