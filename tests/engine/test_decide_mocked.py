"""Ways to act, over a model that is a function of the ids: whatever it thinks, what comes out is an action that can be taken."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mock_engine import VOCABULARY, MockEngine, by_chance, saying
from numpy.typing import NDArray

from edgexp.engine import decide
from edgexp.engine.decide import Chooser, Deciding, Request, Tree, greedy, sampler
from edgexp.engine.engine import TokenSequence
from edgexp.engine.tokenizer import Tokenizer
from edgexp.trajectory import Decision

END = [257]
PROMPT = VOCABULARY.control("<|im_start|>user\nGo on.<|im_end|>\n<|im_start|>assistant\n")

texts = st.text(max_size=20)
words = st.sampled_from(["go to", "take", "open", "look", "put", "the", "mug", "shelf 1", "shelf 12", "shelf", "", "é", "go"])
valid = st.lists(st.lists(words, max_size=4).map(" ".join), unique=True, min_size=1, max_size=12)
choosers = st.one_of(st.just(greedy), st.builds(sampler, st.floats(0.1, 9), st.integers(0, 99)))


def spelt(actions: Sequence[str]) -> dict[str, list[int]]:
    """Actions as a renderer offers them."""
    return {action: [*VOCABULARY.encode(action), *END] for action in actions}


def drive(deciding: Deciding, engine: MockEngine) -> tuple[Decision, list[Request]]:
    """Let an engine answer until the decision is there; the decision, and what was asked."""
    asked: list[Request] = []
    answer = None
    while True:
        try:
            request = deciding.send(answer)
        except StopIteration as stop:
            return stop.value, asked
        asked.append(request)
        if isinstance(request, Tree):
            answer = engine.evaluate_tree(request.sequence, request.parents, request.tokens)
        else:
            engine.evaluate([request])
            answer = None


def prompted(more: str = "") -> TokenSequence:
    """A sequence of which nothing is evaluated yet."""
    return TokenSequence(0, [*PROMPT, *VOCABULARY.encode(more)])


def shares(actions: Mapping[str, Sequence[int]], before: Sequence[int]) -> dict[str, float]:
    """Each action's probability, token by token among the tokens that are possible there. Slow and plain."""
    result = {}
    for action, ids in actions.items():
        share = 1.0
        for place in range(len(ids)):
            possible = sorted({other[place] for other in actions.values() if list(other[:place]) == list(ids[:place])})
            logits = by_chance([*before, *ids[:place]])[possible].astype(np.float64)
            weights = np.exp(logits - logits.max())
            share *= float(weights[possible.index(ids[place])] / weights.sum())
        result[action] = share
    return result


@given(valid, choosers, texts)
def test_a_walk_through_valid_actions_takes_one_of_them(actions: list[str], choose: Chooser, before: str) -> None:
    named, sequence, engine = spelt(actions), prompted(before), MockEngine()
    start = list(sequence.ids)
    decision, asked = drive(decide.admissible(sequence, named, choose), engine)
    assert decision.text in actions and sequence.ids == [*start, *named[decision.text]] and sequence.ids[-1:] == END
    assert decision.probability == pytest.approx(shares(named, start)[decision.text])
    assert decision.probability + sum(share for _, share in decision.alternatives) == pytest.approx(1)
    assert decision.generated == len(asked) == len(engine.batches)


@given(valid, texts)
def test_only_where_actions_part_is_anything_evaluated(actions: list[str], before: str) -> None:
    """What is forced waits, and runs with the next observation: no token is run for it alone."""
    named, sequence, engine = spelt(actions), prompted(before), MockEngine()
    start = len(sequence.ids)
    decision, asked = drive(decide.admissible(sequence, named), engine)
    ids = named[decision.text]
    parting = [place for place in range(len(ids)) if len({other[place] for other in named.values() if other[:place] == ids[:place]}) > 1]
    assert len(asked) == len(parting)
    assert sequence.evaluated == (start + parting[-1] if parting else 0) == engine.evaluated
    assert len(actions) > 1 or (not asked and decision.probability == 1 and decision.alternatives == ())


