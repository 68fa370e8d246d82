"""Who loads the model, and what is said where that is not who was asked for."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs its extra: uv sync --extra train")

import tiny

from edgexp.errors import EdgexpError
from edgexp.training import backend, recipe

pytestmark = pytest.mark.slow


def test_who_would_train_something_else_than_is_served_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, apart, said = tiny.checkpoint(tmp_path), 'memory.layout="apart"', list[str]()
    asked = recipe.parse(recipe.show(tiny.settings()), "test", [apart])
    assert backend.load(weights, asked, said.append, tiny.with_blocks(3)).backend == "peft"
    monkeypatch.setattr(backend.quick, "suits", lambda _: False)
    assert backend.load(weights, asked, said.append, tiny.with_blocks(3)).backend == "peft"
    monkeypatch.setattr(backend.Learner, "_standing", lambda *_: {})
    with pytest.raises(EdgexpError, match=r'^peft does not read memory that stands apart .*; set memory\.layout = "chained"$'):
        backend.load(weights, asked, said.append, tiny.with_blocks(3))
    monkeypatch.setattr(backend, "has_unsloth", lambda: True)
    monkeypatch.setattr(backend, "_by_unsloth", backend._by_peft)
    by_name = recipe.parse(recipe.show(asked), "test", ["base.backend=unsloth"])
    with pytest.raises(EdgexpError, match=r'^unsloth does not read memory that stands apart .*; set base\.backend = "peft"$'):
        backend.load(weights, by_name, said.append, tiny.with_blocks(3))
    assert backend.load(weights, by_name, said.append, tiny.samples(2)).backend == "unsloth"


def test_on_an_accelerator_unsloth_is_left_out_where_memory_stands_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    chained, apart = (recipe.parse("", "test", [f'memory.layout="{layout}"']) for layout in ("chained", "apart"))
    assert backend.by_unsloth(chained) and backend.by_unsloth(apart)
    monkeypatch.setattr(backend, "device", lambda: torch.device("cuda"))
    assert backend.by_unsloth(chained) and not backend.by_unsloth(apart)
    assert backend.by_unsloth(recipe.parse("", "test", ["base.backend=unsloth", 'memory.layout="apart"']))
    assert not backend.by_unsloth(recipe.parse("", "test", ["base.backend=peft"]))


def test_without_unsloth_peft_takes_its_place_only_where_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, said = tiny.checkpoint(tmp_path), list[str]()
    monkeypatch.setattr(backend, "has_unsloth", lambda: False)
    with pytest.raises(EdgexpError, match=r'base\.backend is "unsloth", which cannot be imported here.*uv sync --extra train'):
        backend.load(weights, tiny.settings(base__backend="unsloth"), said.append)
    assert said == []
    assert backend.load(weights, tiny.settings(base__backend="auto"), said.append).backend == "peft"
    assert len(said) == 1 and "Unsloth cannot be imported" in said[0]
    assert backend.load(weights, tiny.settings(), said.append).backend == "peft" and len(said) == 1
