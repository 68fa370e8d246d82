"""Episodes whose memory stands apart: what is evaluated once, attached ever after, and never part of an episode's own ids. No weights."""


import pytest
from mock_engine import VOCABULARY, MockEngine, make_policy, renderer_of, saying, whole
from toys import Counting

from edgexp.bank import Bank
from edgexp.play.episode import Recalled, play
from edgexp.play.rollout import run, run_many
from edgexp.retrieval import Retrieval, VectorRetriever
from edgexp.trajectory import Played


def play_at(engine: MockEngine, policy: object, world: Counting, number: int = 0) -> Played:
    return run(play(world, world.tasks("train")[number], policy), engine)  # type: ignore[arg-type]


def test_a_past_episode_is_evaluated_once_and_attached_ever_after(bank: Bank) -> None:
    engine, world, records = MockEngine(), Counting(), []
    for number in (0, 3, 0):
        policy = make_policy(world, VectorRetriever(bank), layout="apart")
        records.append(play_at(engine, policy, world, number))
    first, *others = records
    assert first.tokens.attached == 0 and first.tokens.evaluated >= first.tokens.prompt
    shared = policy._sequence.shared.cells
    assert len(policy._sequence.shared.blocks) == 2 and shared > 200
    assert all(one.tokens.attached == shared and one.tokens.loaded == 0 for one in others)
    assert all(one.tokens.evaluated <= len(policy._sequence.ids) + 64 for one in others)
    assert sum(one.tokens.evaluated for one in records) == engine.evaluated


@pytest.mark.parametrize("mode", ["admissible", "scored", "free"])
def test_the_ids_are_those_of_the_rendered_trajectory(mode: str, bank: Bank) -> None:
    world = Counting()
    policy = make_policy(world, VectorRetriever(bank), layout="apart", actions=mode)
    played = play_at(MockEngine(), policy, world)
    memory = [found.trajectory for found in policy.memory.recalled]
    rendered = renderer_of(world, "apart").trajectory(played.trajectory, memory)
    prefix, blocks, own = rendered.shared
    sequence = policy._sequence
    assert (sequence.ids, list(sequence.shared.prefix)) == (own, prefix)
    assert sorted(sequence.shared.blocks) == sorted(map(tuple, blocks))
    assert set(sequence.shared.names) == {t.id for t in memory}
    assert sequence.base == rendered.positions[len(rendered.ids) - len(own)]
    t = played.trajectory
    assert played.tokens.prompt == len(renderer_of(world, "apart").opening(t.goal, t.observation, memory).ids)


def test_what_stands_apart_is_read(bank: Bank) -> None:
    def copycat(prompt: str) -> str:
        return "add one" if "\n>add one" in prompt else "wait"

    world = Counting()
    for layout in ("chained", "apart"):
        policy = make_policy(world, VectorRetriever(bank), layout=layout)
        assert play_at(MockEngine(saying(copycat)), policy, world).trajectory.success
    assert not play_at(MockEngine(saying(copycat)), make_policy(world, None, layout="apart"), world).trajectory.success


def test_without_memory_the_prompt_is_the_same_as_ever(bank: Bank) -> None:
    world = Counting()
    policies = [make_policy(world, None, layout=layout) for layout in ("chained", "apart")]
    records = [play_at(MockEngine(), policy, world) for policy in policies]
    assert records[0].trajectory.id == records[1].trajectory.id
    assert whole(policies[0]._sequence) == whole(policies[1]._sequence)


def test_recalling_again_attaches_other_blocks_and_runs_only_the_episode_again(bank: Bank) -> None:
    engine, world, events = MockEngine(), Counting(), []
    policy = make_policy(world, VectorRetriever(bank, Retrieval(k=1, memory="dynamic", every=1)), layout="apart")
    played = run(play(world, world.tasks("train")[0], policy, watch=events.append), engine)
    found = {event.memory.recalled[0].trajectory.id for event in events if isinstance(event, Recalled)}
    blocks = sum(len(renderer_of(world, "apart").block(t)) for t in bank.read(sorted(found)))
    prefix = len(renderer_of(world, "apart").prefix())
    again = len(found) * (len(policy._sequence.ids) + 64)
    assert played.tokens.evaluated <= prefix + blocks + again


def test_memory_that_does_not_fit_is_dropped_block_by_block(bank: Bank) -> None:
    world = Counting()
    bare = play_at(MockEngine(), make_policy(world, None, layout="apart"), world).tokens.prompt
    full = play_at(MockEngine(), make_policy(world, VectorRetriever(bank), layout="apart"), world).tokens.prompt
    policy = make_policy(world, VectorRetriever(bank), layout="apart", context=full - 1 + 512, reserve=512)
    played = play_at(MockEngine(), policy, world)
    assert bare < played.tokens.prompt < full
    assert [dropped.reason for dropped in policy.memory.dropped] == ["budget"]


def test_several_at_once_share_what_they_remember(bank: Bank) -> None:
    costs, ids = [], []
    for places in (1, 3):
        engine, worlds = MockEngine(), [Counting() for _ in range(3)]
        policies = [make_policy(world, VectorRetriever(bank), layout="apart") for world in worlds]

        def start(number: int, worlds=worlds, policies=policies):  # type: ignore[no-untyped-def]
            return lambda _: play(worlds[number], worlds[number].tasks("test")[number], policies[number])

        finished = sorted(run_many([start(number) for number in range(3)], places, [engine]), key=lambda one: one.number)
        ids.append([one.trajectory.id for one in finished if one.trajectory])
        costs.append(engine.evaluated)
    assert ids[0] == ids[1] and len(ids[0]) == 3 and costs[0] == costs[1]
    assert VOCABULARY.decode(list(policies[0]._sequence.shared.prefix)) == VOCABULARY.decode(renderer_of(Counting()).prefix())
