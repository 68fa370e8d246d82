"""Memory for training samples: retrieval as in running, strangers that are strangers, vectors that need not be made again."""

import numpy as np
import pytest
from bank_samples import WordEncoder, trajectories, trajectory
from dataset_samples import bank_of, household, worlds

from edgexp.bank import Bank, Filters, task_text
from edgexp.environments.base import family_of_id
from edgexp.errors import EdgexpError
from edgexp.retrieval import Retrieval, VectorRetriever
from edgexp.training.demonstrations import Memories, asks_as_it_stores
from edgexp.training.recipe import Memory as Settings


class Prefixed(WordEncoder):
    """An encoder that wants a word before queries."""

    def encode(self, texts, *, query=False):
        return super().encode([f"query: {t}" if query else t for t in texts])


@pytest.fixture
def bank(tmp_path):
    with bank_of(tmp_path, [*trajectories(150), *trajectories(20, start=500), trajectory(900, environment="elsewhere")]) as opened:
        yield opened


def of(memory):
    return [r.trajectory.id for r in memory.recalled]


@pytest.mark.parametrize("settings", [Settings(), Settings(k=5), Settings(k=3, diversity=0.6)])
def test_matched_is_what_running_retrieves(bank, settings):
    memories = Memories(settings, bank, "household", 0)
    plainly = Retrieval(k=settings.k, diversity=settings.diversity, frame=False, usefulness=False)
    retriever = VectorRetriever(bank, plainly, filters=Filters(environment='household'))
    for t in bank.each(Filters(environment="household")):
        assert of(memories.find(t, "matched", 0)) == of(retriever.recall(t.task, t.goal, t.observation))


@pytest.mark.parametrize("settings", [Settings(), Settings(frame=True, usefulness=True)])
def test_matched_is_what_running_retrieves_with_the_real_encoder(tmp_path, encoder, settings):
    """Stored vectors are rounded to half precision; here that changes nothing."""
    with bank_of(tmp_path, household(300)[:60], encoder) as bank:
        memories = Memories(settings, bank, "household", 0)
        retriever = VectorRetriever(bank, settings.retrieval, Filters(environment="household"))
        for t in bank.each():
            assert of(memories.find(t, "matched")) == of(retriever.recall(t.task, t.goal, t.observation))


def test_a_stored_vector_is_not_made_again(bank):
    encoder = bank.embedder
    memories = Memories(Settings(), bank, "household", 0)
    memories.find(bank.get(bank.entries()[5].id), "matched", 0)
    before = encoder.encoded
    for t in bank.each(Filters(environment="household")):
        memories.find(t, "matched", 0)
    assert encoder.encoded == before


def test_an_encoder_with_a_prefix_for_queries_is_asked(tmp_path):
    assert asks_as_it_stores(WordEncoder()) and not asks_as_it_stores(Prefixed())
    with bank_of(tmp_path, trajectories(60), Prefixed()) as bank:
        memories = Memories(Settings(), bank, "household", 0)
        retriever = VectorRetriever(bank, Settings().retrieval, Filters(environment="household"))
        differ = 0
        for t in bank.each():
            found = of(memories.find(t, "matched"))
            assert found == of(retriever.recall(t.task, t.goal, t.observation))
            differ += found != of(retriever.recall(t.task, t.goal, t.observation, known=bank.vectors("task", [t.id])[0]))
        assert differ > 0


def test_mismatched_is_as_many_of_other_task_types(bank):
    memories = Memories(Settings(k=3), bank, "household", 0)
    drawn = set()
    for t in bank.each(Filters(environment="household")):
        for variant in range(4):
            found = [r.trajectory for r in memories.find(t, "mismatched", variant).recalled]
            assert len({f.id for f in found}) == 3
            assert all(f.task.type != t.task.type and f.task.environment == "household" for f in found)
            drawn.update(f.id for f in found)
    assert len(drawn) > 100  # not always the same


