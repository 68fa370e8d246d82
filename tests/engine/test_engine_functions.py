"""What an engine does before and after llama.cpp: trees as lists, batches of equal length, probabilities. No weights."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mock_engine import MockEngine, by_chance

from edgexp.engine import engine as module
from edgexp.engine.branches import chunks as chunks_of
from edgexp.engine.branches import join, leaf_paths
from edgexp.engine.decide import softmax
from edgexp.engine.engine import Engine, TokenSequence, log_probability
from edgexp.engine.sequence import Shared

continuations = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=8)


@given(continuations)
def test_continuations_become_a_tree_in_which_each_beginning_is_one_node(given_: list[list[int]]) -> None:
    parents, tokens, places = join(given_)
    paths: list[tuple[int, ...]] = []
    for parent, token in zip(parents, tokens, strict=True):
        assert parent < len(paths), "parents first"
        paths.append((*(paths[parent] if parent >= 0 else ()), token))
    assert len(set(paths)) == len(paths)
    assert set(paths) == {tuple(one[:length]) for one in given_ for length in range(1, len(one))}, "last tokens need no run of their own"
    for one, nodes in zip(given_, places, strict=True):
        assert [paths[node] for node in nodes] == [tuple(one[:length]) for length in range(1, len(one))]


@given(continuations)
def test_paths_lead_from_the_root_to_every_leaf(given_: list[list[int]]) -> None:
    parents, _, _ = join(given_)
    paths = leaf_paths(parents)
    assert {node for path in paths for node in path} == set(range(len(parents)))
    for path in paths:
        assert [parents[node] for node in path] == [-1, *path[:-1]]
        assert path[-1] not in parents
    assert len({path[-1] for path in paths}) == len(paths)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=12))
def test_sequences_are_batched_by_how_much_is_pending_the_shortest_first(lengths: list[tuple[int, int]]) -> None:
    sequences = [TokenSequence(n, [0] * total, evaluated=min(seen, total)) for n, (total, seen) in enumerate(lengths)]
    batches = module._equal(sequences)
    pending = [{len(s.ids) - s.evaluated for s in batch} for batch in batches]
    assert all(len(one) == 1 for one in pending)
    amounts = [one.pop() for one in pending]
    assert amounts == sorted(set(amounts))
    assert sorted(s.slot for batch in batches for s in batch) == list(range(len(sequences)))


@given(st.lists(st.integers()), st.integers(1, 5))
def test_chunks_are_all_items_in_order(items: list[int], size: int) -> None:
    chunks = chunks_of(items, size)
    assert [item for chunk in chunks for item in chunk] == items
    assert all(len(chunk) == size for chunk in chunks[:-1]) and all(0 < len(chunk) <= size for chunk in chunks)


@given(st.lists(st.floats(-500, 500, width=32), min_size=1, max_size=30))
def test_logarithms_are_those_of_the_shares(logits: list[float]) -> None:
    scores = np.array(logits, np.float32)
    logs = [log_probability(scores, token) for token in range(len(scores))]
    assert np.exp(logs) == pytest.approx(softmax(scores), abs=1e-12)
    assert all(np.isfinite(logs)) and max(logs) <= 1e-12


@given(continuations, st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_scoring_continuations_is_scoring_token_by_token(given_: list[list[int]], before: list[int]) -> None:
    """The real method over a mock: what it makes of trees, without llama.cpp."""

    class Scoring(MockEngine):
        _width = 258
        score: Any = Engine.score

    sequence = TokenSequence(0, list(before))
    scores = Scoring().score(sequence, given_)
    assert sequence.ids == before
    for one, found in zip(given_, scores, strict=True):
        assert list(found) == [log_probability(by_chance([*before, *one[:place]]), token) for place, token in enumerate(one)]


blocks_of_ids = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), max_size=4)


@given(st.lists(st.integers(0, 9), max_size=5), blocks_of_ids, st.randoms(use_true_random=False))
def test_what_is_shared_hangs_on_neither_order_nor_repeats(prefix: list[int], blocks: list[list[int]], chance: Any) -> None:
    shared = Shared.make(prefix, blocks)
    mixed = blocks + blocks[:1]
    chance.shuffle(mixed)
    assert Shared.make(prefix, mixed) == shared
    assert shared.end == len(prefix) + max(map(len, blocks), default=0)
    assert shared.cells == len(prefix) + sum(map(len, set(map(tuple, blocks))))


@given(st.lists(st.integers(0, 9), max_size=5), blocks_of_ids, blocks_of_ids, st.lists(st.integers(0, 9), min_size=1))
def test_a_sequence_forgets_its_own_ids_where_it_shares_something_new(prefix: Any, first: Any, second: Any, own: list[int]) -> None:
    sequence = TokenSequence(0)
    sequence.share(prefix, first)
    sequence.append(own)
    sequence.evaluated = len(own)
    sequence.share(prefix, second)
    same = Shared.make(prefix, first) == Shared.make(prefix, second)
    assert sequence.ids == (own if same else []) and sequence.evaluated == (len(own) if same else 0)
    assert sequence.base == sequence.shared.end and sequence.cells == sequence.shared.cells + len(sequence.ids)


def test_an_empty_block_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Shared.make([1], [[2], []])
