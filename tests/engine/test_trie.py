"""The tree of valid actions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.engine import decide

END = 0
words = st.lists(st.integers(1, 5), max_size=6).map(lambda tokens: (*tokens, END))


@given(st.lists(words, unique=True, min_size=1, max_size=12))
def test_every_sequence_is_found_by_walking_its_tokens(sequences):
    root = decide.build(sequences)
    for index, sequence in enumerate(sequences):
        node = root
        for token in sequence:
            node = node.children[token]
        assert node.leaf == index
    assert sorted(decide.leaves(root)) == list(range(len(sequences)))
    assert root.leaves == len(sequences)


@given(st.lists(words, unique=True, min_size=1, max_size=12))
def test_forced_tokens_are_what_all_sequences_share(sequences):
    tokens, node = decide.forced(decide.build(sequences))
    assert all(list(s[: len(tokens)]) == tokens for s in sequences)
    assert (node.leaf is not None) == (len(sequences) == 1)


@pytest.mark.parametrize("sequences", [[[]], [[1, END], [1, END]], [[1], [1, 2]], [[1, 2], [1]]])
def test_sequences_that_cannot_be_told_apart_are_refused(sequences):
    with pytest.raises(ValueError, match="sequence"):
        decide.build(sequences)
