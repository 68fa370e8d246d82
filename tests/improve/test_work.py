"""What a round does, with a policy in place of the model and a training that is played by a double: what is kept, and going on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from bank_samples import WordEncoder

from edgexp.bank import Bank, Embedder
from edgexp.environments.base import Environment
from edgexp.environments.registry import make
from edgexp.errors import EdgexpError, UsageError
from edgexp.improve import work as works
from edgexp.improve.work import EPISODES, RecipeWork, Ways, settings_text
from edgexp.play.collecting import expert_episode
from edgexp.play.episode import Asking, Playing, play
from edgexp.play.rollout import run, run_many
from edgexp.play.takeover import TakeoverPolicy
from edgexp.training import recipe as recipes
from edgexp.trajectory import Decision, Provenance, Task


class Half:
    """A model that knows how to do half of the tasks, and says nonsense in the others."""

    def __init__(self, environment: Environment, good: bool):
        self.environment, self.good = environment, good

    def begin(self, episode: Playing) -> None:
        self.teacher = self.environment.expert()  # type: ignore[attr-defined]
        self.teacher.begin(episode.start.goal, episode.start.observation)

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        yield from ()
        return Decision(self.teacher.act(episode.observation) if self.good else "nonsense")

    def resume(self, episode: Playing) -> None:
        """Nothing to take note of."""

    def provenance(self, environment: Environment) -> Provenance:
        return Provenance("agent", environment.version, model="half")


@dataclass
class Sessions:
    """Stands for `open_session`: plays with `Half`, and stops where a test says so."""

    stop_after: int | None = None
    played: list[str] = field(default_factory=list)
    good: dict[str, set[int]] = field(default_factory=dict)
    """Model → remainders of a task's number by 4 in which it is good."""

    @contextmanager
    def __call__(self, settings: Any, say: Any) -> Iterator[Any]:
        yield _Open(self, settings)


@dataclass
class _Open:
    sessions: Sessions
    settings: Any

    def play(self, tasks: list[Task], steps: int | None = None) -> Iterator[Any]:
        world, asked = make(self.settings.environment), self.settings
        for task in tasks:
            if self.sessions.stop_after is not None and len(self.sessions.played) >= self.sessions.stop_after:
                raise KeyboardInterrupt
            good = int(task.id.rsplit("/", 1)[1]) % 4 in self.sessions.good.get(asked.model, {0, 1})
            model = Half(world, good)
            policy: Any = TakeoverPolicy(world, model, asked.takeover, steps) if asked.takeover else model
            self.sessions.played.append(f"{asked.model} {task.id} {asked.temperature}")
            yield from run_many([lambda _, task=task, policy=policy: play(world, task, policy, max_steps=steps)], 1)  # type: ignore[misc]


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    made = Sessions()
    monkeypatch.setattr(works, "open_session", made)
    monkeypatch.setattr(works, "open_encoder", lambda name, say: _encoder())
    return made


def _encoder() -> Embedder:
    return WordEncoder()


