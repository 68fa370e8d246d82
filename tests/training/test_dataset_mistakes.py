"""No mistake is ever a label: neither an expert's on purpose, nor a model's before its teacher took over, nor one seen in hindsight."""

import random
from pathlib import Path

import msgspec
import pytest
from dataset_samples import bank_of, recipe, source

from edgexp.environments.base import Environment, misled_players
from edgexp.environments.registry import make
from edgexp.play.collecting import expert_episode
from edgexp.play.episode import Asking, Playing, play
from edgexp.play.hindsight import in_hindsight
from edgexp.play.rollout import run
from edgexp.play.takeover import TakeoverPolicy
from edgexp.prompt.render import Renderer
from edgexp.training.dataset import Built, build
from edgexp.trajectory import Decision, Provenance, Step, Trajectory


class Wrong:
    """A model that says nothing but `nonsense N`, and now and then walks somewhere."""

    def __init__(self, seed: int):
        self.chance = random.Random(seed)

    def begin(self, episode: Playing) -> None:
        """Nothing to prepare."""

    def resume(self, episode: Playing) -> None:
        """Nothing to take note of."""

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        yield from ()
        walk = [action for action in episode.environment.admissible() if action.startswith("go to ")]  # type: ignore[attr-defined]
        return Decision(f"nonsense {len(episode.steps)}" if self.chance.random() < 0.5 else self.chance.choice(walk))

    def provenance(self, environment: object) -> Provenance:
        return Provenance("agent", model="wrong")


@pytest.fixture(scope="module")
def renderer(model, template):  # type: ignore[no-untyped-def]
    return Renderer(model.vocabulary, template, make("household").instructions())


@pytest.fixture(scope="module")
def demonstrations() -> list[Trajectory]:
    environment = make("household")
    tasks = environment.tasks("train")
    helped = [run(play(environment, task, TakeoverPolicy(environment, Wrong(n), None, 50))).trajectory for n, task in enumerate(tasks[:40])]
    erring = [run(expert_episode(environment, task, 60, 0.4)).trajectory for task in tasks[40:80]]
    seen = in_some_hindsight(environment)
    assert len(seen) > 5
    assert sum(t.success and any(step.mistake for step in t.steps) for t in helped) > 25
    assert {t.provenance.source for t in helped} >= {"takeover"}
    return helped + erring + seen


def in_some_hindsight(environment: Environment) -> list[Trajectory]:
    """Episodes of players who bring the thing as it is, and say nonsense on the way: what they are in hindsight."""
    found = []
    for task in (task for task in environment.tasks("train")[80:160] if "then" in task.type):
        start = environment.reset(task)
        player = misled_players(environment, start.goal)[0]
        player.begin(start.goal, start.observation)
        seen, steps = start.observation, []
        for _ in range(14):
            for action in ("nonsense 7", player.act(seen) or "look"):
                outcome = environment.step(action)
                steps.append(Step(action, outcome.observation))
            seen = outcome.observation
        lost = Trajectory(task, start.goal, start.observation, tuple(steps), False, 0.0, "max_steps", Provenance("agent"))
        if (better := in_hindsight(environment, lost)) is not None:
            found.append(better)
    return found


def labelled(built: Built, name: str, renderer: Renderer) -> list[list[str]]:
    """The actions that are learned, sample by sample."""
    end, found = renderer.template.end, []
    for ids, spans in zip(built.sets[name].ids, built.sets[name].spans, strict=True):
        said = [list(ids[first:last]) for first, last in spans]
        found.append([renderer.tokenizer.decode(one[: len(one) - len(end)]) for one in said])
    return found


def test_the_labels_of_a_dataset_are_the_actions_that_are_no_mistakes(
    demonstrations: list[Trajectory], renderer: Renderer, tmp_path: Path
) -> None:
    with bank_of(tmp_path, demonstrations) as bank:
        built = build(recipe("[memory]\nk = 2\n"), [source(bank, renderer)])
    won = {t.id: t for t in demonstrations if t.success}
    for name in built.about:
        said, about = labelled(built, name, renderer), built.about[name]
        assert len(said) == len(about) > 0
        for actions, one in zip(said, about, strict=True):
            assert actions == [step.action for step in won[one.trajectory].steps if not step.mistake]
            assert not any(action.startswith("nonsense") for action in actions)


def test_an_episode_that_mistakes_alone_have_won_is_not_trained_on(
    demonstrations: list[Trajectory], renderer: Renderer, tmp_path: Path
) -> None:
    whole = [t for t in demonstrations if t.success][:12]
    alone = msgspec.structs.replace(whole[0], steps=tuple(msgspec.structs.replace(step, mistake=True) for step in whole[0].steps))
    with bank_of(tmp_path, [*whole[1:], alone]) as bank:
        built = build(recipe("[memory]\nk = 1\n"), [source(bank, renderer)])
    assert alone.id not in {one.trajectory for name in built.about for one in built.about[name]}
