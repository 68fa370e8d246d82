"""Your own tasks: what stands in a `task.toml`, commands and statements with limits, and the examples."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp import settings
from edgexp.environments.base import Environment, Outcome, expert_of, is_remote, valid_actions_of
from edgexp.environments.bridges import sandbox, statements
from edgexp.environments.bridges.sandbox import Limits, run_command
from edgexp.environments.bridges.statements import Asked, answer, same_rows
from edgexp.environments.bridges.tasks_folder import FILE, Check, TaskFile, read_task
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.scripted import ExpertPolicy, Scripted
from edgexp.trajectory import decode, encode

EXAMPLES = Path(__file__).parents[3] / "recipes" / "tasks"
SHELL = 'instruction = "make x"\nkind = "shell"\nsolution = ["touch x"]\n[check]\ncommand = "test -e x"\n'
SQL = ('instruction = "how many?"\nkind = "sqlite"\nsolution = ["SELECT count(*) FROM t"]\n'
       '[setup]\nscript = "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2);"\n[check]\nrows = [[2]]\n')  # fmt: skip
WITH_BUBBLEWRAP = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


def check_line(words: str) -> None:
    assert words and "\n" not in words and len(words) < 2_000
    words.encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tasks: one of the shell, one of SQL."""
    root = tmp_path / "My Tasks"
    for name, text in (("touch", SHELL), ("count", SQL)):
        (root / name).mkdir(parents=True)
        (root / name / FILE).write_text(text)
    (root / "touch" / "a b.txt").write_text("one\n")
    return root


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for commands, in one of its own."""
    (tmp_path / "episode" / "work").mkdir(parents=True)
    return tmp_path / "episode" / "work"


def ids(environment: Any) -> list[str]:
    return [task.id for split in environment.splits() for task in environment.tasks(split)]


# An environment


def test_a_folder_is_an_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("EDGEXP_NO_SANDBOX", "1")
    for name in (str(folder), "./My Tasks", "My Tasks"):
        world = make(name)
        assert isinstance(world, Environment) and is_remote(world) and valid_actions_of(world) is None
        assert world.name == "my-tasks" and list(world.splits()) == ["test"] and ids(world) == ["my-tasks/test/count",
        "my-tasks/test/touch"]
    start = world.reset(world.task("my-tasks/test/touch"))
    assert (start.goal, start.observation) == ("make x", "You see the files:\na b.txt")
    assert world.step("cat 'a b.txt'; pwd") == Outcome("one\n/desk")
    assert world.step("false") == Outcome("(exit status 1)") and world.step("echo oh >&2; exit 3") == Outcome("oh\n(exit status 3)")
    assert world.step("rm *; touch x") == Outcome("(no output)", 1.0, True, True, 1.0)
    assert (folder / "touch" / "a b.txt").read_text() == "one\n", "commands work on a copy"
    with pytest.raises(EdgexpError, match="the episode is over"):
        world.step("ls")
    start = world.reset(world.task("my-tasks/test/count"))
    assert start.observation == "CREATE TABLE t (a)"
    assert world.step("SELECT * FROM t").observation == "a\n1\n2\n(2 rows)"
    assert world.step("SELECT count(*) FROM t") == Outcome("count(*)\n2\n(1 row)", 1.0, True, True, 1.0)


def test_copies_are_removed(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    world = make(str(folder), sandbox=False)
    for _ in range(3):
        world.reset(world.tasks("test")[1])
        world.step("mkdir -p deep/er; touch deep/er/f; chmod 000 deep/er deep")
        assert len(list((tmp_path / "temporary").iterdir())) == 1
    world.close()
    world.close()
    assert not list((tmp_path / "temporary").iterdir())
    with pytest.raises(EdgexpError, match="no episode is under way"):
        world.step("ls")


def test_its_version_is_a_hash_of_its_files(folder: Path) -> None:
    before = make(str(folder), sandbox=False).version
    assert make(str(folder), sandbox=False).version == before
    (folder / "touch" / "a b.txt").write_text("two\n")
    assert make(str(folder), sandbox=False).version != before


@pytest.mark.slow
def test_the_solution_of_every_example_wins() -> None:
    world = make(str(EXAMPLES), sandbox=False)
    assert expert_of(world) is not None and list(world.splits()) == ["test", "train"] and len(ids(world)) >= 25
    for task_id in ids(world):
        trajectory = run(play(world, world.task(task_id), ExpertPolicy(world))).trajectory
        assert trajectory.success, (task_id, trajectory)
        assert decode(encode(trajectory)) == trajectory
    world.close()


def test_examples_read_and_none_is_won_by_doing_nothing() -> None:
    for path in EXAMPLES.glob(f"*/{FILE}"):
        task = read_task(settings.read(path), path.name)
        assert task.solution and task.type
        assert task.check.output is None or "".join(task.solution).strip(), path


# Commands


def test_a_command_ends_with_its_time_and_its_children(place: Path) -> None:
    started = time.monotonic()
    ran = run_command("echo begun; (sleep 300; touch later) & sleep 300", place, Limits(seconds=0.7), None)
    assert ran.status is None and ran.problem == "The command took longer than 0.7 s and was ended." and ran.output == "begun\n"
    assert time.monotonic() - started < 100


def test_what_a_command_leaves_in_the_background_ends_with_it(place: Path) -> None:
    ran = run_command("sh -c 'sleep 1; touch later' & echo $!", place, Limits(), None)
    pid = ran.output.strip()
    assert ran.status == 0
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or " Z " in stat.read_text():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the background command goes on")
    assert not (place / "later").exists()


@pytest.mark.parametrize(("command", "words"), [
    ("yes", "(cut)"), ("cat /dev/zero", "(cut)"), ("head -c 100000 /dev/urandom", "(cut)"), ("printf 'a\\377b'", "a\ufffdb"),
    ("printf 'a\\000b'", "a\ufffdb"),
    ("cat", ""), ("read x; echo got $x", "got"), ("nosuchcommand", "not found"), ("if", ""), ("exit 300", ""), ("kill -9 $$", ""),
])  # fmt: skip
def test_whatever_a_command_writes_is_a_short_text(place: Path, command: str, words: str) -> None:
    ran = run_command(command, place, Limits(seconds=2, output=500), None)
    assert words in ran.output and len(ran.output) <= 510
    ran.output.encode()


@pytest.mark.parametrize("command", ["\0", "x\0y", "", " ", "\n", "'", "x" * 200_000, "\ud800", "echo ☃", "#", "&&"])
def test_any_text_is_a_command(place: Path, command: str) -> None:
    ran = run_command(command, place, Limits(), None)
    (ran.output + ran.problem).encode()


def test_disk_and_files_have_a_limit(place: Path) -> None:
    one = run_command("head -c 50000000 /dev/zero > big", place, Limits(disk=2), None)
    assert one.full or one.status != 0
    many = run_command("i=0; while true; do head -c 900000 /dev/zero > f$i; i=$((i+1)); done", place, Limits(disk=5, seconds=60), None)
    assert many.full and "more than 5 MB" in many.problem
    assert sandbox.size_of(place) < 200_000_000


def test_a_full_disk_ends_the_episode(folder: Path) -> None:
    (folder / "touch" / FILE).write_text(SHELL + "[limits]\ndisk = 1\n")
    world = make(str(folder), sandbox=False)
    world.reset(world.task("my-tasks/test/touch"))
    outcome = world.step("for i in 1 2 3; do head -c 900000 /dev/zero > f$i; done; touch x")
    assert outcome.done and not outcome.success and "The episode is over." in outcome.observation


def test_memory_has_a_limit(place: Path) -> None:
    source = "x = bytearray(3_000_000_000)"
    assert run_command(f"{sys.executable} -S -c '{source}'", place, Limits(memory=500, seconds=60), None).status == 1


def test_commands_see_none_of_our_variables(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "tulip")
    ran = run_command("env; echo $HOME", place, Limits(), None)
    assert "tulip" not in ran.output and ran.output.endswith("/desk\n")


# Under bubblewrap


def test_without_bubblewrap_shell_tasks_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    for value in ("", "0", "false"):
        monkeypatch.setenv("EDGEXP_NO_SANDBOX", value)
        with pytest.raises(UsageError, match=r"bubblewrap, which is not here .*--no-sandbox, or EDGEXP_NO_SANDBOX=1") as raised:
            make(str(folder))
        check_line(str(raised.value))
    shutil.rmtree(folder / "touch")
    assert ids(make(str(folder))) == ["my-tasks/test/count"], "SQL needs no sandbox"


def test_a_bubblewrap_that_does_not_work_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create\nnew namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: str(broken))
    with pytest.raises(UsageError, match="bubblewrap does not work here: No permissions to create new namespace"):
        sandbox.find_bubblewrap()


def test_what_bubblewrap_is_told(place: Path, tmp_path: Path) -> None:
    """The one who stands in for it says what it was told, and runs the command."""
    fake = tmp_path / "bwrap"
    fake.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do echo "$1"; shift; done\nshift\nexec "$@"\n')
    fake.chmod(0o755)
    ran = run_command("echo run", place, Limits(), str(fake))
    told = ran.output.splitlines()
    assert told[-1] == "run" and {"--unshare-all", "--die-with-parent", "--new-session"} <= {*told} and "--share-net" not in told
    assert told.count("--bind") == 2 and not {"--dev-bind", "--bind-try"} & {*told}, "two folders can be written to, and no other"


@pytest.mark.slow
@WITH_BUBBLEWRAP
@pytest.mark.parametrize(("command", "status"), [
    ("touch x && test -w . && echo hi > /tmp/y", 0), ("touch /usr/x", 1), ("touch /x", 1), ("touch /dev/shm/x", 1), ("ls /home /root", 2),
    ("python3 -c 'import socket; socket.create_connection((\"1.1.1.1\", 80), 2)'", 1), ("test $(ls /proc | grep -c '^[0-9]') -lt 10", 0),
])  # fmt: skip
def test_in_the_sandbox(place: Path, command: str, status: int) -> None:
    ran = run_command(command, place, Limits(), sandbox.find_bubblewrap())
    assert (ran.status == 0) == (status == 0), ran


@pytest.mark.slow
@WITH_BUBBLEWRAP
def test_nothing_leaves_the_sandbox_and_goes_on(place: Path) -> None:
    run_command("setsid sh -c 'sleep 98765' & disown 2>/dev/null; sleep 0.2", place, Limits(), sandbox.find_bubblewrap())
    assert "98765" not in subprocess.run(["ps", "-ef"], capture_output=True, text=True, check=True).stdout


# Statements


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = tmp_path / "d.sqlite"
    script = "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (2, NULL), (3.5, x'00ff');"
    told = answer(Asked(str(path), Limits(), script=script), print)
    assert not told.problem
    return str(path)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements whose limits are not the point run here; limits of a process would stay."""
    monkeypatch.setattr(statements, "_limit_process", lambda limits: None)


