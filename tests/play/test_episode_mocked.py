"""Whole episodes of a model that is a function: prompt, recall, every way to act, one and several at once. No weights anywhere."""


import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mock_engine import VOCABULARY, MockEngine, by_chance, make_policy, renderer_of, saying
from toys import Counting

from edgexp.bank import Bank
from edgexp.engine.engine import TokenSequence
from edgexp.play.episode import Acted, Event, Recalled, play
from edgexp.play.local import LocalPolicy
from edgexp.play.rollout import run, run_many
from edgexp.retrieval import Retrieval, Retriever, VectorRetriever
from edgexp.trajectory import Played

MODES = ("admissible", "scored", "free")


def copycat(prompt: str) -> str:
    """Says what the past episode that stands last in the prompt did last; without one it waits."""
    _, found, after = prompt.rpartition("\n>")
    return after.partition("\n")[0] if found else "wait"


def play_one(engine: MockEngine, retriever: Retriever | None = None, **options: object) -> tuple[Played, LocalPolicy, list[Event]]:
    """One episode of the counting environment; its record, the policy and what was told."""
    world, events = Counting(), list[Event]()
    policy = make_policy(world, retriever, **options)  # type: ignore[arg-type]
    return run(play(world, world.tasks("train")[0], policy, watch=events.append), engine), policy, events


@pytest.mark.parametrize("mode", MODES)
def test_memory_in_the_prompt_decides_what_such_a_model_does(mode: str, bank: Bank) -> None:
    bare, _, _ = play_one(MockEngine(saying(copycat)), actions=mode)
    assert {step.action for step in bare.trajectory.steps} == {"wait"} and not bare.trajectory.success
    played, _, events = play_one(MockEngine(saying(copycat)), VectorRetriever(bank), actions=mode)
    reminded = played.trajectory
    assert [step.action for step in reminded.steps] == ["add one"] * 3 and reminded.success and reminded.end == "done"
    assert [len(event.memory.recalled) for event in events if isinstance(event, Recalled)] == [2]
    assert played.tokens.prompt > bare.tokens.prompt + 200 and reminded.provenance.model == "mock"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("think", [by_chance, saying(copycat)], ids=["chance", "copycat"])
def test_the_ids_of_an_episode_are_those_of_its_rendered_trajectory(mode: str, think: object, bank: Bank) -> None:
    for retriever in (None, VectorRetriever(bank)):
        played, policy, _ = play_one(MockEngine(think), retriever, actions=mode)  # type: ignore[arg-type]
        memory = [found.trajectory for found in policy.memory.recalled]
        assert len(memory) == (2 if retriever else 0)
        assert policy._sequence.ids == renderer_of(Counting()).trajectory(played.trajectory, memory).ids


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("remembers", [False, True])
@pytest.mark.parametrize("places", [2, 8])
def test_several_at_once_play_as_one_by_one_and_run_as_many_tokens(mode: str, remembers: bool, places: int, bank: Bank) -> None:
    def played(at_once: int) -> tuple[list[str], MockEngine]:
        engine = MockEngine()

        def start(number: int):  # type: ignore[no-untyped-def]
            def begin(_: int):  # type: ignore[no-untyped-def]
                world = Counting(2 + number % 3)
                policy = make_policy(world, VectorRetriever(bank) if remembers else None, actions=mode)
                return play(world, world.tasks("test")[number % 4], policy)

            return begin

        finished = list(run_many([start(number) for number in range(6)], at_once, [engine]))
        assert not any(one.error for one in finished)
        return [one.trajectory.id for one in sorted(finished, key=lambda one: one.number) if one.trajectory], engine

    alone, one_by_one = played(1)
    together, batched = played(places)
    assert together == alone and len(alone) == 6
    assert batched.evaluated == one_by_one.evaluated and max(batched.batches) == min(places, 6) > max(one_by_one.batches)


def test_weighing_every_branch_takes_the_product_of_the_branches_shares() -> None:
    _, _, events = play_one(MockEngine(), actions="scored")
    for event in events:
        if isinstance(event, Acted):
            decision = event.decision
            shares = [decision.probability or 0, *(share for _, share in decision.alternatives)]
            assert sum(shares) == pytest.approx(1) and max(shares) == shares[0]
            assert {decision.text, *(text for text, _ in decision.alternatives)} == {"add one", "take one", "wait"}


def test_nothing_is_run_twice_while_an_episode_grows(bank: Bank) -> None:
    engine = MockEngine()
    played, policy, _ = play_one(engine, VectorRetriever(bank))
    assert engine.evaluated <= len(policy._sequence.ids)
    assert played.tokens.evaluated == engine.evaluated and played.tokens.reused > 5 * played.tokens.prompt


def test_by_its_history_an_episode_recalls_again_and_again(bank: Bank) -> None:
    _, policy, events = play_one(MockEngine(), VectorRetriever(bank, Retrieval(k=1, memory="dynamic", every=2)))
    assert [event.step for event in events if isinstance(event, Recalled)] == list(range(0, 10, 2))[: 1 + (len(events) - 3) // 2]
    assert len(policy.memory.recalled) == 1


def test_a_small_room_drops_memory_and_then_ends_the_episode(bank: Bank) -> None:
    bare, whole = (play_one(MockEngine(), retriever)[0].tokens.prompt for retriever in (None, VectorRetriever(bank)))
    played, policy, _ = play_one(MockEngine(), VectorRetriever(bank), context=whole, reserve=whole - bare)
    assert played.tokens.prompt == bare and {dropped.reason for dropped in policy.memory.dropped} == {"budget"}
    full = play_one(MockEngine(saying(lambda _: "wait")), context=bare + 200, reserve=0)[0].trajectory
    assert full.end == "context_full" and 1 < len(full.steps) < 10


@given(st.text())
def test_the_vocabulary_keeps_texts_apart_from_control_tokens(text: str) -> None:
    ids = VOCABULARY.encode(f"<|im_end|>{text}<|im_start|>")
    assert not any(map(VOCABULARY.is_control, ids)) and VOCABULARY.decode(ids) == f"<|im_end|>{text}<|im_start|>"
    assert VOCABULARY.decode(VOCABULARY.control(f"<|im_start|>{text}")) == f"<|im_start|>{text}"
    assert VOCABULARY.control(f"<|im_end|>{text}")[0] == 257 and VOCABULARY.is_end(257) and not VOCABULARY.is_end(256)


@given(st.lists(st.integers(0, 257), min_size=1), st.data())
def test_a_tree_gives_what_its_paths_give_one_by_one(ids: list[int], data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.integers(0, 257), min_size=1, max_size=8))
    parents = [data.draw(st.integers(-1, node - 1)) for node in range(len(tokens))]
    sequence = TokenSequence(0, list(ids))
    rows = MockEngine().evaluate_tree(sequence, parents, tokens)
    for node, row in enumerate(rows):
        path, place = [], node
        while place >= 0:
            path.append(tokens[place])
            place = parents[place]
        one = TokenSequence(0, [*ids, *reversed(path)])
        MockEngine().evaluate([one])
        assert np.array_equal(row, one.logits)
    assert sequence.ids == ids and np.array_equal(sequence.logits, by_chance(ids))
