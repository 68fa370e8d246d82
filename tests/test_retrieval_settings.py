"""How memory is used, said in one way; and whoever recalls, whatever it recalls by."""

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from bank_samples import trajectories, trajectory
from hypothesis import given
from hypothesis import strategies as st
from mock_engine import MockEngine, make_policy, renderer_of
from toys import Counting, make_trajectory

from edgexp.errors import UsageError
from edgexp.evaluation.results import Setup
from edgexp.evaluation.suite import Condition
from edgexp.play.acting import Acting
from edgexp.play.episode import Recalled as Told
from edgexp.play.episode import play
from edgexp.play.rollout import run
from edgexp.play.session import Settings
from edgexp.retrieval import NO_MEMORY, Dropped, Memory, Recalled, Retrieval, VectorRetriever, fit, retriever_for
from edgexp.training import recipe
from edgexp.trajectory import Played, Step, Task

MODES = ("static", "dynamic", "off")
FIELDS = ("k", "memory", "every", "diversity", "layout", "frame", "usefulness", "failures")
WRITTEN = {"condition": "some", "environment": "toy", "environment_version": "1", "steps": 9, "model": "", "model_sha256": "", "bank": "",
           "actions": "free", "context": 512, "bank_fingerprint": "", "encoder": "", "code": "", "engine": ""}
EVERY: dict[str, Any] = {"Retrieval": Retrieval, "Acting": Acting, "Settings": Settings, "Memory": recipe.Memory,
                         "Condition": lambda **how: Condition(name="some", **how),
                         "Setup": lambda **how: Setup(**{**WRITTEN, **how})}


@pytest.mark.parametrize("kind", EVERY)
def test_what_remembers_nothing_is_written_in_one_way(kind: str) -> None:
    layouts, failures = ("auto", "chained", "apart"), ("alike", "warn", "none")
    for values in itertools.product((0, 1, 7), MODES, (1, 3), (None, 0.0, 0.5), layouts, (True, False), (True, False), failures):
        settings = EVERY[kind](**dict(zip(FIELDS, values, strict=True)))
        assert settings.remembers == (values[0] > 0 and values[1] != "off")
        assert settings.retrieval == (Retrieval(*values) if settings.remembers else NO_MEMORY)  # type: ignore[arg-type]
        assert type(settings.retrieval) is Retrieval and settings.retrieval.retrieval == settings.retrieval
        assert settings.retrieval.remembers == settings.remembers


def test_a_condition_with_an_empty_bank_remembers_nothing() -> None:
    condition = Condition(name="nothing found", k=4, bank="empty")
    assert not condition.remembers and condition.retrieval == NO_MEMORY
    assert Condition(name="some", k=4).retrieval == Retrieval(k=4)


@pytest.mark.parametrize("kind", [Acting, Settings, Condition, Setup, recipe.Memory])
def test_whatever_remembers_has_the_fields_of_memory_with_their_limits(kind: type[Retrieval]) -> None:
    own = {field.name: field for field in msgspec.structs.fields(kind)}
    for field in msgspec.structs.fields(Retrieval):
        assert own[field.name].type == field.type, f"{kind.__name__}.{field.name} allows what others do not"
    assert issubclass(kind, Retrieval) and set(FIELDS) == {field.name for field in msgspec.structs.fields(Retrieval)}


@pytest.mark.parametrize("wrong", [
    {"k": -1}, {"k": 65}, {"memory": "always"}, {"every": 0}, {"diversity": 1.5}, {"diversity": -0.1}, {"n": 1}, {"frame": "yes"},
    {"usefulness": 2}, {"failures": "some"},
])
def test_files_with_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match=next(iter(wrong))):
        msgspec.convert(wrong, Retrieval)
    with pytest.raises(msgspec.ValidationError, match=next(iter(wrong))):
        msgspec.convert({"name": "some", **wrong}, Condition)


@given(st.builds(Retrieval, st.integers(0, 64), st.sampled_from(MODES), st.integers(1, 9), st.none() | st.floats(0, 1),
                 st.sampled_from(["auto", "chained", "apart"]), st.booleans(), st.booleans(), st.sampled_from(["alike", "warn", "none"])))
def test_settings_are_what_was_written_and_all_of_it_is_written(settings: Retrieval) -> None:
    written = msgspec.json.encode(settings)
    assert msgspec.json.decode(written, type=Retrieval) == settings
    assert list(msgspec.json.decode(written)) == list(FIELDS)


@given(st.sampled_from(MODES), st.integers(0, 3), st.integers(1, 5), st.integers(0, 30))
def test_when_it_is_time(memory: str, k: int, every: int, step: int) -> None:
    retriever = VectorRetriever(None, Retrieval(k, memory, every))  # type: ignore[arg-type]
    assert retriever.due(0) == (k > 0 and memory != "off")
    assert retriever.due(step) == (k > 0 and ((memory == "dynamic" and step % every == 0) or (memory == "static" and step == 0)))


def test_nothing_recalls_where_nothing_is_remembered_or_there_is_no_bank() -> None:
    bank: Any = object()
    for settings in (Retrieval(k=0), Retrieval(memory="off"), NO_MEMORY, Condition(name="bare"), Settings(memory="off")):
        assert retriever_for(bank, settings) is None
    assert retriever_for(None, Retrieval()) is None and isinstance(retriever_for(bank, Retrieval()), VectorRetriever)
    with pytest.raises(UsageError):
        retriever_for(bank, Retrieval(every=0))


# Retrievers of somebody else's own: the protocol is all that a policy knows.

