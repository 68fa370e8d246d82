"""The fingerprint of the code: every source it names is there, counts, and counts the same with other line ends."""

import shutil
from pathlib import Path

import pytest

import edgexp
from edgexp.evaluation.code import DECIDING, code


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sources in a folder of their own, which is then taken for edgexp's."""
    for name in DECIDING:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(Path(edgexp.__file__).parent / name, tmp_path / name)
    monkeypatch.setattr(edgexp, "__file__", str(tmp_path / "__init__.py"))
    return tmp_path


def test_it_names_the_version_and_twelve_digits() -> None:
    version, _, digest = code().partition("+")
    assert version == edgexp.__version__ and len(digest) == 12 and int(digest, 16) >= 0


@pytest.mark.parametrize("name", DECIDING)
def test_every_source_counts(copied: Path, name: str) -> None:
    before = code.__wrapped__()
    with (copied / name).open("ab") as file:
        file.write(b"\n# changed\n")
    assert code.__wrapped__() != before


def test_line_ends_do_not_count(copied: Path) -> None:
    before = code.__wrapped__()
    for name in DECIDING:
        text = (copied / name).read_bytes()
        (copied / name).write_bytes(text.replace(b"\n", b"\r\n"))
    assert code.__wrapped__() == before == code()
