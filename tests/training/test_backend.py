"""Who loads the model, and what is said where that is not who was asked for."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs its extra: uv sync --extra train")

import tiny

from edgexp.errors import EdgexpError
from edgexp.training import backend

pytestmark = pytest.mark.slow


def test_without_unsloth_peft_takes_its_place_only_where_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, said = tiny.checkpoint(tmp_path), list[str]()
    monkeypatch.setattr(backend, "has_unsloth", lambda: False)
    with pytest.raises(EdgexpError, match=r'base\.backend is "unsloth", which cannot be imported here.*uv sync --extra train'):
        backend.load(weights, tiny.settings(base__backend="unsloth"), said.append)
    assert said == []
    assert backend.load(weights, tiny.settings(base__backend="auto"), said.append).backend == "peft"
    assert len(said) == 1 and "Unsloth cannot be imported" in said[0]
    assert backend.load(weights, tiny.settings(), said.append).backend == "peft" and len(said) == 1