OLD = [make_trajectory((f"act {number}",), goal=f"goal {number}.", success=number % 3 > 0) for number in range(6)]


class Own:
    """Recalls by the number of actions alone, at the times it was told."""

    def __init__(self, times: Sequence[int], plan: Sequence[Sequence[int]]) -> None:
        self.times, self.plan = times, plan
        self.asked, self.steps = list[int](), list[int]()

    def due(self, step: int) -> bool:
        self.asked.append(step)
        return step in self.times

    def recall(self, task: Task, goal: str, observation: str, steps: Sequence[Step] = ()) -> Memory:
        assert (task.id, goal, observation) == ("counting/train/0", "count to 9.", "The count is 0.")
        self.steps.append(len(steps))
        return Memory("by number", tuple(Recalled(OLD[n], 1 - n / 10) for n in self.plan[len(self.steps) % len(self.plan)]))


def play_with(retriever: Own, actions: str = "admissible") -> tuple[Played, list[int], list[Any]]:
    """Six steps with it; the record, the ids in the end, and what was told."""
    world, events = Counting(9), list[Any]()
    policy = make_policy(world, retriever, actions=actions, action_tokens=8)
    return run(play(world, world.tasks("train")[0], policy, max_steps=6, watch=events.append), MockEngine()), policy._sequence.ids, events


@given(st.sets(st.integers(0, 8)), st.lists(st.lists(st.integers(0, 5), unique=True, max_size=3), min_size=1, max_size=4),
       st.sampled_from(["admissible", "free"]))
def test_a_retriever_of_ones_own_says_when_and_what(times: set[int], plan: list[list[int]], actions: str) -> None:
    retriever = Own(sorted(times), plan)
    played, ids, events = play_with(retriever, actions)
    assert len(played.trajectory.steps) == 6
    assert retriever.asked == list(range(6)), "asked once before each action"
    assert retriever.steps == [time for time in sorted(times) if time < 6] == [recall.step for recall in played.recalls]
    shown = [[OLD[n].id for n in plan[number % len(plan)]] for number in range(1, len(retriever.steps) + 1)]
    assert [[one.id for one in recall.used] for recall in played.recalls] == shown
    assert {t.id for t in played.memories} == {identity for one in shown for identity in one}
    assert [event.step for event in events if isinstance(event, Told)] == retriever.steps
    latest = [OLD[n] for n in plan[len(retriever.steps) % len(plan)]] if retriever.steps else []
    assert ids == renderer_of(Counting(9)).trajectory(played.trajectory, latest).ids, "the prompt is that of the latest memory"


def test_memory_that_stays_the_same_is_not_evaluated_again() -> None:
    always, once = play_with(Own(range(9), [[1, 2]]))[0], play_with(Own([0], [[1, 2]]))[0]
    assert always.trajectory.id == once.trajectory.id and len(always.recalls) == 6
    assert always.tokens == once.tokens
    changing = play_with(Own(range(9), [[1, 2], [2, 1]]))[0]
    assert changing.tokens.evaluated > always.tokens.evaluated


# Fitting memory into a budget of tokens.

prices = st.lists(st.integers(0, 100), max_size=9)


def memory_of(count: int, dropped: int = 0) -> Memory:
    found = tuple(Recalled(trajectory(number), 1 - number / 50) for number in range(count))
    return Memory("query", found, tuple(Dropped(t, 0.1, "diversity") for t in trajectories(dropped, 500)), 0.5)


def cost_by(costs: list[int]) -> Any:
    known = {trajectory(number).id: cost for number, cost in enumerate(costs)}
    return lambda t: known[t.id]


@given(prices, st.integers(0, 400), st.integers(0, 3))
def test_fitted_memory_is_within_the_budget_in_its_order_and_nothing_is_lost(costs: list[int], budget: int, dropped: int) -> None:
    memory, cost = memory_of(len(costs), dropped), cost_by(costs)
    fitted = fit(memory, cost, budget)
    assert sum(cost(one.trajectory) for one in fitted.recalled) <= budget
    order = [one for one in memory.recalled if one in fitted.recalled]
    assert list(fitted.recalled) == order
    assert fitted.dropped[:dropped] == memory.dropped
    cut = fitted.dropped[dropped:]
    assert sorted([one.trajectory.id for one in fitted.recalled] + [one.trajectory.id for one in cut]) == sorted(
        one.trajectory.id for one in memory.recalled
    )
    scores = {one.trajectory.id: one.score for one in memory.recalled}
    assert all((one.score, one.reason, one.tokens) == (scores[one.trajectory.id], "budget", cost(one.trajectory)) for one in cut)
    assert (fitted.query, fitted.seconds) == (memory.query, memory.seconds)


@given(prices, st.integers(0, 400))
def test_fitting_twice_is_fitting_once_and_more_room_never_holds_less(costs: list[int], budget: int) -> None:
    memory, cost = memory_of(len(costs)), cost_by(costs)
    once = fit(memory, cost, budget)
    assert fit(once, cost, budget) == once
    assert fit(memory, cost, sum(costs)) == memory
    assert not [one for one in fit(memory, cost, 0).recalled if cost(one.trajectory)]


@given(prices, st.integers(0, 400))
def test_each_cost_is_asked_for_once(costs: list[int], budget: int) -> None:
    asked = []
    cost = cost_by(costs)
    fit(memory_of(len(costs)), lambda t: asked.append(t.id) or cost(t), budget)
    assert asked == [trajectory(number).id for number in range(len(costs))]