def says(database: str, statement: str) -> str:
    return answer(Asked(database, Limits(output=300), statement), print).text


def test_statements_show_tables(database: str) -> None:
    assert says(database, "SELECT * FROM t") == "a | b\n1 | x\n2 | NULL\n3.5 | x'00ff'\n(3 rows)"
    assert says(database, "DELETE FROM t WHERE a > 1") == "OK, 2 rows changed." and says(database, "SELECT a FROM t") == "a\n1\n(1 row)"
    assert says(database, "CREATE TABLE u (c)") == "OK, 0 rows changed." and "c" in says(database, "PRAGMA table_info(u)")
    assert says(database, "SELEC") == 'Error: near "SELEC": syntax error'


@pytest.mark.parametrize("statement", [
    "ATTACH '{}' AS x", "ATTACH ':memory:' AS x", "VACUUM INTO '{}'", "SELECT load_extension('{}')", "PRAGMA writable_schema = 1",
    "PRAGMA temp_store_directory = '/'", "PRAGMA journal_mode = OFF", "PRAGMA database_list", "DETACH main",
    "CREATE VIRTUAL TABLE v USING fts5(x)",
    "PRAGMA hard_heap_limit = 0", "PRAGMA max_page_count = 999999999", "SELECT writefile('{}', 'x')", "SELECT readfile('/etc/passwd')",
    "SELECT 1; ATTACH '{}' AS x", "EXPLAIN ATTACH '{}' AS x", "SELECT * FROM pragma_database_list",
])  # fmt: skip
def test_statements_reach_nothing_else(database: str, tmp_path: Path, statement: str) -> None:
    other = tmp_path / "other"
    said = says(database, statement.format(other))
    assert said.startswith("Error: ") and not other.exists() and str(tmp_path) not in said
    check_line(said)


