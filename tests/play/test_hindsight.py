"""Hindsight: a lost episode counts as one of the goal that it reached, which is true, and no action is a label that was none for it."""

from pathlib import Path
from typing import Any

import msgspec
from bank_samples import WordEncoder
from hypothesis import given, settings
from hypothesis import strategies as st
from test_takeover import Muddler, choices
from toys import Counting

from edgexp.bank import Bank, Filters
from edgexp.environments.base import Achieved, Environment, family_of
from edgexp.environments.household import scene as goals
from edgexp.environments.household.household import Household
from edgexp.environments.household.simulator import Game
from edgexp.environments.registry import make
from edgexp.play.collecting import collect
from edgexp.play.episode import play
from edgexp.play.hindsight import in_hindsight
from edgexp.play.rollout import run, run_many
from edgexp.play.scripted import Scripted
from edgexp.retrieval import Retrieval, VectorRetriever
from edgexp.trajectory import Trajectory, decode, encode, hindsight_id, root_of


def muddled(number: int, seed: int, steps: int = 16, skill: float = 0.6) -> Trajectory:
    environment = make("household")
    return run(play(environment, environment.tasks("train")[number], Muddler(seed, skill, 0.9), max_steps=steps)).trajectory


def lost_with_hindsight(count: int) -> list[tuple[Trajectory, Trajectory]]:
    """Lost episodes, and what they are in hindsight."""
    found, household = [], make("household")
    for number in range(400):
        lost = muddled(number, number, 14)
        if (seen := in_hindsight(household, lost)) is not None:
            found.append((lost, seen))
        if len(found) == count:
            break
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 600), st.integers(0, 3), st.sampled_from([8, 14, 20]), st.sampled_from([0.3, 0.7]))
def test_what_is_claimed_is_true_and_no_label_is_another_than_the_experts(number: int, seed: int, steps: int, skill: float) -> None:
    lost = muddled(number, seed, steps, skill)
    seen = in_hindsight(make("household"), lost)
    if lost.success:
        assert seen is None
    if seen is None:
        return
    check_true(lost, seen)
    check_labels(seen)


def check_true(lost: Trajectory, seen: Trajectory) -> None:
    """A game with the claimed goal, in the same room, is won by these actions, at the last and not before."""
    scene, request = Household().scene(lost.task), goals.read(seen.goal)
    assert request is not None and request.kind == seen.task.type and seen.task.group == goals.GROUPS[request.kind]
    type_of = {thing.kind.type.lower(): thing.kind.type for thing in scene.things} | {r.type.lower(): r.type for r in scene.receptacles}
    asked = goals.Goal(request.kind, type_of[request.object], type_of[request.target], seen.goal)
    game = Game(msgspec.structs.replace(scene, goal=asked))
    won = [game.won]
    for step in seen.steps:
        assert game.step(step.action) == step.observation
        won.append(game.won)
    assert won == [False] * len(seen.steps) + [True]
    assert [s.action for s in seen.steps] == [s.action for s in lost.steps[: len(seen.steps)]]


def check_labels(seen: Trajectory) -> None:
    """Every label is what an expert with that goal would do, told of what came before."""

    class Renamed:
        """The room of the task that was asked for, with the goal that was reached."""

        def __getattr__(self, name: str) -> Any:
            return getattr(household, name)

        def reset(self, task: object) -> Any:
            return msgspec.structs.replace(household.reset(household.task(root_of(seen.task.id))), goal=seen.goal)

        def admissible(self) -> list[str]:
            return household.admissible()

        def expert(self) -> Any:
            return household.expert()

    household: Any = make("household")
    for step, advice in zip(seen.steps, choices(Renamed(), seen.task, [s.action for s in seen.steps]), strict=False):  # type: ignore[arg-type]
        assert step.mistake == (step.action != advice)
    assert not all(step.mistake for step in seen.steps)


def test_it_is_marked_as_such_and_reads_back_and_has_a_task_of_its_own() -> None:
    pairs = lost_with_hindsight(12)
    assert len(pairs) == 12
    for lost, seen in pairs:
        assert decode(encode(seen)) == seen and seen.success and not lost.success
        assert seen.provenance.asked == lost.task.id and seen.provenance.source == "agent"
        assert seen.task.id == hindsight_id(lost.task.id, seen.goal) != lost.task.id and root_of(seen.task.id) == lost.task.id
        assert family_of(None, seen.task) == family_of(None, lost.task)
        assert in_hindsight(make("household"), seen) is None
    ids = {(seen.task.id, seen.goal) for _, seen in pairs}
    assert len({task for task, _ in ids}) == len(ids)


def test_an_episode_that_was_won_or_changed_nothing_is_none() -> None:
    household = make("household")
    task = household.tasks("train")[0]
    idle = run(play(household, task, Scripted(["look", "inventory", "go to nowhere 1"]))).trajectory
    assert in_hindsight(household, idle) is None
    elsewhere = msgspec.structs.replace(idle, task=msgspec.structs.replace(task, environment="other"))
    assert in_hindsight(household, elsewhere) is None
    lost, _ = lost_with_hindsight(1)[0]
    changed = msgspec.structs.replace(lost, steps=(msgspec.structs.replace(lost.steps[0], observation="Something else."), *lost.steps[1:]))
    assert in_hindsight(household, changed) is None


class CountsBack(Counting):
    """Says in hindsight that the count was reached; has no expert."""

    def achieved(self, trajectory: Trajectory) -> Achieved | None:
        seen = [step.observation for step in trajectory.steps]
        return Achieved("count to 2.", "count", "easy", seen.index("The count is 2.") + 1) if "The count is 2." in seen else None


def test_without_an_expert_what_is_not_valid_or_done_again_is_no_label() -> None:
    world: Environment = CountsBack(9)
    actions = ["add one", "sing", "take one", "add one", "wait", "wait", "add one", "take one"]
    lost = run(play(world, world.tasks("train")[0], Scripted(actions, "agent"))).trajectory
    seen = in_hindsight(world, lost)
    assert seen is not None and seen.goal == "count to 2." and len(seen.steps) == 7
    assert [step.mistake for step in seen.steps] == [False, True, False, True, False, True, False]


def test_where_a_task_does_not_recall_itself_it_does_not_recall_its_hindsight(tmp_path: Path) -> None:
    lost, seen = lost_with_hindsight(1)[0]
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        bank.add([seen])
        filters = Filters(environment="household")
        assert not VectorRetriever(bank, Retrieval(k=1), filters).recall(lost.task, lost.goal, lost.observation).recalled
        assert not VectorRetriever(bank, Retrieval(k=1), filters).recall(seen.task, seen.goal, seen.observation).recalled
        other = msgspec.structs.replace(lost.task, id="household/train/99999")
        assert VectorRetriever(bank, Retrieval(k=1), filters).recall(other, lost.goal, lost.observation).recalled


def test_collecting_keeps_both(tmp_path: Path) -> None:
    household, again = make("household"), make("household")
    tasks = household.tasks("train")
    with Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        starts = [lambda place, n=n: play(household, tasks[n], Muddler(n, 0.6, 0.9), max_steps=12) for n in range(30)]  # type: ignore[misc]
        won = collect(bank, run_many(starts, 1), besides=lambda t: in_hindsight(again, t))
        extra = [t for t in bank.each() if t.provenance.asked]
        assert bank.count() == 30 + len(extra) and len(extra) > 1
        assert sum(entry.success for entry in bank.entries()) == won + len(extra)
