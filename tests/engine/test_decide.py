"""Ways to act, over the real model and over scores made up here."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.engine import decide
from edgexp.engine.decide import Tree
from edgexp.engine.engine import TokenSequence

END = 0


def drive(deciding, scores):
    """Answer a generator from a function that gives scores for a list of ids; returns the decision and how often it asked."""
    asked = 0
    try:
        request = next(deciding)
        while True:
            asked += 1
            if isinstance(request, Tree):
                paths = []
                for parent, token in zip(request.parents, request.tokens, strict=True):
                    paths.append([*(paths[parent] if parent >= 0 else request.sequence.ids), token])
                request = deciding.send(np.array([scores(p) for p in paths]))
            else:
                request.logits, request.evaluated = scores(request.ids), len(request.ids)
                request = deciding.send(None)
    except StopIteration as stop:
        return stop.value, asked


def made_up(ids):
    return np.random.default_rng([*ids]).normal(size=8).astype(np.float32)


actions = st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=5).map(tuple), unique=True, min_size=1, max_size=9)


@given(actions)
def test_admissible_always_gives_a_valid_action(sequences):
    named = {" ".join(map(str, s)): [*s, END] for s in sequences}
    sequence = TokenSequence(0, [1])
    decision, asked = drive(decide.admissible(sequence, named), made_up)
    assert decision.text in named
    assert sequence.ids == [1, *named[decision.text]]
    assert asked == decision.generated
    known = decision.probability + sum(p for _, p in decision.alternatives)
    assert known == pytest.approx(1.0)


@given(actions)
def test_weighed_gives_the_product_of_the_branches(sequences):
    named = {" ".join(map(str, s)): [*s, END] for s in sequences}
    decision, _ = drive(decide.scored(TokenSequence(0, [1]), named), made_up)
    slow = {}
    for text, ids in named.items():
        probability, prefix = 1.0, [1]
        for token in ids:
            options = sorted({other[len(prefix) - 1] for other in named.values() if [1, *other[: len(prefix) - 1]] == prefix})
            shares = decide.softmax(made_up(prefix)[options])
            probability *= shares[options.index(token)]
            prefix.append(token)
        slow[text] = probability
    assert decision.probability == pytest.approx(max(slow.values()))
    assert dict([(decision.text, decision.probability), *decision.alternatives]) == pytest.approx(slow)


def test_forced_tokens_cost_no_evaluation():
    named = {"a": [3, 4, 5, END], "b": [3, 4, 6, END]}
    decision, asked = drive(decide.admissible(TokenSequence(0, [1]), named), made_up)
    assert (asked, decision.generated) == (1, 1)
    decision, asked = drive(decide.admissible(TokenSequence(0, [1]), {"a": [3, 4, 5, END]}), made_up)
    assert (asked, decision.probability) == (0, 1.0)


def test_sampling_follows_the_probabilities_and_the_seed():
    logits = np.log(np.array([0.1, 0.6, 0.3], np.float32))
    draw = decide.sampler(1.0, 7)
    share = np.bincount([draw(logits) for _ in range(4000)], minlength=3) / 4000
    np.testing.assert_allclose(share, [0.1, 0.6, 0.3], atol=0.03)
    one, other = decide.sampler(1.0, 3), decide.sampler(1.0, 3)
    assert [one(logits) for _ in range(50)] == [other(logits) for _ in range(50)]


def test_free_speaks_until_the_end_of_turn(engine, sequence, model, template):
    start = model.vocabulary.control("<|im_start|>user\nSay only: yes<|im_end|>\n<|im_start|>assistant\n")
    sequence.append(start)
    deciding = decide.free(sequence, model.vocabulary, template.end, limit=12)
    with pytest.raises(StopIteration) as stop:
        request = next(deciding)
        while True:
            engine.evaluate([request])
            request = deciding.send(None)
    decision = stop.value.value
    assert decision.text and "\n" not in decision.text
    assert sequence.ids == [*start, *model.vocabulary.encode(decision.text), *template.end]


def test_free_respells_what_the_tokenizer_would_spell_otherwise(model, template):
    """A model that says 'go' letter by letter leaves the ids the tokenizer gives for 'go'."""
    vocabulary = model.vocabulary
    letters = [*vocabulary.encode("g"), *vocabulary.encode("o"), template.end[0]]
    assert letters[:2] != vocabulary.encode("go")

    def spelling(ids):
        logits = np.zeros(len(vocabulary), np.float32)
        logits[letters[min(len(ids) - 1, 2)]] = 1
        return logits

    sequence = TokenSequence(0, [1])
    decision, _ = drive(decide.free(sequence, vocabulary, template.end), spelling)
    assert decision.text == "go" and decision.generated == 3
    assert sequence.ids == [1, *vocabulary.encode("go"), *template.end]
    assert sequence.evaluated == 1
