"""The fingerprint of the code: every source it names is there, counts, and counts the same with other line ends."""

import shutil
from pathlib import Path

import pytest

import edgexp
from edgexp.evaluation.playing import ROOMS, code, sources

FOLDER = Path(edgexp.__file__).parent
SOURCES = {name: path.relative_to(FOLDER) for name, path in sources(FOLDER).items()}


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sources in a folder of their own, which is then taken for edgexp's."""
    for name in SOURCES.values():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(FOLDER / name, tmp_path / name)
    monkeypatch.setattr(edgexp, "__file__", str(tmp_path / "__init__.py"))
    return tmp_path


def test_it_names_the_version_and_twelve_digits() -> None:
    version, _, digest = code().partition("+")
    assert version == edgexp.__version__ and len(digest) == 12 and int(digest, 16) >= 0


@pytest.mark.parametrize("name", SOURCES.values(), ids=str)
def test_every_source_counts(copied: Path, name: Path) -> None:
    before = code.__wrapped__()
    with (copied / name).open("ab") as file:
        file.write(b"\n# changed\n")
    assert code.__wrapped__() != before


def test_what_playing_imports_is_found() -> None:
    """One source of each room that decides, those that are only imported inside functions too; nothing of what decides nothing."""
    assert {name.split(".")[1] for name in SOURCES} == set(ROOMS)
    decisive = ("play.session", "play.local", "play.fleet", "prompt.messages", "engine.decide")
    assert {f"edgexp.{name}" for name in decisive} <= SOURCES.keys()
    assert not any(name.startswith(("edgexp.environments", "edgexp.models", "edgexp.cli", "edgexp.training")) for name in SOURCES)


def test_a_new_import_counts(copied: Path) -> None:
    before = code.__wrapped__()
    (copied / "play" / "luck.py").write_text("LUCK = 7\n")
    with (copied / "play" / "local.py").open("a") as file:
        file.write("\n\ndef luck():\n    from edgexp.play.luck import LUCK\n    return LUCK\n")
    changed = code.__wrapped__()
    (copied / "play" / "luck.py").write_text("LUCK = 8\n")
    assert len({before, changed, code.__wrapped__()}) == 3


def test_line_ends_do_not_count(copied: Path) -> None:
    before = code.__wrapped__()
    for name in SOURCES.values():
        text = (copied / name).read_bytes()
        (copied / name).write_bytes(text.replace(b"\n", b"\r\n"))
    assert code.__wrapped__() == before == code()
