"""Where edgexp's own files lie."""

from pathlib import Path

import platformdirs
import pytest

from edgexp.home import home


def test_a_variable_names_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for named, meant in ((str(tmp_path / "x"), tmp_path / "x"), ("~/y", tmp_path / "y"), ("z", tmp_path / "z")):
        monkeypatch.setenv("EDGEXP_HOME", named)
        assert home() == meant


def test_without_it_the_platform_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEXP_HOME")
    assert home() == Path(platformdirs.user_data_dir("edgexp", appauthor=False)) and home().is_absolute()