@pytest.mark.parametrize("statement", [
    " ", ";", "-- x", "SELECT", "\ud800", "SELECT '\ud800'", "SELECT '☃'", "SELECT 1e999, -1e999", "SELECT zeroblob(100000000)",
    "SELECT ?", "SELECT :a",
    "SELECT 9223372036854775807 + 1", "SELECT char(0)", "SELECT CAST(x'ff' AS TEXT)", "x" * 300_000, "SELECT 1; SELECT 2", "BEGIN",
    "COMMIT", "ROLLBACK",
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 100000) SELECT x FROM c",
    "SELECT replace(hex(zeroblob(400000)), '0', 'xx')",
])  # fmt: skip
def test_any_text_is_a_statement(database: str, statement: str) -> None:
    said = says(database, statement)
    assert said and len(said) < 700
    said.encode()
    assert msgspec.json.encode(answer(Asked(database, Limits(), statement), print))
    assert says(database, "SELECT count(*) FROM t").endswith("3\n(1 row)")


@pytest.mark.slow
@pytest.mark.parametrize(("statement", "words"), [
    ("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c", "took longer than 5 s and was ended"),
    ("CREATE TABLE b AS WITH c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT hex(zeroblob(999)) FROM c LIMIT 99999", "full"),
])  # fmt: skip
def test_statements_have_limits(database: str, statement: str, words: str) -> None:
    told = statements.ask_database(Asked(database, Limits(seconds=5, disk=4), statement))
    assert words in told.text and Path(database).stat().st_size < 10_000_000