@given(valid, choosers, texts)
def test_scoring_gives_every_actions_probability(actions: list[str], choose: Chooser, before: str) -> None:
    named, sequence, engine = spelt(actions), prompted(before), MockEngine()
    start = list(sequence.ids)
    decision, asked = drive(decide.scored(sequence, named, choose), engine)
    assert decision.text in actions and sequence.ids == [*start, *named[decision.text]]
    every = dict([(decision.text, decision.probability), *decision.alternatives])
    assert every == pytest.approx(shares(named, start)) and sum(share or 0 for share in every.values()) == pytest.approx(1)
    assert len(every) == len(actions) == len(decision.alternatives) + 1
    rest = [share for _, share in decision.alternatives]
    assert rest == sorted(rest, reverse=True)
    assert len(asked) <= 2 and sequence.evaluated == len(start), "the prompt, and one tree"


@given(valid, texts)
def test_scoring_takes_the_likeliest_and_a_walk_that_of_the_likeliest_turns(actions: list[str], before: str) -> None:
    named = spelt(actions)
    expected = shares(named, prompted(before).ids)
    scored, _ = drive(decide.scored(prompted(before), named), MockEngine())
    assert expected[scored.text] == pytest.approx(max(expected.values()))
    walked, _ = drive(decide.admissible(prompted(before), named), MockEngine())
    assert walked.probability is not None and walked.probability <= max(expected.values()) * (1 + 1e-9)


@given(valid)
def test_a_tree_asks_for_each_shared_beginning_once_and_for_no_forced_end(actions: list[str]) -> None:
    named = spelt(actions)
    _, asked = drive(decide.scored(prompted(), named), MockEngine())
    beginnings = {tuple(ids[:length]) for ids in named.values() for length in range(1, len(ids))}
    needed = {b for b in beginnings if any(
        len({ids[len(longer)] for ids in named.values() if tuple(ids[: len(longer)]) == longer}) > 1
        for longer in beginnings if longer[: len(b)] == b
    )}  # fmt: skip
    trees = [request for request in asked if isinstance(request, Tree)]
    assert sum(len(tree.tokens) for tree in trees) == len(needed)
    for tree in trees:
        paths: list[tuple[int, ...]] = []
        for parent, token in zip(tree.parents, tree.tokens, strict=True):
            assert parent < len(paths), "parents first"
            paths.append((*(paths[parent] if parent >= 0 else ()), token))
        assert set(paths) == needed


@given(valid, st.integers(0, 11))
def test_a_model_that_knows_what_it_wants_gets_it(actions: list[str], number: int) -> None:
    wanted = actions[number % len(actions)]
    for walk in (decide.admissible, decide.scored):
        decision, _ = drive(walk(prompted(), spelt(actions)), MockEngine(saying(lambda _: wanted)))
        assert decision.text == wanted and (decision.probability or 0) > 0.99


@given(texts, st.integers(1, 40))
def test_free_text_ends_with_the_turns_end_and_is_spelt_as_the_tokenizer_spells_it(wanted: str, limit: int) -> None:
    sequence, engine = prompted(), MockEngine(saying(lambda _: wanted))
    decision, asked = drive(decide.free(sequence, VOCABULARY, END, limit=limit), engine)
    assert sequence.ids == [*PROMPT, *VOCABULARY.encode(decision.text), *END]
    assert decision.text == decision.text.strip() and len(decision.text.splitlines()) <= 1
    assert decision.generated == len(asked) <= limit
    assert decision.probability is None and decision.alternatives == ()
    said = wanted.encode("utf-8", "replace")
    if decision.stop == "end":
        assert decision.generated == len(said) + 1
    elif decision.stop == "length":
        assert decision.generated == limit <= len(said)
    else:
        assert decision.stop == "newline" and "\n" in wanted


@given(st.integers(0, 10**6), st.integers(1, 12), choosers)
def test_free_text_of_any_model_leaves_ids_that_can_be_rendered_again(seed: int, limit: int, choose: Chooser) -> None:
    """Of bytes that are no UTF-8 too, and of control tokens that a model says in the middle of its turn."""
    sequence = prompted(str(seed))
    start = list(sequence.ids)
    decision, _ = drive(decide.free(sequence, VOCABULARY, END, choose, limit), MockEngine())
    assert sequence.ids == [*start, *VOCABULARY.encode(decision.text), *END]
    assert not any(map(VOCABULARY.is_control, sequence.ids[len(start) : -1]))
    assert sequence.evaluated <= len(sequence.ids)
    again = TokenSequence(1, list(sequence.ids))
    engine = MockEngine()
    engine.evaluate([sequence, again])
    assert np.array_equal(sequence.logits, again.logits), "a rewound sequence is as good as a new one"  # type: ignore[arg-type]


