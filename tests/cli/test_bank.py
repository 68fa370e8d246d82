"""`edgexp bank` as a user calls it."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from bank_samples import trajectories, trajectory
from click.testing import CliRunner, Result

from edgexp.bank import Bank, Episode, Recall, Scored
from edgexp.cli import cli
from edgexp.cli.screens import plain
from edgexp.embedding import Encoder
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Trajectory, encode, read_lines

Call = Callable[..., Result]


@pytest.fixture
def path(tmp_path: Path, encoder: Encoder) -> Path:
    """A bank of eight trajectories and two that wait in quarantine."""
    with Bank.open(tmp_path / "bank") as bank:
        bank.use(encoder)
        bank.add(trajectories(8))
        bank.add(trajectories(2, start=100), status="quarantined")
    return tmp_path / "bank"


@pytest.fixture
def call(path: Path) -> Call:
    """Run `edgexp bank ARGUMENTS… --bank PATH`; errors made on purpose are raised."""

    def run(*arguments: object, **options: object) -> Result:
        where = () if "--bank" in arguments else ("--bank", path)
        command = ["bank", *map(str, (*arguments[:1], *where, *arguments[1:]))]
        result = CliRunner().invoke(cli, command, env={"COLUMNS": "160"}, **options)  # type: ignore[arg-type]
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def file_of(path: Path, given: list[Trajectory]) -> Path:
    path.write_bytes(b"".join(encode(t) + b"\n" for t in given))
    return path


def test_stats(call: Call) -> None:
    shown = call("stats").stdout
    assert "10: " in shown and "2 in quarantine" in shown and "all-minilm-l6-v2, 384 dimensions" in shown
    assert json.loads(call("stats", "--json").stdout)["accepted"] == 8


def test_ls_filters_and_limits(call: Call) -> None:
    assert trajectory(7).id[:10] in call("ls").stdout and trajectory(100).id[:10] in call("ls").stdout
    assert len(lines(call("ls", "--json", "--status", "accepted"))) == 8
    assert [e["id"] for e in lines(call("ls", "--json", "-n", 1))] == [trajectory(101).id]
    won = [t.id for t in trajectories(8) if t.success]
    assert {e["id"] for e in lines(call("ls", "--json", "--won", "--status", "accepted"))} == set(won)
    assert lines(call("ls", "--json", "--env", "nowhere")) == []
    assert "the newest 3 of 10" in call("ls", "-n", 3).stdout


def test_search(call: Call) -> None:
    wanted = trajectory(3)
    found = lines(call("search", wanted.goal, "--json", "-k", 8))
    assert len(found) == 8 and found[0]["goal"] == wanted.goal and found[0]["score"] >= found[-1]["score"]  # type: ignore[operator]
    assert trajectory(100).id not in [hit["id"] for hit in found]
    assert all(hit["success"] for hit in lines(call("search", "a mug", "--won", "--json")))
    assert found[0]["id"][:10] in call("search", wanted.goal).stdout  # type: ignore[index]
    assert "nothing" in call("search", "a mug", "--env", "nowhere").stdout


def test_show(call: Call) -> None:
    t = trajectory(2)
    shown = call("show", t.id[:12]).stdout
    for text in (t.id, t.goal, t.steps[0].action, "expert"):
        assert text in shown
    assert call("show", t.id, "--json").stdout.encode() == encode(t) + b"\n"
    with pytest.raises(UsageError, match="no trajectory"):
        call("show", "tzzz")


def test_what_a_trajectory_says_cannot_reach_the_terminal(path: Path, call: Call, tmp_path: Path) -> None:
    evil = msgspec.structs.replace(trajectory(50), goal="\x1b[2J[red]boo[/red]\x07\u202egnirts", observation="[bold]\x9b31m")
    call("add", file_of(tmp_path / "evil.jsonl", [evil]))
    for shown in (call("show", evil.id), call("ls")):
        assert not set("\x1b\x07\x9b\u202e") & set(shown.stdout) and "[red]boo[/red]" in shown.stdout
    assert plain("a\nb\tc\x1b").plain == "a\nb\tc\\x1b"


def test_add_accept_forget(call: Call, tmp_path: Path) -> None:
    source = file_of(tmp_path / "more.jsonl", trajectories(3, start=200))
    assert "3 added, 0 known" in call("add", source).stdout
    assert "0 added, 3 known" in call("add", source).stdout
    assert json.loads(call("stats", "--json").stdout)["quarantined"] == 5
    assert "1 accepted" in call("accept", trajectory(200).id[:12]).stdout
    assert "4 accepted" in call("accept", "--all").stdout
    assert json.loads(call("add", "-", "--accept", "--json", input=encode(trajectory(300))).stdout)["added"] == [trajectory(300).id]
    refused = call("forget", trajectory(300).id, input="n\n")
    assert refused.exit_code != 0 or refused.exception
    assert "2 forgotten" in call("forget", "-y", trajectory(300).id, trajectory(200).id).stdout
    assert json.loads(call("stats", "--json").stdout)["trajectories"] == 12


def test_adding_bad_lines_adds_nothing(call: Call, tmp_path: Path) -> None:
    source = file_of(tmp_path / "bad.jsonl", trajectories(3, start=200))
    source.write_bytes(source.read_bytes() + b'\n{"task": 5}\n')
    with pytest.raises(EdgexpError, match=r"bad\.jsonl, line 5"):
        call("add", source)
    assert json.loads(call("stats", "--json").stdout)["trajectories"] == 10


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are another matter there")
def test_what_comes_through_a_pipe_is_added(call: Call, tmp_path: Path) -> None:
    """As from `<(zcat …)`: it can be read once only."""
    os.mkfifo(tmp_path / "pipe")
    data = file_of(tmp_path / "new.jsonl", trajectories(1, start=500)).read_bytes()
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,), daemon=True)
    writer.start()
    assert "1 added" in call("add", tmp_path / "pipe").output


def test_export_is_what_add_takes(call: Call, path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    call("export", out, "--status", "accepted")
    assert list(read_lines(out.read_bytes().splitlines(), "out")) == trajectories(8)
    assert call("export", "--status", "accepted").stdout.encode() == out.read_bytes()
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []
    assert "8 added" in call("add", out, "--bank", tmp_path / "other").stdout


def test_why(call: Call, path: Path) -> None:
    assert "no episode" in call("why").stdout
    known, gone = trajectory(1), "t" + 24 * "0"
    hits = (Scored(known.id, 0.9), Scored(gone, 0.8, "budget", 700))
    recalls = (Recall(0, "a query", 0.01, hits), Recall(2, "b", 0, ()))
    episode = Episode("r", "household", "household/dev/1", "t1", True, 1.0, "smol", "2026", recalls)
    with Bank.open(path) as bank:
        name = bank.log_episode(episode)
    assert name in call("why").stdout
    shown = call("why", name[:5]).stdout
    for text in ("a query", "0.900", known.goal, "left out: budget, 700 tokens", "no longer in the bank", "nothing in the bank passed"):
        assert text in shown
    assert "a query" not in call("why", name, 2).stdout
    assert json.loads(call("why", name, 0, "--json").stdout)["hits"][1]["dropped"] == "budget"
    with pytest.raises(UsageError, match="retrievals at: 0, 2"):
        call("why", name, 1)
    with pytest.raises(UsageError, match="no episode"):
        call("why", "exx")


def test_verify_and_rebuild(call: Call, path: Path) -> None:
    assert "all as they should be" in call("verify").stdout
    assert "0 trajectories embedded" in call("rebuild").stdout
    (index,) = path.glob("task-*.vectors")
    index.write_bytes(b"x" + index.read_bytes()[1:])
    with pytest.raises(EdgexpError, match="1 problems"):
        call("verify")
    call("rebuild")
    assert json.loads(call("verify", "--json").stdout) == {"trajectories": 10, "problems": []}


def test_rebuild_with_another_encoder(call: Call, encoder_folder: Path, tmp_path: Path) -> None:
    import shutil

    other = Path(shutil.copytree(encoder_folder, tmp_path / "mine"))
    config = json.loads((other / "encoder.json").read_text())
    (other / "encoder.json").write_text(json.dumps({**config, "max_tokens": 64, "fingerprint": "another"}))
    assert "10 trajectories embedded" in call("rebuild", "--encoder", other).stdout
    assert json.loads(call("stats", "--json").stdout)["encoder"] == "mine"
    with pytest.raises(EdgexpError, match="--encoder"):
        call("search", "a mug")
    assert len(lines(call("search", "a mug", "--encoder", other, "--json", "-k", 3))) == 3


@pytest.mark.parametrize("command", ["stats", "ls", "show t1", "why", "accept t1", "forget t1", "verify", "rebuild", "export", "search x"])
def test_without_a_bank_every_command_says_so_and_makes_none(command: str, call: Call, tmp_path: Path) -> None:
    name, *rest = command.split()
    with pytest.raises(EdgexpError, match="no bank at"):
        call(name, *rest, "--bank", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_ids_or_all_but_not_both(call: Call) -> None:
    for arguments in (("accept",), ("accept", "--all", "t1"), ("forget",), ("forget", "--quarantined", "t1")):
        with pytest.raises(UsageError):
            call(*arguments)


def test_help_shows_every_command_without_loading_anything_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from click.testing import CliRunner; from edgexp.cli import cli\n"
        "for a in ([], ['add'], ['search'], ['why'], ['rebuild']): assert CliRunner().invoke(cli, ['bank', *a, '--help']).exit_code == 0\n"
        "print([m for m in ('numpy', 'onnxruntime', 'usearch', 'numkong', 'tokenizers', 'rich.table') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# What people bring, and what cannot be read


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_file_may_be_in_any_unicode(call: Call, tmp_path: Path, encoding: str) -> None:
    text = b"\n".join(encode(t) for t in trajectories(3, start=50)).decode()
    (tmp_path / "file.jsonl").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert "3 added, 0 known before" in call("add", tmp_path / "file.jsonl").stdout
    assert "0 added, 3 known before" in call("add", "-", input=text.encode(encoding)).stdout


def test_text_in_another_encoding_is_one_line_and_nothing_is_added(call: Call, tmp_path: Path) -> None:
    line = encode(trajectory(50)).replace(b"You are", b"Stra\xdfe")
    (tmp_path / "file.jsonl").write_bytes(encode(trajectory(51)) + b"\n" + line + b"\n")
    with pytest.raises(EdgexpError, match="line 2: not a trajectory"):
        call("add", tmp_path / "file.jsonl")
    assert json.loads(call("stats", "--json").stdout)["trajectories"] == 10


def test_an_import_only_claims_its_source(call: Call, tmp_path: Path) -> None:
    file = file_of(tmp_path / "file.jsonl", [trajectory(50), trajectory(50), trajectory(51)])
    assert "2 added, 0 known before, 1 equal to others of them" in call("add", file, "--accept").stdout
    (shown,) = [json.loads(line) for line in call("export").stdout.splitlines() if json.loads(line)["goal"] == trajectory(50).goal][-1:]
    assert shown["provenance"]["source"] == "import" and shown["provenance"]["claimed"] == "expert"
    assert not [entry for entry in lines(call("ls", "--source", "expert", "--json")) if entry["id"] == trajectory(50).id]
    assert lines(call("ls", "--source", "import", "--json"))[-1]["id"] == trajectory(50).id


def test_one_that_is_too_large_is_refused_before_the_first_is_added(call: Call, tmp_path: Path) -> None:
    large = msgspec.structs.replace(trajectory(51), goal="x" * 2_000_000)
    with pytest.raises(EdgexpError, match="characters, more than"):
        call("add", file_of(tmp_path / "file.jsonl", [trajectory(50), large]))
    assert json.loads(call("stats", "--json").stdout)["trajectories"] == 10


@pytest.mark.parametrize("harm", ["UPDATE body SET data = x'00' WHERE row = 3", "UPDATE trajectory SET success = 7 WHERE row = 3",
                                  "UPDATE trajectory SET score = 9e999 WHERE row = 3"])  # fmt: skip
def test_one_that_cannot_be_read_stops_nothing(call: Call, path: Path, caplog: pytest.LogCaptureFixture, harm: str) -> None:
    with Bank.open(path) as bank:
        bank._store.database.execute(harm)
    for command in (("ls",), ("ls", "--json"), ("search", "a mug"), ("search", "a mug", "--json"), ("export",), ("stats",), ("why",)):
        caplog.clear()
        result = call(*command)
        assert result.exit_code == 0 and result.stdout
        if command[0] in ("ls", "export"):
            assert "1 trajectory in the bank" in caplog.text and "bank verify" in caplog.text
    assert len(lines(call("export"))) == 9
    with pytest.raises(EdgexpError, match="1 problems"):
        call("verify")
    assert "0 accepted" in call("accept", trajectory(2).id).stdout
    assert "1 forgotten" in call("forget", trajectory(2).id, "--yes").stdout
    assert "all as they should be" in call("verify").stdout