@pytest.mark.parametrize(("found", "wanted", "same"), [
    ([[1]], [[1]], True), ([[1]], [[1.0]], True), ([["a"], ["b"]], [["b"], ["a"]], True), ([[0.1 + 0.2]], [[0.3]], True), ([], [], True),
    (None, [], False), ([[1]], [["1"]], False), ([[1]], [[1, 1]], False), ([[None]], [["None"]], False), ([[1], [1]], [[1]], False),
    ([[2]], [[1]], False),
])  # fmt: skip
def test_rows_that_are_the_same(found: Any, wanted: Any, same: bool) -> None:
    assert same_rows(found, wanted) is same
    assert not same_rows([["b"], ["a"]], [["a"], ["b"]], ordered=True)


# task.toml


@pytest.mark.parametrize(("text", "words"), [
    ("", "instruction"), ("x", "not TOML"), (SHELL.replace("shell", "python"), "kind"), (SHELL.replace("make x", " "), "instruction"),
    (SHELL + "rows = [[1]]\n", "check: a shell task has either a command or an output"), (SHELL + 'output = "x"\n', "check:"),
    (SHELL.replace("command = ", "# "), "check:"), (SQL.replace("rows", "# "), "check: an SQL task has rows"),
    (SHELL + "[limits]\nseconds = 0\n", "limits.seconds"), (SHELL + "[limits]\nseconds = nan\n", "limits.seconds"),
    (SHELL + "[limits]\nmemory = -1\n", "limits.memory"), (SHELL + "[limits]\ndisk = 1e9\n", "limits.disk"),
    (SHELL + "[limits]\ntime = 5\n", "limits.time"),
    (SHELL + '[setup]\nscript = "x"\n', "setup:"), (SQL.replace("script", "command"), "setup:"), ("max_steps = 0\n" + SHELL, "max_steps"),
    ('split = "a/b"\n' + SHELL, "split"), ('type = "a b"\n' + SHELL, "split, type"), ('database = "../x"\n' + SQL, "database"),
    ('database = "/etc/x"\n' + SQL, "database"), ('database = "task.toml"\n' + SQL, "database"),
    ("databas = 1\n" + SQL, "databas: there is no such"),
    (SHELL.replace('["touch x"]', '[""]'), "solution"), (SHELL.replace('["touch x"]', '"touch x"'), "solution"),
    (SHELL.replace("make x", "a\\u0000b"), "a text holds what cannot be written"),
])  # fmt: skip
def test_a_wrong_task_is_one_line_with_file_and_key(folder: Path, text: str, words: str) -> None:
    (folder / "touch" / FILE).write_text(text)
    with pytest.raises(EdgexpError) as raised:
        make(str(folder), sandbox=False)
    check_line(str(raised.value))
    assert f"touch/{FILE}: " in str(raised.value) and words in str(raised.value)