@pytest.mark.parametrize(("said", "kept", "stop"), [
    ("go north", "go north", "end"),
    ("  go north  ", "go north", "end"),
    ("\n\n  go north\nand then", "go north", "newline"),
    ("go north\r\nthen", "go north", "newline"),
    ("", "", "end"),
    (" \n ", "", "end"),
    ("go\u2028north", "go", "end"),
    ("a" * 99, "a" * 64, "length"),
    ("\n" * 70, "", "length"),
])
def test_the_first_line_of_what_is_said_is_the_action(said: str, kept: str, stop: str) -> None:
    decision, _ = drive(decide.free(prompted(), VOCABULARY, END), MockEngine(saying(lambda _: said)))
    assert (decision.text, decision.stop) == (kept, stop)


def preferring(*answers: str) -> MockEngine:
    """A model that says the first of some texts; where it has begun otherwise, the first that begins so."""

    def think(ids: Sequence[int]) -> NDArray[np.float32]:
        said = VOCABULARY.decode(ids[len(PROMPT) :])
        logits = np.zeros(len(VOCABULARY), np.float32)
        for rank, answer in enumerate(answers):
            if answer.startswith(said):
                token = [*VOCABULARY.encode(answer), 257][len(said)]
                logits[token] = max(logits[token], 30 - rank)
        return logits

    return MockEngine(think)


SHELVES = tuple(f"go to shelf {number}" for number in range(5, 9))


@pytest.mark.parametrize(("said", "futile", "kept"), [
    (("go to shelf 5", "look"), {"go to shelf 5"}, "look"),
    (("go to shelf 5", "go to desk 1", "look"), {"go to shelf 5"}, "go to desk 1"),
    ((*SHELVES, "take mug 1"), {*SHELVES}, "take mug 1"),
    (("look", "take mug 1"), {"go to shelf 5"}, "look"),
    (("go to shelf 5", "", "look"), {"go to shelf 5"}, "look"),
])
def test_what_is_futile_gives_way_to_the_likeliest_other_text(said: tuple[str, ...], futile: set[str], kept: str) -> None:
    sequence, engine = prompted(), preferring(*said)
    decision, asked = drive(decide.free(sequence, VOCABULARY, END, limit=20, futile=futile.__contains__), engine)
    assert decision.text == kept and decision.stop == "end" and decision.generated == len(asked)
    assert sequence.ids == [*PROMPT, *VOCABULARY.encode(kept), *END]


def test_where_all_is_futile_the_first_text_stays() -> None:
    decision, _ = drive(decide.free(prompted(), VOCABULARY, END, futile=lambda _: True), preferring("go to shelf 5", "look"))
    assert decision.text == "go to shelf 5"


@given(st.integers(0, 10**6), st.sets(st.integers(0, 255), max_size=200), st.integers(0, 9))
def test_second_thoughts_of_any_model_are_not_futile_or_are_its_first(seed: int, barred: set[int], heat: int) -> None:
    def chooser(heat: int) -> Chooser:
        return sampler(heat, seed) if heat else greedy

    sequence = prompted(str(seed))
    start = list(sequence.ids)
    plain, _ = drive(decide.free(prompted(str(seed)), VOCABULARY, END, chooser(heat), 6), MockEngine())
    futile = frozenset(VOCABULARY.decode([byte]).strip() for byte in barred)
    decision, asked = drive(decide.free(sequence, VOCABULARY, END, chooser(heat), 6, futile=lambda text: text[:1] in futile), MockEngine())
    assert decision.text[:1] not in futile or decision.text == plain.text
    assert plain.text[:1] in futile or decision == plain
    assert sequence.ids == [*start, *VOCABULARY.encode(decision.text), *END] and decision.generated == len(asked)


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20), st.floats(0.05, 20), st.integers(0, 999))
def test_chance_takes_what_is_there_and_the_same_for_the_same_seed(logits: list[float], temperature: float, seed: int) -> None:
    scores = np.array(logits, np.float32)
    drawn = [draw(scores) for draw in [sampler(temperature, seed)] for _ in range(20)]
    assert set(drawn) <= set(range(len(logits)))
    assert drawn == [draw(scores) for draw in [sampler(temperature, seed)] for _ in range(20)]
    assert greedy(scores) == int(np.argmax(scores))
    assert {sampler(1e-3, seed)(np.array([0, 5, 1], np.float32))} == {1}


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=30))
def test_shares_sum_to_one_and_keep_the_order(logits: list[float]) -> None:
    scores = np.array(logits, np.float32)
    values = decide.softmax(scores)
    assert values.sum() == pytest.approx(1) and (values >= 0).all() and values.dtype == np.float64
    assert (np.diff(values[np.argsort(scores, kind="stable")]) >= 0).all()


