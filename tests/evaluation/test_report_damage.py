"""Results that are broken or half there: one line that says what and where, or figures of what is there; never anything else."""

import json
import os
import shutil
import sys
from pathlib import Path

import msgspec
import pytest
from figure_samples import a_memory, a_setup, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st
from result_samples import a_header
from toys import make_trajectory

from edgexp.errors import EdgexpError
from edgexp.evaluation import results
from edgexp.evaluation.report.figures import count_figures
from edgexp.evaluation.report.page import Material, build_page
from edgexp.evaluation.report.wording import write_markdown
from edgexp.evaluation.results import EPISODES, MEMORIES, SUITE, Writer

FILES = (SUITE, EPISODES, MEMORIES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete folder of two conditions."""
    folder, setups = tmp_path_factory.mktemp("whole") / "results", (a_setup("plain"), a_memory("k2", 2))
    with Writer(folder, a_header(*setups)) as writer:
        for setup in setups:
            for row in rows_of(setup, "+-"):
                writer.add(row, [make_trajectory(task_id=row.task_id)])
    return folder


def read_all(folder: Path) -> int:
    """How many episodes the report shows; raises what it says of what it cannot show."""
    found = results.read(folder)
    counted = count_figures(found)
    assert build_page(Material([found]), draw=False) and write_markdown([counted], "")
    return counted.episodes


def copied(whole: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(whole, folder))


def one_line(error: EdgexpError, folder: Path) -> bool:
    return "\n" not in str(error) and str(folder) in str(error)


@settings(max_examples=40)
@given(name=st.sampled_from(FILES), share=st.floats(0, 1))
def test_a_file_cut_anywhere_is_shown_as_far_as_it_goes_or_said(whole: Path, tmp_path_factory, name: str, share: float) -> None:
    folder = copied(whole, tmp_path_factory.getbasetemp() / "cut")
    data = (whole / name).read_bytes()
    (folder / name).write_bytes(data[: int(share * len(data))])
    try:
        shown = read_all(folder)
    except EdgexpError as error:
        assert one_line(error, folder)
    else:
        assert shown == (folder / EPISODES).read_bytes().count(b"\n") > 0


@settings(max_examples=60)
@given(name=st.sampled_from((EPISODES, MEMORIES)), place=st.floats(0, 0.999), byte=st.integers(0, 255))
def test_a_byte_that_changed_is_said_or_harmless(whole: Path, tmp_path_factory, name: str, place: float, byte: int) -> None:
    folder = copied(whole, tmp_path_factory.getbasetemp() / "changed")
    data = bytearray((whole / name).read_bytes())
    data[int(place * len(data))] = byte
    (folder / name).write_bytes(data)
    try:
        assert read_all(folder) <= 5
    except EdgexpError as error:
        assert one_line(error, folder)


@pytest.mark.parametrize("name", [SUITE, EPISODES])
def test_a_file_that_is_missing_or_empty_is_said(whole: Path, tmp_path: Path, name: str) -> None:
    for damage in (Path.unlink, lambda path: path.write_bytes(b"")):
        folder = copied(whole, tmp_path / "folder")
        damage(folder / name)
        with pytest.raises(EdgexpError) as caught:
            read_all(folder)
        assert one_line(caught.value, folder)


def test_without_its_memories_a_folder_is_still_shown(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "folder")
    (folder / MEMORIES).unlink()
    assert read_all(folder) == 4


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"condition":"\\ud800"}', "not an episode"),
        (b'{"condition":"\xed\xa0\x80"}', "not an episode"),
        (b"\xff\xfe", "not an episode"),
        (b"[]", "not an episode"),
        (b"", "not an episode"),
    ],
    ids=["a lone surrogate", "its bytes", "no UTF-8", "a list", "an empty line"],
)
def test_a_line_that_is_no_episode_is_named(whole: Path, tmp_path: Path, line: bytes, said: str) -> None:
    folder = copied(whole, tmp_path / "folder")
    with (folder / EPISODES).open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(EdgexpError, match=f"line 5: {said}") as caught:
        read_all(folder)
    assert one_line(caught.value, folder)


@pytest.mark.parametrize("field", ["goal", "observation", "task_type", "end"])
def test_a_lone_surrogate_in_any_text_of_a_row_is_named(whole: Path, tmp_path: Path, field: str) -> None:
    """JSON can spell half of a character; nothing that could be shown or written again."""
    folder = copied(whole, tmp_path / "folder")
    first, *rest = (folder / EPISODES).read_bytes().splitlines(keepends=True)
    row = {**json.loads(first), field: "half \ud83d of it"}
    (folder / EPISODES).write_bytes(json.dumps(row).encode() + b"\n" + b"".join(rest))
    with pytest.raises(EdgexpError, match="line 1: not an episode"):
        read_all(folder)


def test_a_row_of_a_setup_that_nobody_noted_is_named(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "folder")
    header = results.read_header(folder)
    (folder / SUITE).write_bytes(msgspec.json.encode(msgspec.structs.replace(header, setups={})))
    with pytest.raises(EdgexpError, match=r"line 1: its setup s[0-9a-f]{16} is not in suite\.json"):
        read_all(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' folders have names in Unicode")
def test_a_folder_whose_name_is_not_unicode_is_shown(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xff")))
    found = results.read(folder)
    page = build_page(Material([found, found], commands=f"edgexp report {folder.name}"), draw=False)
    assert page.encode() and "r?" in page and write_markdown([count_figures(found)] * 2, "").encode()
