"""A run from beginning to end, with the training process played by a double: stages, going on, choosing, the adapter's record."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from export.kit import write_adapter

from edgexp.bank import Bank
from edgexp.embedding import Encoder
from edgexp.errors import EdgexpError, UsageError
from edgexp.export.adapter import read_training
from edgexp.models import model_files
from edgexp.models.model_files import open_base
from edgexp.training import checkpoint, events, prepared, recipe
from edgexp.training import train as trains
from edgexp.training.events import Scores
from edgexp.training.launch import Run
from edgexp.training.train import Watchers, find_base, select, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bank(encoder: Encoder, policy_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bank of an expert's episodes. (Asking for the policy skips these tests where its weights are not.)"""
    from demos import demonstrations

    path = tmp_path_factory.mktemp("banks") / "bank"
    with Bank.open(path, encoder) as opened:
        opened.add(demonstrations(12))
    return path


def asked(bank: Path, *changes: str) -> recipe.Recipe:
    settings = [f"data.bank={json.dumps(str(bank))}", "check.held_out=2", "memory.k=1", *changes]
    return recipe.parse("", "test", settings)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A training process that writes checkpoints of steps 2, 4, 6 and an adapter; what it was asked to do."""
    asked: list[list[str]] = []

    def follow(run: Run, task: list[str], watch: Callable[[events.Event], None]) -> None:
        asked.append(task)
        if task[0] == "train":
            for step, loss in ((2, 0.5), (4, 0.3), (6, 0.4)):
                folder = run.checkpoints / checkpoint.name(step)
                folder.mkdir(parents=True, exist_ok=True)
                event = events.Evaluated(step, {"matched": Scores(loss, 0.9, 0.8)}, 0.1)
                record = {"step": step, "files": {}, "numbers": {}, "scores": {"matched": {"loss": loss, "tokens": 0.9, "actions": 0.8}}}
                (folder / checkpoint.RECORD).write_text(json.dumps(record))
                events.append(run.metrics, event)
                watch(event)
        else:
            run.adapter.mkdir(exist_ok=True)
            (run.adapter / checkpoint.ADAPTER).write_bytes(b"weights of " + task[1].encode())

    monkeypatch.setattr(trains, "follow", follow)
    return asked


def record(adapter: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((adapter / "manifest.json").read_bytes())
    return found


def test_from_a_bank_to_an_adapter(bank: Path, tmp_path: Path, double: list[list[str]]) -> None:
    seen: list[events.Event] = []
    adapter = train(tmp_path / "run", "mine", asked(bank), Watchers(event=seen.append))
    assert double == [["train"], ["finish", "6"]]
    assert len(seen) == 3
    made = record(adapter)
    assert made["base"]["name"] == "smollm2-135m-instruct" and len(made["base"]["sha256"]) == 64
    assert made["step"] == 6 and made["selected_by"] == "last" and len(made["banks"]) == 1
    assert [point["scores"]["matched"]["loss"] for point in made["curve"]] == [0.5, 0.3, 0.4]
    assert made["files"].keys() == {"adapter_model.safetensors", "recipe.toml", "training.jsonl"}
    assert recipe.parse((adapter / "recipe.toml").read_text(), "kept") == asked(bank)
    data = prepared.read(tmp_path / "run" / "data")
    assert data.held_out == ["valid-matched", "valid-mismatched", "valid-none"] and len(data.reference) == 2
    assert made["dataset"]["sets"] == data.sets


def test_a_finished_run_is_not_trained_again(bank: Path, tmp_path: Path, double: list[list[str]]) -> None:
    said: list[str] = []
    first = train(tmp_path / "run", "mine", asked(bank), Watchers())
    assert train(tmp_path / "run", "mine", asked(bank), Watchers(say=said.append)) == first
    assert len(double) == 2 and "finished" in said[0] and "--fresh" in said[0]
    train(tmp_path / "run", "mine", asked(bank), Watchers(), fresh=True)
    assert len(double) == 4


def test_other_settings_do_not_go_on_with_a_run(bank: Path, tmp_path: Path, double: list[list[str]]) -> None:
    train(tmp_path / "run", "mine", asked(bank), Watchers())
    for change in ("train.lr=1e-3", "train.tokens_at_once=4096", "base.four_bit=true", "memory.mix={matched = 0.5, absent = 0.5}", "seed=1",
                   "check.held_out=3"):
        with pytest.raises(EdgexpError, match=r"holds a training with other settings.*--fresh.*--out"):
            train(tmp_path / "run", "mine", asked(bank, change), Watchers())
    # What is measured and kept on the way changes no step, nor does what is computed twice to save memory.
    train(tmp_path / "run", "mine", asked(bank, "check.keep=9", "train.recompute=true", "description=new"), Watchers())


def test_a_folder_with_something_else_is_left_alone(bank: Path, tmp_path: Path, double: list[list[str]]) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    for fresh in (False, True):
        with pytest.raises(EdgexpError, match="not empty and holds no run"):
            train(tmp_path, "mine", asked(bank), Watchers(), fresh=fresh)
    (tmp_path / "job.json").write_text('{"x": 1}')
    with pytest.raises(EdgexpError, match=r"job\.json cannot be read"):
        train(tmp_path, "mine", asked(bank), Watchers(), fresh=True)
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_how_many_are_too_long_is_said(bank: Path, tmp_path: Path, double: list[list[str]]) -> None:
    said: list[str] = []
    train(tmp_path / "a", "mine", asked(bank, "memory.k=0"), Watchers(say=said.append))
    assert said == []
    data = tmp_path / "a" / "data"
    lengths = sorted(n for name in ("train", "valid-none") for n in prepared.read_set(data, prepared.read(data), name).lengths)
    changes = ("memory.k=0", f"train.sequence={lengths[8]}", "train.over_length=skip")
    train(tmp_path / "b", "mine", asked(bank, *changes), Watchers(say=said.append))
    left = len(prepared.read_set(tmp_path / "b" / "data", prepared.read(tmp_path / "b" / "data"), "train"))
    assert len(said) == 1 and f": {sum(n > lengths[8] for n in lengths)} trajectories; left to train on: {left} samples" in said[0]


def test_a_run_keeps_the_data_it_began_with(bank: Path, tmp_path: Path, double: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: Any) -> None:
        raise EdgexpError("the training process was killed")

    with monkeypatch.context() as patch:
        patch.setattr(trains, "follow", dies)
        with pytest.raises(EdgexpError, match="killed"):
            train(tmp_path / "run", "mine", asked(bank), Watchers())
    before = (tmp_path / "run" / "data" / "train.safetensors").stat().st_mtime_ns
    train(tmp_path / "run", "mine", asked(bank), Watchers())
    assert (tmp_path / "run" / "data" / "train.safetensors").stat().st_mtime_ns == before


def test_checkpoints_are_chosen_by_loss_or_by_what_they_win(bank: Path, tmp_path: Path, double: list[list[str]]) -> None:
    by_loss = train(tmp_path / "a", "mine", asked(bank, "check.select=loss", "check.evaluate_every=2"), Watchers())
    assert record(by_loss)["step"] == 4

    played: list[str] = []

    def rollouts(folder: Path) -> float:
        played.append(folder.name)
        return {"step-000002": 0.25, "step-000004": 0.75, "step-000006": 0.75}[folder.name]

    adapter = train(tmp_path / "b", "mine", asked(bank, "check.select=rollouts"), Watchers(), rollouts=rollouts)
    assert record(adapter)["step"] == 6 and len(played) == 3
    assert [point["won"] for point in record(adapter)["curve"]] == [0.25, 0.75, 0.75]
    (adapter / "manifest.json").unlink()
    train(tmp_path / "b", "mine", asked(bank, "check.select=rollouts"), Watchers(), rollouts=rollouts)
    assert len(played) == 3  # remembered
    for change in ("check.episodes=10", "check.split=test"):
        (adapter / "manifest.json").unlink()
        train(tmp_path / "b", "mine", asked(bank, "check.select=rollouts", change), Watchers(), rollouts=rollouts)
    assert len(played) == 9  # other episodes are not


def test_rollouts_need_somebody_to_play_them(bank: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"check\.select"):
        train(tmp_path / "run", "mine", asked(bank, "check.select=rollouts"), Watchers())
    assert not (tmp_path / "run").exists()


def test_what_is_missing_is_named_before_anything_is_made(bank: Path, tmp_path: Path) -> None:
    for change, said in [
        ("base.model=nope", "no model is called 'nope'"),
        ("base.model=all-minilm-l6-v2", "a policy model is needed"),
        ("base.model=qwen2.5-7b-instruct", "edgexp models pull qwen2.5-7b-instruct"),
        (f"data.bank={tmp_path / 'nobank'}", "nobank"),
        ("data.environment=nowhere", "no environment is called 'nowhere'"),
        ("data.split=dev", "edgexp collect household"),
        ("data.types=['juggle']", "juggle"),
        ("train.sequence=64", "train.sequence"),
    ]:
        with pytest.raises(EdgexpError, match=said):
            train(tmp_path / "run", "mine", asked(bank, change), Watchers(), fresh=True)


def test_a_model_file_that_is_cut_short_is_refused_before_anything_is_made(policy_path: Path, tmp_path: Path) -> None:
    base = open_base("smollm2-135m-instruct").path
    with base.open("rb") as whole:
        (tmp_path / "cut.gguf").write_bytes(whole.read(20_000_000))
    with pytest.raises(EdgexpError, match=r"cut\.gguf is cut short"):
        train(tmp_path / "run", "mine", recipe.parse("", "test", [f"base.model={tmp_path / 'cut.gguf'}"]), Watchers())
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_is_found_from_any_folder(policy_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_base(recipe.parse("", "test", ["base.checkpoint=weights"])).checkpoint == str(tmp_path / "weights")
    assert find_base(recipe.parse("", "test")).checkpoint == ""


# Going on from an adapter

SHIPPED = ("base.adapter=smollm2-135m-exprag", "lora.r=16", "lora.alpha=32",
           'lora.targets=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]')


def test_a_training_that_goes_on_from_an_adapter_keeps_it_and_says_so(bank: Path, tmp_path: Path, double: list[list[str]]) -> None:
    adapter = train(tmp_path / "run", "mine", asked(bank, *SHIPPED), Watchers())
    base = record(adapter)["base"]
    first = Path(base["adapter"]) / checkpoint.ADAPTER
    assert first.is_file() and base["adapter_sha256"] == model_files.sha256(first)
    assert (tmp_path / "run" / "data" / checkpoint.ADAPTER).read_bytes() == first.read_bytes()
    kept = read_training(adapter)
    assert kept is not None and kept.base.adapter == base["adapter"] and kept.base.adapter_sha256 == base["adapter_sha256"]
    assert kept.recipe["base"]["adapter"] == "smollm2-135m-exprag"
    with pytest.raises(EdgexpError, match="holds a training with other settings"):
        train(tmp_path / "run", "mine", asked(bank, *SHIPPED[1:]), Watchers())


def test_a_training_from_the_beginning_says_that_it_is_one(bank: Path, tmp_path: Path, double: list[list[str]]) -> None:
    base = record(train(tmp_path / "run", "mine", asked(bank), Watchers()))["base"]
    assert base["adapter"] == base["adapter_sha256"] == "" and not (tmp_path / "run" / "data" / checkpoint.ADAPTER).exists()


@pytest.mark.parametrize(("changes", "said"), [
    (["lora.r=8"], "has r = 16, alpha = 32 on .*; the recipe's lora has r = 8, alpha = 32 on .*: make them equal"),
    (["lora.alpha=16"], "alpha = 32 on .* alpha = 16 on "),
    (['lora.targets=["q_proj"]'], r"on down_proj, .*\(210 modules\); the recipe's lora has .* on q_proj \(30 modules\)"),
    (["base.adapter=nowhere"], "nowhere is no adapter and no run"),
    (["base.adapter=smollm2-135m-instruct"], "smollm2-135m-instruct is no adapter and no run"),
])
def test_an_adapter_that_does_not_fit_is_refused(bank: Path, changes: list[str], said: str) -> None:
    """In one line, where the base is looked for: nothing is made before that."""
    with pytest.raises(EdgexpError, match=said) as error:
        find_base(asked(bank, *SHIPPED, *changes))
    assert "\n" not in str(error.value)


def test_an_adapter_of_another_model_is_refused(bank: Path, tmp_path: Path) -> None:
    shipped = Path(find_base(asked(bank, *SHIPPED)).adapter)
    folder = shutil.copytree(shipped, tmp_path / "other")
    told = record(folder)
    told["base"] = {"name": "another-model", "sha256": "f" * 64}
    (folder / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(EdgexpError, match=r"other was trained on another-model, not on smollm2-135m-instruct; set base.model to that"):
        find_base(asked(bank, *SHIPPED, f"base.adapter={json.dumps(str(folder))}"))


def test_an_adapter_of_other_shapes_is_refused(policy_path: Path, tmp_path: Path) -> None:
    """Of the recipe's rank, alpha and targets, but of a narrower model."""
    modules = {f"model.layers.{n}.self_attn.{side}_proj": (64, 64) for n in range(30) for side in "qkvo"}
    folder = write_adapter(tmp_path / "narrow", modules, rank=8, lora_alpha=16)
    with pytest.raises(EdgexpError, match=r"does not fit .*gguf: blk\.0\.attn_.*shape"):
        find_base(recipe.parse("", "test", [f"base.adapter={json.dumps(str(folder))}"]))