def test_beginnings_that_were_not_followed_are_named_by_what_they_share() -> None:
    actions = ["take mug 1", "take mug 2", "take vase", "look", "go"]
    decision, _ = drive(decide.admissible(prompted(), spelt(actions)), MockEngine(saying(lambda _: "look")))
    assert {name for name, _ in decision.alternatives} == {"take …", "go"}
    decision, _ = drive(decide.admissible(prompted(), spelt(actions)), MockEngine(saying(lambda _: "take vase")))
    assert {name for name, _ in decision.alternatives} == {"take mug …", "look", "go"}


def test_the_mock_vocabulary_is_a_tokenizer() -> None:
    tokenizer: Tokenizer = VOCABULARY
    assert tokenizer.decode(tokenizer.encode("go")) == "go" and tokenizer.is_end(257) and not tokenizer.is_end(256)


# Token sequences themselves.

ids = st.lists(st.integers(0, 3), max_size=12)


@given(ids, ids, st.integers(0, 12))
def test_replacing_keeps_what_is_the_same_at_the_front(before: list[int], after: list[int], start: int) -> None:
    start = min(start, len(before))
    sequence = TokenSequence(0, list(before), evaluated=len(before), logits=np.zeros(3, np.float32))
    kept = sequence.replace(after, start)
    assert sequence.ids == [*before[:start], *after]
    same = next((n for n, (a, b) in enumerate(zip(before[start:], after, strict=False)) if a != b), min(len(before) - start, len(after)))
    assert kept == sequence.evaluated == start + same
    assert (sequence.logits is not None) == (sequence.ids == before)


@given(ids, st.integers(0, 15), ids)
def test_cutting_and_appending(before: list[int], length: int, more: list[int]) -> None:
    sequence = TokenSequence(0, list(before), evaluated=len(before), logits=np.zeros(3, np.float32))
    sequence.cut(length)
    assert sequence.ids == before[:length] and sequence.evaluated == min(length, len(before))
    assert (sequence.logits is None) == (length < len(before))
    sequence.append(more)
    assert sequence.ids == [*before[:length], *more] and sequence.evaluated == min(length, len(before))
    assert not more or sequence.logits is None


@pytest.mark.parametrize(("said", "text", "stop"), [
    ("SELECT 1;\nSELECT 2;", "SELECT 1;\nSELECT 2;", "end"), ("```sql\nSELECT 1\n```\nThat is it.", "SELECT 1", "closed"),
    ("Here it is:\n```python\n\n  a = 1\n    b\n\n```", "  a = 1\n    b", "closed"), ("```\nnever closed", "never closed", "end"),
    ("  one line  ", "one line", "end"), ("```\n```", "", "closed"), ("", "", "end"), ("a `b` c\n`d`", "a `b` c\n`d`", "end"),
])  # fmt: skip
def test_a_block_has_many_lines_and_ends_with_its_fence(said: str, text: str, stop: str) -> None:
    sequence = prompted()
    decision, _ = drive(decide.free(sequence, VOCABULARY, END, limit=200, read=decide.block_of), MockEngine(saying(lambda _: said)))
    assert (decision.text, decision.stop) == (text, stop)
    assert sequence.ids == [*PROMPT, *VOCABULARY.encode(text), *END]


def test_a_block_that_is_too_long_is_cut() -> None:
    endless = MockEngine(saying(lambda _: "line\n" * 50))
    decision, _ = drive(decide.free(prompted(), VOCABULARY, END, limit=20, read=decide.block_of), endless)
    assert decision == Decision("line\nline\nline\nline", 20, stop="length")


@given(st.text(), st.text())
def test_a_block_that_is_taken_out_has_nothing_to_be_taken_out_of(before: str, inside: str) -> None:
    """Unless it has fences itself."""
    block, closed = decide.block_of(f"{before}\n```\n{inside}\n```\n")
    assert closed or "```" in before + inside
    if "`" not in before + inside:
        assert block == inside.strip("\n").rstrip() and decide.block_of(block) == (block.strip(), False)
