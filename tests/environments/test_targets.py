"""Somebody's own code by name or path: where it is looked for, and what is said where it cannot be had."""

import sys
from pathlib import Path

import pytest

from edgexp.environments import registry
from edgexp.environments.registry import family_of_task, make
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task

MODULE = "from toys import Counting\nimport plugin_neighbour\nclass Own(Counting):\n    class Inner(Counting): name = 'inner'\n"
NO_LIBRARY = "No module named 'a_library_that_is_not_there'"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with modules of somebody's own that Python does not find by itself."""
    own = tmp_path / "öwn place"
    own.mkdir()
    for name, source in {
        "own_games": MODULE, "plugin_neighbour": "", "needs": "x = 1\nimport a_library_that_is_not_there\n",
        "leaves": "import sys\nsys.exit(3)\n",
        "missing": "import math\n\nmath.no_such_thing\n", "unwritten": "def f(:\n", "half": "from needs import x\n",
    }.items():  # fmt: skip
        (own / f"{name}.py").write_text(source, encoding="utf-8")
    (own / "garbled.py").write_bytes(b"\xff\xfe\x00")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", ".")])
    monkeypatch.chdir(own)
    before = set(sys.modules)
    yield own
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("target", [
    "own_games:Own", "own_games.py:Own", "./own_games.py:Own", "{}/own_games.py:Own", "../{name}/own_games.py:Own",
])  # fmt: skip
def test_an_environment_of_ones_own_is_found(folder: Path, target: str) -> None:
    target = target.format(folder, name=folder.name)
    first, second = make(target), make(target)
    assert first.name == "counting" and isinstance(first, sys.modules[first._inner.__module__].Own)
    assert first._inner is not second._inner and type(first._inner) is type(second._inner)
    assert make(target + ".Inner").name == "inner"


def test_a_windows_path_is_a_path(folder: Path) -> None:
    with pytest.raises(UsageError) as raised:
        make(r"C:\x\doors.py:Doors")
    assert str(raised.value) == r"environment C:\x\doors.py:Doors: there is no file C:\x\doors.py"


def test_nothing_in_the_current_folder_hides_a_library(folder: Path) -> None:
    (folder / "colorsys.py").write_text("raise RuntimeError('the wrong one')\n")
    sys.modules.pop("colorsys", None)
    assert registry.load("colorsys:rgb_to_hsv", "it", "a:b")(0, 0, 0) == (0, 0, 0)


@pytest.mark.parametrize(("target", "kind", "words"), [
    (":", UsageError, "environment :: write it as module:attribute, for example doors:Doors or ./doors.py:Doors"),
    ("a:", UsageError, "write it as module:attribute"),
    (":A", UsageError, "write it as module:attribute"),
    ("doors.py", UsageError, "write it as module:attribute"),
    ("a:b c", UsageError, "write it as module:attribute"),
    ("a b:C", UsageError, "'a b' is no name of a module"),
    (".a:C", UsageError, "'.a' is no name of a module"),
    ("a..b:C", UsageError, "'a..b' is no name of a module"),
    ("nowhere_a.b:c.d", UsageError, "No module named 'nowhere_a'; is the module installed, or in the current folder?"),
    ("own_games.inside:Own", UsageError, "No module named 'own_games.inside'; 'own_games' is not a package; is the module installed"),
    ("no_such_module:Own", UsageError, "No module named 'no_such_module'; is the module installed, or in the current folder?"),
    ("./no_such.py:Own", UsageError, "there is no file no_such.py"),
    ("./:Own", UsageError, "there is no file ."),
    ("own_games:Onw", UsageError, "module own_games has no 'Onw'; its classes are Own"),
    ("needs:Own", UsageError, f"it cannot be imported: ModuleNotFoundError: {NO_LIBRARY} (needs.py, line 2)"),
    ("needs.py:Own", UsageError, f"it cannot be imported: ModuleNotFoundError: {NO_LIBRARY} (needs.py, line 2)"),
    ("half:Own", UsageError, f"{NO_LIBRARY} (needs.py, line 2)"),
    ("missing:Own", EdgexpError, "AttributeError: module 'math' has no attribute 'no_such_thing' (missing.py, line 3)"),
    ("missing.py:Own", EdgexpError, "(missing.py, line 3)"),
    ("leaves:Own", EdgexpError, "it cannot be imported: SystemExit: 3 (leaves.py, line 2)"),
    ("leaves.py:Own", EdgexpError, "it cannot be imported: SystemExit: 3 (leaves.py, line 2)"),
    ("unwritten.py:Own", EdgexpError, "it cannot be imported: SyntaxError: invalid syntax (unwritten.py, line 1)"),
    ("garbled.py:Own", EdgexpError, "it cannot be imported: "),
])  # fmt: skip
def test_what_cannot_be_had_is_one_line(folder: Path, target: str, kind: type[EdgexpError], words: str) -> None:
    for _ in range(2):  # nothing half imported stays behind
        with pytest.raises(EdgexpError) as raised:
            make(target)
        assert type(raised.value) is kind and words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["own_games:Own", "own_games.py:Own", "leaves:Own"])
def test_a_name_in_a_bank_loads_nothing(folder: Path, name: str) -> None:
    """A task may come from a file that somebody else wrote."""
    assert family_of_task(Task("own/train/a/1", name, "train", "count")) == "own/train/a"
    assert not {"own_games", "leaves"} & set(sys.modules)
