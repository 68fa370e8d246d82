"""Choosing by episodes: a checkpoint is merged, plays the dev tasks of what the recipe trains on, and leaves nothing behind."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors.numpy

from edgexp.environments.household.household import SceneEnvironment
from edgexp.errors import EdgexpError
from edgexp.evaluation import selection
from edgexp.evaluation.selection import DevEpisodes
from edgexp.play.session import Settings
from edgexp.training import recipe
from edgexp.training.train import find_base


@pytest.fixture
def checkpoint(tmp_path: Path, policy_path: Path) -> Path:
    """An adapter that changes nothing: its B is zero."""
    folder = tmp_path / "checkpoints" / "step-000002"
    folder.mkdir(parents=True)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {f"{name}.lora_A.weight": np.ones((1, 576), np.float32), f"{name}.lora_B.weight": np.zeros((576, 1), np.float32)}
    safetensors.numpy.save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 1}))
    return folder


def test_a_checkpoint_plays_its_dev_episodes(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SceneEnvironment, "max_steps", 2)  # nobody wins in two actions; what matters is that they are played
    asked = recipe.parse("", "test", ["memory.k=0", 'check.select="rollouts"', "check.episodes=2"])
    seen: list[tuple[str, int, int, int]] = []
    assert DevEpisodes(asked, find_base(asked), advance=lambda *told: seen.append(told))(checkpoint) == 0
    assert seen == [("step-000002", 1, 0, 2), ("step-000002", 2, 0, 2)]
    assert [path.name for path in checkpoint.parent.iterdir()] == ["step-000002"]


def test_episodes_are_shared_among_what_is_trained_on(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[tuple[str, str, int]] = []

    def play(self: DevEpisodes, data: recipe.Data, model: Path, count: int) -> list[bool]:
        assert model.is_file()
        played.append((data.environment, data.bank, count))
        return [True] * (count - 1) + [False]

    monkeypatch.setattr(selection.DevEpisodes, "_play", play)
    worlds = recipe.Data(environment="worlds", groups=())
    data = (recipe.Data(bank="first"), recipe.Data(bank="second"), worlds, recipe.Data(environment="alfworld", use="held_out"))
    asked = recipe.parse("", "test", ["check.episodes=5"])
    assert DevEpisodes(msgspec.structs.replace(asked, data=data), find_base(asked))(checkpoint) == 3 / 5
    assert played == [("worlds", "", 2), ("household", "first", 3)]


def test_the_gpu_is_used_where_it_is_asked_for(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Settings] = []

    def opened(settings: Settings, say: object) -> None:
        asked.append(settings)
        raise EdgexpError("enough")

    monkeypatch.setattr(selection, "open_session", opened)
    plain = recipe.parse("", "test", ["memory.k=0"])
    for layers in (0, 99):
        with pytest.raises(EdgexpError, match="enough"):
            DevEpisodes(plain, find_base(plain), gpu_layers=layers)(checkpoint)
    assert [settings.gpu_layers for settings in asked] == [0, 99]


def test_a_split_without_tasks_is_an_error(checkpoint: Path) -> None:
    asked = recipe.parse("", "test", ["memory.k=0", 'check.split="summer"', "check.episodes=2"])
    with pytest.raises(EdgexpError, match="summer"):
        DevEpisodes(asked, find_base(asked))(checkpoint)
