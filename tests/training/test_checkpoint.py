"""Checkpoints on disk: all comes back as it was, damage is found and passed over, and a failed write leaves what was there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs its extra: uv sync --extra train")

from edgexp.errors import EdgexpError  # noqa: E402
from edgexp.training import checkpoint  # noqa: E402
from edgexp.training.checkpoint import ADAPTER, OPTIMIZER, RECORD  # noqa: E402
from edgexp.training.events import Scores  # noqa: E402

FILES = (ADAPTER, OPTIMIZER, "adapter_config.json")


class Learning:
    """Two small factors, and an optimiser that remembers the steps it took on them."""

    def __init__(self, seed: int, steps: int = 0):
        chance = torch.Generator().manual_seed(seed)
        self.parameters = [torch.randn(3, 4, generator=chance, requires_grad=True), torch.randn(5, generator=chance, requires_grad=True)]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-2)
        for number in range(steps):
            self.step(number)

    def step(self, number: int) -> None:
        chance = torch.Generator().manual_seed(100 + number)
        for parameter in self.parameters:
            parameter.grad = torch.randn(parameter.shape, generator=chance)
        self.optimizer.step()

    def adapter(self) -> dict[str, Any]:
        return {f"layer.{number}.lora": parameter.detach().clone() for number, parameter in enumerate(self.parameters)}

    def save(self, parent: Path, step: int, scores: dict[str, Scores] | None = None) -> checkpoint.Checkpoint:
        return checkpoint.save(parent, step, self.adapter(), b"{}", self.optimizer, scores or {})

    def load(self, found: checkpoint.Checkpoint) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, checkpoint.restore(found, self.optimizer).values(), strict=True):
                parameter.copy_(value)


@pytest.mark.parametrize("before", [1, 4])
def test_going_on_from_a_checkpoint_takes_the_very_same_steps(tmp_path: Path, before: int) -> None:
    unbroken, broken, again = Learning(1, before + 3), Learning(1, before), Learning(2)
    again.load(broken.save(tmp_path, before))
    for number in range(before, before + 3):
        again.step(number)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters, unbroken.parameters, strict=True))


def test_a_checkpoint_before_the_first_step_has_nothing_to_remember(tmp_path: Path) -> None:
    made, other = Learning(1), Learning(2)
    other.load(made.save(tmp_path, 0))
    assert all(torch.equal(a, b) for a, b in zip(made.parameters, other.parameters, strict=True))


def test_what_is_saved_reads_back(tmp_path: Path) -> None:
    scores = {"matched": Scores(0.5, 0.9, 0.8), "none": Scores(1.5, 0.4, 0.1)}
    made = Learning(1, 2).save(tmp_path, 2, scores)
    assert checkpoint.read(tmp_path / "step-000002") == made and made.record.scores == scores
    assert sorted(path.name for path in made.folder.iterdir()) == sorted([*FILES, RECORD])
    assert checkpoint.scores(tmp_path) == {2: scores} and set(made.record.files) == set(FILES)


def test_the_same_state_is_the_same_bytes(tmp_path: Path) -> None:
    one, other = (Learning(1, 3).save(tmp_path / name, 3) for name in "ab")
    assert one.record == other.record


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def turn(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, turn, Path.unlink])
@pytest.mark.parametrize("file", FILES)
def test_every_damaged_file_is_named(tmp_path: Path, file: str, damage: Callable[[Path], None]) -> None:
    made = Learning(1, 2).save(tmp_path, 2)
    damage(made.folder / file)
    with pytest.raises(EdgexpError, match=rf"{file} is damaged|is no checkpoint: .*{file}"):
        checkpoint.read(made.folder)


@pytest.mark.parametrize("damage", [cut, Path.unlink, lambda path: path.write_text('{"step": "two"}')])
def test_a_damaged_record_makes_it_no_checkpoint(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    made = Learning(1, 2).save(tmp_path, 2, {"none": Scores(1, 0, 0)})
    damage(made.folder / RECORD)
    with pytest.raises(EdgexpError, match=r"step-000002 is no checkpoint"):
        checkpoint.read(made.folder)
    assert checkpoint.scores(tmp_path) == {}


def test_a_newer_format_is_refused_by_its_number(tmp_path: Path) -> None:
    made = Learning(1).save(tmp_path, 1)
    (made.folder / RECORD).write_bytes(msgspec.json.encode(msgspec.structs.replace(made.record, format=9)))
    with pytest.raises(EdgexpError, match="has format 9, this edgexp reads 1"):
        checkpoint.read(made.folder)


def test_the_last_sound_one_is_found_and_what_is_after_it_is_removed_and_named(tmp_path: Path) -> None:
    learning = Learning(1, 1)
    for step in (2, 4, 6, 8):
        learning.save(tmp_path, step)
    turn(tmp_path / "step-000006" / ADAPTER)
    (tmp_path / "step-000008" / RECORD).unlink()
    found, wrong = checkpoint.latest(tmp_path)
    assert found and found.record.step == 4 and checkpoint.steps(tmp_path) == [2, 4]
    assert len(wrong) == 2 and "step-000008 is no checkpoint" in wrong[0] and f"{ADAPTER} is damaged" in wrong[1]
    assert checkpoint.latest(tmp_path)[1] == []


def test_where_none_is_sound_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "nowhere") == (None, [])
    (tmp_path / "step-000003").mkdir()
    found, wrong = checkpoint.latest(tmp_path)
    assert found is None and len(wrong) == 1 and checkpoint.steps(tmp_path) == []


@pytest.mark.parametrize("fails_at", range(4))
def test_a_write_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    """Whichever of its four files does not fit on the disk; also where the step had a checkpoint already."""
    learning, write, count = Learning(1, 2), checkpoint.write_atomic, 0
    before = learning.save(tmp_path, 2)
    learning.step(2)

    def full(path: Path, data: bytes) -> None:
        nonlocal count
        count += 1
        if count > fails_at:
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(checkpoint, "write_atomic", full)
    for step in (2, 3):
        count = 0
        with pytest.raises(EdgexpError, match=rf"checkpoint of step {step} cannot be written .*No space left.*make room"):
            learning.save(tmp_path, step)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000002"] and checkpoint.read(before.folder) == before


def test_a_step_that_is_saved_again_replaces_the_first(tmp_path: Path) -> None:
    first, second = Learning(1, 1).save(tmp_path, 5), Learning(2, 1).save(tmp_path, 5)
    assert first.record != second.record and checkpoint.read(first.folder) == second
    assert checkpoint.steps(tmp_path) == [5]


def test_only_folders_of_steps_are_checkpoints(tmp_path: Path) -> None:
    for name in ("step-000010", "step-1000000", "step-12", "step-000010x", ".step-000011-ab", "other"):
        (tmp_path / name).mkdir()
    assert checkpoint.steps(tmp_path) == [10, 1_000_000]
    assert [checkpoint.name(step) for step in (10, 1_000_000)] == ["step-000010", "step-1000000"]


@given(steps=st.sets(st.integers(0, 2_000_000), max_size=8), keep=st.integers(0, 5), chosen=st.sets(st.integers(0, 2_000_000), max_size=2),
       pick=st.integers(0, 7))
def test_thinning_out_keeps_the_last_and_the_chosen(tmp_path_factory: pytest.TempPathFactory, steps: set[int], keep: int,
                                                    chosen: set[int], pick: int) -> None:
    parent, order = tmp_path_factory.mktemp("run"), sorted(steps)
    wanted = chosen | set(order[pick : pick + 1])
    for step in steps:
        (parent / checkpoint.name(step)).mkdir()
    checkpoint.prune(parent, keep, wanted)
    kept = order[-keep:] if keep else order
    assert checkpoint.steps(parent) == [step for step in order if step in kept or step in wanted]
