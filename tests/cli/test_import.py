"""`edgexp bank import` and `edgexp bank review` as a user calls them: what comes in waits, and a person decides."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import session_samples as samples
from click.testing import CliRunner, Result

from edgexp.bank import Bank, Filters
from edgexp.cli import cli
from edgexp.embedding import Encoder
from edgexp.errors import EdgexpError
from edgexp.trajectory import NO_OUTCOME

Call = Callable[..., Result]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bank"


@pytest.fixture
def call(path: Path, encoder: Encoder) -> Call:
    """Run `edgexp bank ARGUMENTS… --bank PATH`; errors made on purpose are raised."""

    def run(*arguments: object, **options: object) -> Result:
        command = ["bank", *map(str, (arguments[0], "--bank", path, *arguments[1:]))]
        result = CliRunner().invoke(cli, command, env={"COLUMNS": "160"}, **options)  # type: ignore[arg-type]
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three sessions: two without an outcome, one that won; a bad line among them."""
    record = json.dumps(samples.openai())
    file = tmp_path / "chats.jsonl"
    file.write_text(
        "\n".join([record, "{", record.replace("a.txt", "b.txt"), json.dumps(samples.openai(reward=1)).replace("a.txt", "c.txt")])
    )
    return file


def goals(path: Path, status: str) -> dict[str, tuple[bool, str]]:
    """The file that a session is about → success and end."""
    with Bank.open(path, readonly=True) as bank:
        return {t.goal.split()[-1]: (t.success, t.end) for t in bank.each(Filters(), status)}  # type: ignore[arg-type]


def test_sessions_wait_in_quarantine(call, three, path):
    result = call("import", three)
    assert "3 added, 0 known before, out of 1 file (art 1, openai 2)" in result.stdout and "not read: 1" in result.stdout
    assert f"{three}, line 2: not JSON" in result.stderr and "of 2 nobody has said how they ended" in result.stderr
    assert goals(path, "accepted") == {}
    assert goals(path, "quarantined") == {"a.txt?": (False, NO_OUTCOME), "b.txt?": (False, NO_OUTCOME), "c.txt?": (True, "done")}
    assert json.loads(call("search", "a.txt", "--json").stdout or "null") is None
    again = json.loads(call("import", three, "--json").stdout)
    assert (again["added"], len(again["known"]), again["problems"]) == ([], 3, 1)


def test_what_was_taken_out_is_told(call, tmp_path):
    key = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t"
    (tmp_path / "f").write_text(json.dumps(samples.openai()).replace("a.txt", key))
    assert "taken out: 2 API keys" in call("import", tmp_path / "f").stdout
    shown = call("show", json.loads(call("ls", "--json").stdout)["id"]).stdout
    assert key not in shown and "[redacted: API key]" in shown and "from openai, sha256" in shown
    assert key in call("import", "--keep-secrets", tmp_path / "f").stdout + call("export").stdout


def test_standard_input_and_several_places(call, three, tmp_path):
    files = samples.write_all(tmp_path / "all")
    given = json.loads(
        call("import", "-", files["goose"], three, "--json", input=json.dumps(samples.openai()).replace("a.txt", "z.txt")).stdout
    )
    assert len(given["added"]) == 4 and given["repeated"] == 1 and given["formats"] == {"openai": 3, "goose": 1, "art": 1}


def test_nothing_that_can_be_read_is_a_failure(call, tmp_path):
    (tmp_path / "f").write_text("hello\n" * 100)
    with pytest.raises(EdgexpError, match="no session could be read"):
        call("import", tmp_path / "f")
    assert call("import", tmp_path / "g").exit_code == 2


def test_many_bad_lines_are_told_as_a_number(call, tmp_path):
    (tmp_path / "f").write_text(json.dumps(samples.openai()) + "\n{" * 100)
    result = call("import", tmp_path / "f")
    assert result.stderr.count("not JSON") == 20 and "and 80 more of such lines" in result.stderr


def test_review_asks_about_one_after_the_other(call, three, path):
    call("import", three)
    result = call("review", input="x\ny\nn\nf\n")
    assert (
        "2 accepted, 1 forgotten, 0 still wait" in result.stdout and "from openai, sha256" in result.stdout and "unknown" in result.stdout
    )
    assert goals(path, "accepted") == {"a.txt?": (True, "done"), "b.txt?": (False, "done")} and goals(path, "quarantined") == {}
    assert "nothing waits" in call("review").stdout
    assert call("verify").exit_code == 0


def test_review_can_leave_things_as_they_are_and_stop(call, three, path):
    call("import", three)
    assert "0 accepted, 0 forgotten, 3 still wait" in call("review", input="\nq\n").stdout
    assert "1 accepted, 0 forgotten, 2 still wait" in call("review", input="a\n").stdout  # the end of input means to stop
    assert goals(path, "accepted") == {"a.txt?": (False, NO_OUTCOME)}


def test_accept_says_how_they_ended(call, three, path):
    call("import", three)
    assert "3 accepted as won, 2 under another id" in call("accept", "--all", "--won").stdout
    assert set(goals(path, "accepted").values()) == {(True, "done")} and goals(path, "quarantined") == {}
    one = json.loads(call("ls", "--json", "-n", 1).stdout)["id"]
    assert "1 accepted as lost, 1 under another id" in call("accept", one, "--lost").stdout
    assert len(goals(path, "accepted")) == 3 and call("verify").exit_code == 0


def test_imported_sessions_are_not_episodes_of_ours(call, three, path):
    call("import", three)
    call("accept", "--all", "--won")
    with Bank.open(path, readonly=True) as bank:
        assert {t.provenance.source for t in bank.each()} == {"import"}