@pytest.mark.parametrize(("text", "words"), [
    (SHELL.replace("test -e x", "true"), "its check holds before anything was done"),
    (SHELL + '[setup]\ncommand = "echo no; exit 4"\n', "its setup failed: no"),
])  # fmt: skip
def test_a_task_that_cannot_begin_is_one_line(folder: Path, text: str, words: str) -> None:
    (folder / "touch" / FILE).write_text(text)
    world = make(str(folder), sandbox=False)
    with pytest.raises(EdgexpError, match=words) as raised:
        world.reset(world.task("my-tasks/test/touch"))
    check_line(str(raised.value))
    with pytest.raises(EdgexpError, match="no episode is under way"):
        world.step("ls")


def test_other_folders_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"there is no task here; a task is a folder with a task\.toml"):
        make(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "household").mkdir()
    assert make("household").name == "household", "a name comes before a folder"
    (tmp_path / "täsk").mkdir()
    (tmp_path / "täsk" / FILE).write_text(SHELL)
    with pytest.raises(EdgexpError, match="the folder of a task is called by letters"):
        make(str(tmp_path))
    for name in ("\0", "x" * 5000, "~no-such-user/x", "\ud800"):
        with pytest.raises(UsageError):
            make(name)


def test_links_and_odd_files_stay_what_they_are(folder: Path, tmp_path: Path) -> None:
    (folder / "touch" / "link").symlink_to("/etc/passwd")
    (folder / "count" / "data.sqlite").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EdgexpError, match=r"database: data\.sqlite is no file of SQLite's"):
        make(str(folder), sandbox=False)
    (folder / "count" / "data.sqlite").unlink()
    world = make(str(folder), sandbox=False)
    world.reset(world.task("my-tasks/test/touch"))
    assert world.step("readlink link").observation == "/etc/passwd"


def test_an_episode_may_be_played_by_anybody(folder: Path) -> None:
    world = make(str(folder), sandbox=False)
    trajectory = run(play(world, world.task("my-tasks/test/touch"), Scripted(["ls", "touch y", "touch x"]))).trajectory
    assert trajectory.success and [step.observation for step in trajectory.steps] == ["a b.txt", "(no output)", "(no output)"]


TEXTS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=30).filter(str.strip)
TASKS = st.builds(
    lambda instruction, command, solution, seconds, split: TaskFile(
        instruction, "shell", msgspec.convert({"command": command}, Check), limits=Limits(seconds=seconds), split=split,
        solution=tuple(solution)),
    TEXTS, TEXTS, st.lists(TEXTS, max_size=3), st.floats(0.1, 3600), st.sampled_from(["train", "dev", "a-b_c.d"]),
)  # fmt: skip


@given(TASKS)
def test_a_task_that_is_written_is_read_as_the_same(task: TaskFile) -> None:
    assert read_task(settings.show(task), "x") == task


VALUES = st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=5),
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3))  # fmt: skip
KEYS = st.sampled_from([*TaskFile.__struct_fields__, "check.command", "check.rows", "limits.seconds", "limits.disk", "setup.script",
"other"])


@given(KEYS, VALUES, st.sampled_from([SHELL, SQL]))
def test_a_task_with_any_value_is_read_or_one_line(key: str, value: Any, text: str) -> None:
    table = settings.decode(text, "x")
    *sections, last = key.split(".")
    inner = table.setdefault(sections[0], {}) if sections else table
    inner[last] = value
    try:
        written = settings.show(msgspec.convert(table, dict))
        task = read_task(written, "x")
    except EdgexpError as error:
        check_line(str(error))
        assert str(error).startswith("x: ")
    except (TypeError, UnicodeEncodeError, AttributeError):
        pass  # no TOML at all
    else:
        assert task.instruction.strip() and task.max_steps > 0 and task.limits.seconds > 0


@given(st.text(max_size=200) | st.binary(max_size=50).map(lambda data: data.decode("latin-1")))
def test_any_text_is_a_task_or_one_line(text: str) -> None:
    with pytest.raises(EdgexpError) as raised:
        read_task(text, "x")
    check_line(str(raised.value))


def test_files_that_cannot_be_copied_are_one_line_and_leave_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def fail(*_: Any, **__: Any) -> None:
        raise shutil.Error([("a\nb", "c", "no\nspace")] * 1000)

    monkeypatch.setattr(shutil, "copytree", fail)
    world = make(str(folder), sandbox=False)
    with pytest.raises(EdgexpError, match="its files cannot be copied") as raised:
        world.reset(world.task("my-tasks/test/touch"))
    check_line(str(raised.value))
    assert not list((tmp_path / "temporary").iterdir())