def work(folder: Path, given: Path, **ways: Any) -> RecipeWork:
    recipe = recipes.parse(f'[[data]]\nbank = "{given}"\ngroups = ["easy"]\n', "test")
    made = RecipeWork("toy", recipe, Ways(**{"tasks": 12, "dev": 12, "steps": 20, **ways}), folder / "bank")
    made.begin()
    return made


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A bank of a few demonstrations."""
    household = make("household")
    with Bank.open(tmp_path / "given", WordEncoder()) as bank:
        bank.add([run(expert_episode(household, task)).trajectory for task in household.tasks("train")[:6]])
    return tmp_path / "given"


def ids(path: Path) -> set[str]:
    with Bank.open(path, WordEncoder()) as bank:
        return {t.id for t in bank.each()}


def test_rounds_are_played_by_the_sessions_that_are_given(tmp_path: Path, given: Path, sessions: Sessions) -> None:
    """And not by those of this process."""
    made, own = work(tmp_path / "a", given), Sessions()
    made.sessions = own
    made.play(tmp_path / "a" / "1", 1, "m")
    assert len(own.played) == 12 and not sessions.played


def test_a_round_keeps_wins_takeovers_and_hindsight_and_the_bank_begins_with_the_demonstrations(
    tmp_path: Path, given: Path, sessions: Sessions
) -> None:
    made = work(tmp_path / "a", given)
    assert ids(made.bank) == ids(given)
    kept = made.play(tmp_path / "a" / "1", 1, "m")
    with Bank.open(made.bank, WordEncoder()) as bank:
        new = [t for t in bank.each() if t.id not in ids(given)]
        sources = {t.provenance.source for t in new}
    assert sources == {"agent", "takeover"} and kept == sum(t.success for t in new) >= 10
    assert {entry.split()[2] for entry in sessions.played} == {"0.0", "0.7"} and len(sessions.played) == 12


def test_without_expert_there_are_no_demonstrations_and_no_takeovers(tmp_path: Path, given: Path, sessions: Sessions) -> None:
    made = work(tmp_path / "a", given, expert=False)
    assert ids(made.bank) == set()
    kept = made.play(tmp_path / "a" / "1", 1, "m")
    with Bank.open(made.bank, WordEncoder()) as bank:
        assert {t.provenance.source for t in bank.each()} == {"agent"} and 0 < kept < 12


@pytest.mark.parametrize("stop", [0, 1, 5, 6, 7, 11])
def test_interrupted_while_it_plays_it_comes_to_the_same(tmp_path: Path, given: Path, sessions: Sessions, stop: int) -> None:
    unbroken = work(tmp_path / "a", given)
    wanted = unbroken.play(tmp_path / "a" / "1", 1, "m")
    broken, sessions.played, sessions.stop_after = work(tmp_path / "b", given), [], stop
    with pytest.raises(KeyboardInterrupt):
        broken.play(tmp_path / "b" / "1", 1, "m")
    assert ids(broken.bank) == ids(given)  # what is remembered stays as it was until the round is over
    with (tmp_path / "b" / "1" / EPISODES).open("ab") if stop else (tmp_path / "torn").open("ab") as file:
        file.write(b'{"task":"household/train/1","epis')  # what a crash leaves of a line
    sessions.stop_after = None
    assert broken.play(tmp_path / "b" / "1", 1, "m") == wanted and ids(broken.bank) == ids(unbroken.bank)
    assert len(sessions.played) == 12
    assert broken.play(tmp_path / "b" / "1", 1, "m") == wanted and len(sessions.played) == 12


def test_a_check_is_paired_and_goes_on(tmp_path: Path, given: Path, sessions: Sessions) -> None:
    made = work(tmp_path / "a", given, dev=24, steps=60)
    sessions.good = {"new": {0, 1, 2, 3}, "old": {0}}
    sessions.stop_after = 30
    with pytest.raises(KeyboardInterrupt):
        made.check(tmp_path / "a" / "1", 1, "new", "old")
    sessions.stop_after = None
    check = made.check(tmp_path / "a" / "1", 1, "new", "old")
    assert len(sessions.played) == 48 and all(" household/dev/" in entry for entry in sessions.played)
    assert (check.tasks, check.won) == (24, 24) and 0 < check.won_before < 24
    assert check.better and check.difference == pytest.approx((24 - check.won_before) / 24) and check.p < 0.05
    worse = made.check(tmp_path / "a" / "2", 2, "old", "new")
    assert not worse.better and worse.high < 0
    same = made.check(tmp_path / "a" / "3", 3, "new", "new")
    assert not same.better and same.difference == 0


def test_it_learns_from_its_own_bank_and_names_the_model_by_its_round(
    tmp_path: Path, given: Path, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(works, "train", lambda folder, name, recipe, watch, rollouts: asked.append((folder, name, recipe)) or tmp_path)
    monkeypatch.setattr(works, "find_base", lambda adapter: "base")
    monkeypatch.setattr(works, "export", lambda request, tell: asked.append(request))
    made = work(tmp_path / "a", given)
    assert made.learn(tmp_path / "a" / "4", 4, 2) == "toy-g4"
    folder, name, recipe = asked[0]
    assert (folder, name) == (tmp_path / "a" / "4" / "run", "toy-g4")
    assert [data.bank for data in recipe.data] == [str(made.bank)] and recipe.data[0].groups == ("easy",)
    assert (asked[1].name, asked[1].folder) == ("toy-g4", tmp_path / "a" / "4" / "model")
    assert recipe.base == made.recipe.base, "it begins where the recipe does"


def test_it_goes_on_from_the_best_generation_where_it_is_told(
    tmp_path: Path, given: Path, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    bases: list[Any] = []
    monkeypatch.setattr(works, "train", lambda folder, name, recipe, watch, rollouts: bases.append(recipe.base) or tmp_path)
    monkeypatch.setattr(works, "find_base", lambda adapter: "base")
    monkeypatch.setattr(works, "export", lambda request, tell: None)
    made = work(tmp_path / "a", given, go_on=True)
    for parent in (0, 2):
        made.learn(tmp_path / "a" / "generations" / "003", 3, parent)
    assert bases[0] == made.recipe.base and bases[1].model == made.recipe.base.model
    assert bases[1].adapter == str(tmp_path / "a" / "generations" / "002" / "run" / "adapter")


def test_where_there_is_nothing_to_check_by_that_is_said(tmp_path: Path, given: Path, sessions: Sessions) -> None:
    made = work(tmp_path / "a", given)
    made.recipe = recipes.parse('[check]\nsplit = "nowhere"\n', "test")
    with pytest.raises(EdgexpError, match="the split nowhere has no tasks to check a model by"):
        made.check(tmp_path / "a" / "1", 1, "new", "old")


def test_a_recipe_without_held_out_episodes_is_refused_before_anything_is_played(tmp_path: Path, given: Path) -> None:
    made = work(tmp_path / "a", given)
    made.recipe = recipes.parse("[check]\nheld_out = 0\n", "test")
    with pytest.raises(UsageError, match=r"check\.held_out is 0"):
        made.begin()


def test_the_settings_tell_rounds_apart() -> None:
    recipe = recipes.parse("", "test")
    texts = {settings_text(recipe, Ways(), "a"), settings_text(recipe, Ways(expert=False), "a"), settings_text(recipe, Ways(), "b"),
             settings_text(recipes.parse("seed = 1", "test"), Ways(), "a")}  # fmt: skip
    assert len(texts) == 4