@pytest.mark.parametrize(("steps", "scores", "chosen"), [
    ([2, 4, 6], {}, 6),
    ([2, 4, 6], {2: 0.1, 4: 0.9, 6: 0.5}, 4),
    ([2, 4, 6], {2: 0.5, 4: 0.5}, 4),
    ([2, 4], {9: 1.0}, 4),
    ([2, 4], {2: -1.5, 4: -2.0}, 2),
])
def test_selecting(steps: list[int], scores: dict[int, float], chosen: int) -> None:
    assert select(steps, scores) == chosen


def test_selecting_from_nothing() -> None:
    with pytest.raises(EdgexpError, match="no checkpoint"):
        select([], {})


def test_the_log_is_cut_back_to_where_training_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    events.rewind(path, 0)
    for step in range(1, 5):
        events.append(path, events.Stepped(step, 0.1, 1.0 / step, 0.5, 1e-3, 1.0, 100, 0.1))
    with path.open("ab") as file:
        file.write(b'{"type":"step","step":5,"lo')  # what a crash leaves
    events.rewind(path, 3)
    assert [line["step"] for line in events.read(path, "step")] == [1, 2, 3]
    events.append(path, events.Saved(4, "x"))
    assert [line["step"] for line in events.read(path, "saved")] == [4]
    assert all(line["time"] > 0 for line in events.read(path, "step"))


@pytest.mark.parametrize("event", [
    events.Notice("a\nb"),
    events.Started(9, 100, 0, 0, "peft", "cpu", "bf16", 12, 0.01),
    events.Stepped(1, 0.5, 1.25, 0.5, 1e-3, 0.7, 10, 0.25),
    events.Evaluated(3, {"none": Scores(0.1, 0.2, 0.3)}, 1.0),
    events.Saved(3, "/x"),
    events.Finished(3, stopped=True),
    events.Failed("why"),
])
def test_events_are_one_line_each(event: events.Event) -> None:
    line = events.encode(event)
    assert line.count(b"\n") == 1 and events.decode(line) == event