def test_mismatched_without_chance_is_what_a_bank_without_the_type_would_give(bank, tmp_path):
    memories = Memories(Settings(), bank, "household", 0)
    others = {kind: [t for t in bank.each(Filters(environment="household")) if t.task.type != kind] for kind in ("place", "heat", "cool")}
    for kind, held in others.items():
        with bank_of(tmp_path / kind, held) as poor:
            retriever = VectorRetriever(poor)
            for t in list(bank.each(Filters(environment="household", task_type=kind)))[:20]:
                assert of(memories.find(t, "mismatched")) == of(retriever.recall(t.task, t.goal, t.observation))


def test_in_worlds_mismatched_is_another_house_whatever_the_split(tmp_path):
    with bank_of(tmp_path, [*worlds("dev", 6), *worlds("dev-bank", 18)]) as bank:
        memories = Memories(Settings(), bank, "worlds", 0)
        for t in worlds("dev", 6):
            if t.success:
                strangers = [r.trajectory.task.id for n in (None, 0, 1) for r in memories.find(t, "mismatched", n).recalled]
                assert len(strangers) == 6 and all(family_of_id(s) != family_of_id(t.task.id) for s in strangers)


def test_shortened_is_matched_without_last_steps(bank):
    memories = Memories(Settings(), bank, "household", 0)
    lengths = set()
    for t in bank.each(Filters(environment="household")):
        whole, short = memories.find(t, "matched", 0), memories.find(t, "shortened", 0)
        assert short == memories.find(t, "shortened", 0)
        for a, b in zip(whole.recalled, short.recalled, strict=True):
            assert b.trajectory.steps == a.trajectory.steps[: len(b.trajectory.steps)] and b.trajectory.task == a.trajectory.task
            lengths.add(len(a.trajectory.steps) - len(b.trajectory.steps))
    assert {0, 1, 2, 3} <= lengths  # 0: of an episode of one step nothing can go


def test_the_family_of_what_is_kept_out_is_found_by_nobody(bank):
    gone = frozenset(f"household/train/{n}" for n in range(40))
    memories = Memories(Settings(k=4), bank, "household", 0, gone)
    for t in bank.each(Filters(environment="household")):
        for kind in ("matched", "mismatched", "shortened"):
            assert not gone & {r.trajectory.task.id for r in memories.find(t, kind, 0).recalled}


def test_absent_is_nothing_and_so_is_everything_of_an_empty_bank(tmp_path, bank):
    t = trajectory(3, success=True)
    assert of(Memories(Settings(), bank, "household", 0).find(t, "absent", 0)) == []
    assert of(Memories(Settings(k=0), bank, "household", 0).find(t, "matched", 0)) == []
    with bank_of(tmp_path / "alone", [t]) as alone:
        memories = Memories(Settings(), alone, "household", 0)
        assert all(of(memories.find(t, kind, 0)) == [] for kind in ("matched", "mismatched", "shortened", "absent"))


def test_mismatched_memory_of_a_bank_of_one_type_is_an_error(tmp_path):
    same = [t for t in trajectories(60) if t.task.type == "heat"]
    with bank_of(tmp_path, same) as bank:
        memories = Memories(Settings(), bank, "household", 0)
        assert not memories.has_strangers
        with pytest.raises(EdgexpError, match=r"nothing to mismatch with household/train/\d+: .* of one task type; take a memory\.mix"):
            memories.find(same[0], "mismatched", 0)


def test_a_bank_made_with_another_encoder_is_refused(tmp_path):
    with bank_of(tmp_path, trajectories(3)):
        pass
    with pytest.raises(EdgexpError, match=r"was embedded with words .*, not with others .*: `edgexp bank rebuild"):
        Bank.open(tmp_path, WordEncoder("others"))


def test_a_stored_vector_is_a_unit_vector_of_the_query(bank):
    t = bank.get(bank.entries()[0].id)
    stored = bank.vectors("task", [t.id])[0]
    assert np.allclose(stored, bank.embed(task_text(t.goal, t.observation)), atol=1e-3)
