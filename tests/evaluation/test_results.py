"""A results folder: what is written is read, torn lines are cut, and what cannot be trusted is named."""

from pathlib import Path

import msgspec
import pytest
from result_samples import SETUP, a_header, a_row
from toys import make_trajectory

from edgexp.errors import EdgexpError
from edgexp.evaluation.results import EPISODES, MEMORIES, SUITE, Writer, forget, read, read_header, read_rows


def write(folder: Path, count: int = 3) -> None:
    with Writer(folder, a_header()) as writer:
        for number in range(count):
            writer.add(a_row(number=number), [make_trajectory()])


def test_what_is_written_is_read(tmp_path):
    write(tmp_path / "r")
    results = read(tmp_path / "r")
    assert results.rows == [a_row(number=n) for n in range(3)]
    assert results.header == a_header() and results.header.conditions == ["plain"]
    assert results.memories == {make_trajectory().id: make_trajectory()}
    assert len((tmp_path / "r" / MEMORIES).read_bytes().splitlines()) == 1, "a memory is stored once"


def test_memories_are_known_again_after_reopening(tmp_path):
    write(tmp_path, 1)
    with Writer(tmp_path, a_header()) as writer:
        writer.add(a_row(number=7), [make_trajectory(), make_trajectory(goal="other.")])
    assert [t.goal for t in read(tmp_path).memories.values()] == ["win.", "other."]


@pytest.mark.parametrize("name", [EPISODES, MEMORIES])
def test_every_torn_end_is_cut_and_said(tmp_path, name):
    write(tmp_path, 2)
    whole = (tmp_path / name).read_bytes()
    last = whole[:-1].rfind(b"\n") + 1
    for length in (last + 1, (last + len(whole)) // 2, len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:length])
        assert len(read(tmp_path).rows if name == EPISODES else read(tmp_path).memories) == (1 if name == EPISODES else 0)
        said = []
        Writer(tmp_path, a_header(), said.append).close()
        assert (tmp_path / name).read_bytes() == whole[:last]
        assert len(said) == 1 and f"{length - last} bytes" in said[0]


def test_a_new_setup_is_on_disk_before_its_rows(tmp_path):
    other = msgspec.structs.replace(SETUP, condition="other", k=2)
    with Writer(tmp_path, a_header()) as writer:
        with pytest.raises(ValueError, match="not known"):
            writer.add(a_row(setup=other.key))
        key = writer.know(other)
        assert set(read_rows_header(tmp_path)) == {SETUP.key, key}


def read_rows_header(folder: Path) -> dict:
    return msgspec.json.decode((folder / SUITE).read_bytes())["setups"]


def test_a_setup_key_changes_with_every_field():
    keys = {SETUP.key}
    for field in msgspec.structs.fields(SETUP):
        value = getattr(SETUP, field.name)
        changed = 0.5 if value is None else value + ("x" if isinstance(value, str) else 1)
        keys.add(msgspec.structs.replace(SETUP, **{field.name: changed}).key)
    assert len(keys) == len(msgspec.structs.fields(SETUP)) + 1


def test_conditions_can_be_forgotten(tmp_path):
    write(tmp_path)
    with Writer(tmp_path, a_header()) as writer:
        writer.add(a_row("other", setup=writer.know(msgspec.structs.replace(SETUP, condition="other"))))
    assert forget(tmp_path, read_header(tmp_path), ["plain"]) == 3
    assert [row.condition for row in read(tmp_path).rows] == ["other"]


@pytest.mark.parametrize("field", ["condition", "environment"])
def test_a_row_with_anothers_setup_is_named(tmp_path, field):
    write(tmp_path)
    with (tmp_path / "episodes.jsonl").open("ab") as file:
        file.write(msgspec.json.encode(a_row(number=99, **{field: "other"})) + b"\n")
    with pytest.raises(EdgexpError, match=r"line 4: an episode of .*other.* with a setup of 'plain' in counting; delete the line"):
        read(tmp_path)


def test_what_is_no_results_folder_is_named(tmp_path):
    with pytest.raises(EdgexpError, match="no such folder"):
        read(tmp_path / "none")
    with pytest.raises(EdgexpError, match=r"no suite\.json"):
        read(tmp_path)
    Writer(tmp_path, a_header()).close()
    with pytest.raises(EdgexpError, match="no episode has been played"):
        read(tmp_path)
    Writer(tmp_path, a_header(format=99)).close()
    with pytest.raises(EdgexpError, match="format 99"):
        read(tmp_path)
    (tmp_path / SUITE).write_text("{}")
    with pytest.raises(EdgexpError, match="not a header"):
        read(tmp_path)


@pytest.mark.parametrize(("line", "said"), [
    (b"{}", "line 2: not an episode"),
    (b"\xff\xfe", "line 2: not an episode"),
    (msgspec.json.encode(a_row(number=9, setup="s0")), "line 2: its setup s0 is not in"),
    (msgspec.json.encode(a_row(number=0)), "line 2: a second episode of counting/dev/0 in plain"),
])
def test_damage_in_the_middle_is_an_error_with_its_line(tmp_path, line, said):
    write(tmp_path)
    lines = (tmp_path / EPISODES).read_bytes().splitlines()
    (tmp_path / EPISODES).write_bytes(b"\n".join([lines[0], line, *lines[1:]]) + b"\n")
    with pytest.raises(EdgexpError, match=said):
        read_rows(tmp_path, a_header())
