"""Files of every format become the same trajectory; what is wrong with one is a line, and never the end of the others."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import session_samples as samples
from fuzzing import ROUNDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgexp.bank.soundness import check_sound
from edgexp.errors import UsageError
from edgexp.importing import agent_databases, json_pieces
from edgexp.importing.importer import FORMATS, Import
from edgexp.trajectory import NO_OUTCOME, Trajectory, decode, encode

NAMES = [
    "openai",
    "sharegpt",
    "sharegpt list",
    "hermes",
    "eto",
    "open-webui",
    "inspect",
    "inspect log",
    "inspect archive",
    "art",
    "claude-code",
    "goose",
    "goose database",
    "hermes database",
    "llm",
    "llm old",
]

Read = Callable[..., tuple[list[Trajectory], list[str]]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return samples.write_all(tmp_path_factory.mktemp("sessions"))


def read(path: Path, form: str = "auto", **options: Any) -> tuple[list[Trajectory], list[str]]:
    """Trajectories and problems."""
    problems: list[str] = []
    found = list(Import(form, problem=problems.append, check=check_sound, **options).read(path))
    assert all("\n" not in line and len(line) <= 2_000 for line in problems)
    assert all(decode(encode(t)) == t and check_sound(t) == t for t in found)
    return found, problems


def of_text(tmp_path: Path, text: str | bytes, form: str = "auto") -> tuple[list[Trajectory], list[str]]:
    path = tmp_path / "file"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read(path, form)


def test_the_samples_are_of_every_format(files):
    assert set(NAMES) == set(files) and {name.split()[0] for name in NAMES} == {*FORMATS} - {"auto", "edgexp"}


@pytest.mark.parametrize("name", NAMES)
def test_every_format_is_recognised_and_gives_the_same_session(name, files):
    (found,), problems = read(files[name])
    assert problems == []
    assert (found.goal, found.observation) == (samples.GOAL, "")
    assert [step.action for step in found.steps] == samples.ACTIONS
    assert [step.observation for step in found.steps] == samples.OBSERVATIONS
    assert found.task.environment == "chat" and found.provenance.source == "import"
    known = name in ("inspect", "inspect log", "inspect archive", "art")
    assert (found.success, found.score, found.end) == (known, float(known), "done" if known else NO_OUTCOME)
    form, digest, *_ = found.provenance.origin.split(", ")
    assert form == name.split()[0] and len(digest.removeprefix("sha256 ")) == 64


@pytest.mark.parametrize("name", NAMES)
def test_a_format_can_be_named(name, files):
    (found,), problems = read(files[name], name.split()[0])
    assert [step.action for step in found.steps] == samples.ACTIONS and problems == []


def test_a_folder_is_read_whole(files):
    found, problems = read(files["openai"].parent)
    assert len(found) == len(NAMES) and problems == []


def test_models_and_times_are_kept_where_they_are_told(files):
    claude, goose = read(files["claude-code"])[0][0].provenance, read(files["goose"])[0][0].provenance
    assert (claude.model, claude.created) == ("m", "2026-10-01T10:00:00+00:00")
    assert goose.created == "2025-10-01T10:00:00+00:00"
    assert "session s1" in claude.origin


@pytest.mark.parametrize(
    ("record", "success", "score"),
    [
        (samples.sharegpt(kto_tag=True), True, 1.0),
        (samples.sharegpt(kto_tag=False), False, 0.0),
        (samples.openai(reward=0.4), False, 0.4),
        (samples.openai(reward=-3), False, 0.0),
        (samples.eto(reward=1), True, 1.0),
        (samples.eto(meta={"reward": 0.5}), False, 0.5),
        (samples.open_webui(1), True, 1.0),
        (samples.open_webui(-1), False, 0.0),
        (samples.inspect_sample("I"), False, 0.0),
        (samples.inspect_sample(0.25), False, 0.25),
        (samples.inspect_sample(True), True, 1.0),
        ({"data": {"rating": 1}, "snapshot": {"chat": samples.open_webui()}}, True, 1.0),
    ],
)
def test_an_outcome_is_taken_where_the_file_has_one(tmp_path, record, success, score):
    (found,), _ = of_text(tmp_path, json.dumps(record))
    assert (found.success, found.score, found.end) == (success, score, "done")


@pytest.mark.parametrize("reward", [None, "1", [1], {"a": 1}, True])
def test_what_is_no_outcome_stays_unknown(tmp_path, reward):
    (found,), _ = of_text(tmp_path, json.dumps(samples.openai(reward=reward)))
    assert (found.success, found.end) == (False, NO_OUTCOME) and not found.outcome_known


def test_one_bad_line_is_one_line(tmp_path):
    good = json.dumps(samples.openai())
    text = f'{good}\n{{"messages": [\n\n{{"other": 1}}\n[1]\n{json.dumps({"messages": []})}\n{good}'
    found, problems = of_text(tmp_path, text)
    assert len(found) == 2
    assert [line.split(": ", 1)[0].rsplit(", ", 1)[1] for line in problems] == ["line 2", "line 4", "line 5", "line 6"]


def test_one_bad_entry_of_a_list_is_one_line(tmp_path):
    good = json.dumps(samples.openai(), indent=1)
    found, problems = of_text(tmp_path, f"[{good},\n{{1}},\n{good}, 7]")
    assert len(found) == 2 and [line.split(": ", 1)[0].rsplit(", ", 1)[1] for line in problems] == ["entry 2", "entry 4"]
    found, problems = of_text(tmp_path, f"[{good}, {good[:50]}")
    assert len(found) == 1 and "does not end" in problems[0]


def test_one_bad_file_is_one_line(files, tmp_path):
    folder = tmp_path / "all"
    shutil.copytree(files["openai"].parent, folder)
    bad = {
        "empty": b"",
        "text": b"hello\nworld\n",
        "notes.md": b"# Notes\n" * 1000,
        "picture": b"\x89PNG\r\n\x1a\n\0\0",
        "a.parquet": b"PAR1xx",
        "a.gz": b"\x1f\x8b\x08",
        "a.zip": b"PK\x03\x04xx",
        "a.db": b"SQLite format 3\0" + b"\0" * 100,
        "own.json": b'{"a": 1}',
        "list.json": b"[]",
        "numbers": b"1\n2\n",
        "deep": b"[" * 100_000,
        "zeros": b"\0" * 4096,
        "half": b'{"messages": [{"role"',
    }
    for name, data in bad.items():
        (folder / "bad" / name).parent.mkdir(exist_ok=True)
        (folder / "bad" / name).write_bytes(data)
    os.mkfifo(folder / "bad" / "pipe")
    (folder / "bad" / "link").symlink_to(folder)
    found, problems = read(folder)
    assert len(found) == len(NAMES) and len(problems) == len(bad)
    assert all(sum(f"/bad/{name}:" in line or f"/bad/{name}," in line for line in problems) == 1 for name in bad)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(UsageError, match="no file in this folder"):
        read(tmp_path)
    with pytest.raises(UsageError, match="no such format"):
        read(tmp_path, "word")
    assert "No such file" in read(tmp_path / "gone")[1][0]


def test_other_unicode_is_read(tmp_path):
    text = json.dumps(samples.openai(), ensure_ascii=False)
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        assert len(of_text(tmp_path, text.encode(encoding))[0]) == 1, encoding


def test_secrets_are_gone_everywhere(tmp_path):
    key = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t"
    record = json.loads(
        json.dumps(samples.openai(model=key)).replace("a.txt", key).replace(samples.RESULT, f"key {key}").replace(samples.THANKS, key)
    )
    (found,), _ = of_text(tmp_path, json.dumps(record))
    assert key not in encode(found).decode() and found.goal == "What is in [redacted: API key]?"
    (kept,) = Import(secrets=True).read(tmp_path / "file")
    assert key in encode(kept).decode()


def test_a_trajectory_of_edgexp_keeps_its_id(tmp_path, files):
    (first,), _ = read(files["openai"])
    path = tmp_path / "own"
    path.write_bytes(encode(first))
    (again,), _ = read(path)
    assert again == first
    assert "not a trajectory" in of_text(tmp_path, encode(first).replace(b'"score":0.0', b'"score":"x"'))[1][0]


def test_long_texts_lose_their_middle_and_say_so(tmp_path):
    reading = Import(check=check_sound)
    (tmp_path / "file").write_text(json.dumps(samples.openai()).replace(samples.RESULT, "x" * 3_000_000))
    (found,) = reading.read(tmp_path / "file")
    assert (
        len(found.steps[0].observation) < 300_000
        and "characters left out …]" in found.steps[0].observation
        and reading.tally.shortened == 2
    )


def test_several_calls_of_a_turn_and_their_results_are_one_step(tmp_path):
    calls = [{"id": f"c{n}", "function": {"name": f"f{n}", "arguments": f'{{"x": {n}}}'}} for n in range(2)]
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "content": "one"},
        {"role": "tool", "content": "two"},
    ]
    (found,), _ = of_text(tmp_path, json.dumps({"messages": messages}))
    assert [(step.action, step.observation) for step in found.steps] == [("f0(x=0); f1(x=1)", "one\n\ntwo")]


@pytest.mark.parametrize("arguments", ["{", "", "null", "[1]", '"x"', None, [1], 5, {"a": float("inf")}, '{"a": "\\ud800"}', "x" * 10_000])
def test_odd_arguments_of_calls_are_stored_all_the_same(tmp_path, arguments):
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]},
    ]
    found, problems = of_text(tmp_path, json.dumps({"messages": messages}))
    assert (len(found) == 1 and found[0].steps[0].action.startswith("f(")) or "not JSON" in problems[0]


def test_results_of_parallel_calls_are_found_beside_the_path(tmp_path):
    """Claude Code hangs each result on the line with its call, so that all but the last are on no path."""
    lines = samples.claude_code()
    second = json.loads(json.dumps(lines[5]).replace('"a2"', '"a2b"').replace('"a1"', '"a2"').replace("c1", "c2").replace("a.txt", "b.txt"))
    result = json.loads(json.dumps(lines[7]).replace('"u2"', '"u3"').replace('"a2"', '"a2b"').replace("c1", "c2").replace("hello", "bye"))
    lines = [*lines[:6], second, *lines[6:8], result, {**lines[8], "parentUuid": "u3"}, *lines[9:]]
    (found,), _ = read(samples.lines(tmp_path / "file", lines))
    assert found.steps[0].action == 'I look.\nread(path="a.txt"); read(path="b.txt")' and found.steps[0].observation == "hello\n\nbye"


def test_a_file_of_a_sub_agent_is_no_session(tmp_path):
    found, problems = read(samples.lines(tmp_path / "file", [{**line, "isSidechain": True} for line in samples.claude_code()]))
    assert (found, problems) == ([], [])


def test_circles_among_parents_end(tmp_path, files):
    lines = samples.claude_code()
    lines[2]["parentUuid"] = "u5"
    assert len(read(samples.lines(tmp_path / "file", lines))[0]) == 1
    shutil.copy(files["llm"], tmp_path / "db")
    with sqlite3.connect(tmp_path / "db") as database:
        database.execute("UPDATE messages SET parent_hash = 'h5' WHERE hash = 'h1'")
    assert len(read(tmp_path / "db")[0]) == 1


def test_a_database_that_never_ends_does_end(tmp_path):
    with sqlite3.connect(tmp_path / "db") as database:
        database.execute("CREATE TABLE sessions (id TEXT, source TEXT)")
        database.execute(
            "CREATE VIEW messages AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
            "SELECT x AS session_id, x AS role, x AS content, x AS active FROM n"
        )
    assert "none of an agent" in read(tmp_path / "db")[1][0]
    with sqlite3.connect(tmp_path / "db") as database:
        database.execute("DROP VIEW messages")
        database.execute("CREATE TABLE messages (session_id, role, content, x GENERATED ALWAYS AS (length(zeroblob(role))) VIRTUAL)")
        database.execute("INSERT INTO sessions VALUES ('s', 's')")
        database.executemany(
            "INSERT INTO messages VALUES ('s', ?, ?)", [(None, b"\xff\xfe"), (5, 7), ("user", None), ("user", b"\xff"), ("x" * 100, 1.5)]
        )
    found, problems = read(tmp_path / "db")
    assert found == [] and len(problems) == 1


def test_a_query_that_works_too_long_ends(files, monkeypatch):
    monkeypatch.setattr(agent_databases, "_STEP", 1)
    monkeypatch.setattr(agent_databases, "_MOST_WORK", 30)
    found, problems = read(files["goose database"])
    assert found == [] and len(problems) == 1 and "interrupted" in problems[0]


def test_a_file_is_never_changed(files):
    before = {path: (path.read_bytes(), sorted(path.parent.iterdir())) for path in files.values()}
    read(files["openai"].parent)
    assert before == {path: (path.read_bytes(), sorted(path.parent.iterdir())) for path in files.values()}


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=10),
        st.sampled_from(["user", "assistant", "tool", "text", "tool_use", "tool_result", "human", "gpt", "s1", "u1"]),
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "type",
                    "text",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "id",
                    "from",
                    "value",
                    "message",
                    "uuid",
                    "parentUuid",
                    "input",
                    "toolCall",
                    "toolResult",
                    "status",
                    "scores",
                    "reward",
                    "history",
                    "messages",
                    "chat",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
RECORDS = [
    samples.openai(),
    samples.sharegpt(),
    samples.hermes_line(),
    samples.eto(),
    samples.open_webui(1),
    samples.inspect_sample(),
    samples.inspect_log(),
    samples.openai(reward=1),
    *samples.claude_code()[2:6],
    *samples.goose_lines(),
]


@settings(max_examples=100 * ROUNDS, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_value_anywhere_in_a_record_ends_in_a_trajectory_or_a_line(tmp_path, data):
    records = data.draw(st.lists(st.sampled_from(RECORDS), min_size=1, max_size=3))
    records = [replaced(json.loads(json.dumps(record)), data) for record in records]
    found, problems = read(samples.lines(tmp_path / "file", records), data.draw(st.sampled_from([*FORMATS])))
    assert all(t.outcome_known or not t.success for t in found) and all(problems)


def replaced(value: Any, data: st.DataObject) -> Any:
    """The value with another one somewhere in it."""
    inside = list(range(len(value)) if isinstance(value, list) else value) if isinstance(value, list | dict) else []
    if not inside or data.draw(st.integers(0, 4)) == 0:
        return data.draw(JSON)
    key = data.draw(st.sampled_from(inside))
    value[key] = replaced(value[key], data)
    return value


@settings(max_examples=100 * ROUNDS, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_damage_to_a_file_ends_in_trajectories_and_lines(tmp_path, files, data):
    whole = bytearray(files[data.draw(st.sampled_from(NAMES))].read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole)))
        new = data.draw(
            st.one_of(
                st.binary(max_size=6), st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"\\", b"\n", b"\0", b"null,", b"\xed\xa0\x80"])
            )
        )
        whole[at : at + data.draw(st.sampled_from([0, 1, len(new), 100]))] = new
    of_text(tmp_path, bytes(whole[: data.draw(st.sampled_from([len(whole), len(whole) // 2]))]))


@settings(max_examples=100 * ROUNDS, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    values=st.lists(JSON | st.text('"\\a', min_size=4), max_size=6),
    chunk=st.integers(1, 9),
    indent=st.sampled_from([None, 1]),
    ascii=st.booleans(),
)
def test_a_list_is_cut_where_its_entries_end(tmp_path, values, chunk, indent, ascii):
    path = tmp_path / "list"
    text = json.dumps(values, indent=indent, ensure_ascii=ascii)
    path.write_bytes(b" \n" + text.encode("utf-8", "replace"))
    problems: list[str] = []
    before, json_pieces._CHUNK = json_pieces._CHUNK, chunk
    try:
        with path.open("rb") as file:
            found = [value for _, value in json_pieces.read_values(file, problems.append)]
    finally:
        json_pieces._CHUNK = before
    assert found == json.loads(text.encode("utf-8", "replace")) and problems == []


def test_a_value_that_is_too_long_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(json_pieces, "LONGEST", 5_000)
    good, long = json.dumps(samples.openai()), json.dumps({"messages": "x" * 10_000})
    found, problems = of_text(tmp_path, f"{good}\n{long}\n{good}\n")
    assert len(found) == 2 and len(problems) == 1 and "longer than 5,000 bytes" in problems[0]
    found, problems = of_text(tmp_path, f"[{good},{long},{good}]")
    assert len(found) == 2 and len(problems) == 1 and "longer than 5,000 bytes" in problems[0]
