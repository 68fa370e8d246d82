"""Deciding along a grammar, over a model that is a function of the ids: whatever it thinks, what comes out is of the grammar."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mock_engine import VOCABULARY, MockEngine, by_chance, saying
from schema_samples import is_possible, tools
from test_decide_mocked import END, choosers, drive, prompted

from edgexp.engine.decide import greedy
from edgexp.engine.guided import Guesses, guided
from edgexp.environments.calls import Call, Tool, check_call, parse_calls, read_calls, write_calls
from edgexp.play.call_grammar import grammar_of
from edgexp.trajectory import Decision

NONE = Guesses()


def decide(offered: Sequence[Tool], *, most: int = 1, unwanted: Sequence[str] = (), seen: Sequence[str] = (), choose: Any = greedy,
           limit: int = 200, think: Any = by_chance, guesses: Guesses = NONE) -> tuple[Decision, MockEngine, list[int]]:
    """A decision among calls, the engine that was asked, and the ids of the action."""
    sequence, engine = prompted(), MockEngine(think)
    before = len(sequence.ids)
    decision, _ = drive(guided(sequence, VOCABULARY, END, grammar_of(offered, most, seen), choose, limit, guesses, unwanted), engine)
    return decision, engine, sequence.ids[before:]


@given(tools, choosers, st.integers(1, 3), st.sampled_from([0, 8, 60, 200]), st.lists(st.text(max_size=6), max_size=3))
def test_a_call_always_validates(offered: list[Tool], choose: Any, most: int, limit: int, seen: list[str]) -> None:
    assume(any(map(is_possible, offered)))
    decision, engine, ids = decide(offered, most=most, seen=seen, choose=choose, limit=limit)
    calls = read_calls(decision.text, offered, most)
    assert write_calls(calls) == decision.text, "it is spelt as we spell calls"
    assert decision.text.isprintable() or not set(decision.text) & {"\n", "\r", "\x85", "\u2028", "\u2029"}
    assert len(decision.text.splitlines()) == 1
    assert ids == [*VOCABULARY.encode(decision.text), *END]
    assert decision.generated == len(engine.batches)
    assert decision.probability is not None and 0 <= decision.probability <= 1 + 1e-9


LIGHTS = Tool("TurnOn", "", {"type": "object", "properties": {
    "name": {"enum": ["Garden Light", "Garden", "Garage"]}, "brightness": {"type": "integer", "minimum": 0, "maximum": 100},
    "area": {"type": "string", "examples": ["Kitchen table", "Kitchen"]}}, "required": ["name"]})  # fmt: skip
STOP = Tool("Stop")


@pytest.mark.parametrize("wanted", [
    'TurnOn(name="Garden Light")', 'TurnOn(name="Garden")', 'TurnOn(name="Garage", brightness=100)', 'TurnOn(name="Garage", brightness=10)',
    'TurnOn(name="Garden", brightness=0, area="Kitchen")', 'TurnOn(name="Garden", area="Kitchen table")', "Stop()",
    'TurnOn(name="Garden", area="Kitchenette")', 'TurnOn(name="Garden", area="")', 'TurnOn(name="Garden", area="a \\"b\\" \\\\ \\n é 😀")',
    'Stop(); TurnOn(name="Garage")', "Stop(); Stop(); Stop()",
])  # fmt: skip
def test_a_model_that_knows_what_it_wants_gets_it(wanted: str) -> None:
    decision, _, _ = decide([LIGHTS, STOP], most=3, think=saying(lambda _: wanted))
    assert decision.text == wanted and decision.stop == "end"
    assert decision.probability == pytest.approx(1, abs=1e-4)


def test_what_leaves_no_choice_is_not_evaluated() -> None:
    only = Tool("Press", "", {"type": "object", "properties": {"button": {"const": "red"}, "times": {"enum": [2]}},
                              "required": ["button", "times"]})  # fmt: skip
    decision, engine, ids = decide([only])
    assert decision == Decision('Press(button="red", times=2)', 0, 1.0) and not engine.batches and ids[-1:] == END


@pytest.mark.parametrize(("text", "examples", "runs"), [
    ("oat milk", (), 9), ("oat milk", ("oat milk",), 2), ("oat milk", ("oat milk", "bread"), 2),
    ("oat bread", ("oat milk", "oat bread"), 3), ("oat", ("oat milk",), 2), ("oats and beans", ("oat milk",), 13), ("", ("oat milk",), 1),
])  # fmt: skip
def test_known_texts_cost_no_run_beyond_where_they_part(text: str, examples: tuple[str, ...], runs: int) -> None:
    """Without them every letter costs one, for each is a token here; a guess is of at most eight tokens."""
    add = Tool("Add", "", {"type": "object", "properties": {"item": {"type": "string", "examples": list(examples)}}, "required": ["item"]})
    decision, engine, _ = decide([add], seen=["nothing like it"], think=saying(lambda _: f'Add(item="{text}")'))
    assert decision.text == f'Add(item="{text}")' and decision.generated == len(engine.batches) == runs


def test_names_seen_are_guessed_too() -> None:
    add = Tool("Add", "", {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]})
    decision, _, _ = decide([add], seen=["oat milk"], think=saying(lambda _: 'Add(item="oat milk")'))
    assert decision.generated == 1, "the only one is guessed from its beginning"


@pytest.mark.parametrize(("guesses", "runs"), [
    (NONE, 8), (Guesses(('TurnOn(name="Garden Light", brightness=50)',)), 4), (Guesses(hint="turn on the garden light"), 7),
    (Guesses(("Stop()", 'TurnOn(name="Garage")'), "the garage"), 8),
])  # fmt: skip
def test_what_was_decided_before_or_is_named_is_guessed(guesses: Guesses, runs: int) -> None:
    """A wrong guess costs no run either."""
    decision, engine, _ = decide([LIGHTS, STOP], guesses=guesses, think=saying(lambda _: 'TurnOn(name="Garden Light", brightness=50)'))
    assert decision.text == 'TurnOn(name="Garden Light", brightness=50)' and decision.generated == len(engine.batches) == runs


@given(tools, choosers, st.lists(st.text(max_size=8), max_size=3), st.text(max_size=9))
def test_no_guess_changes_what_is_decided(offered: list[Tool], choose: Any, texts: list[str], hint: str) -> None:
    assume(any(map(is_possible, offered)))
    plain, _, ids = decide(offered)
    other, _, _ = decide(offered, think=lambda ids: -by_chance(ids))
    guessed, _, again = decide(offered, guesses=Guesses((other.text, plain.text, *texts), hint + other.text))
    assert (guessed.text, guessed.probability, again) == (plain.text, pytest.approx(plain.probability), ids)
    assert guessed.generated <= plain.generated


@given(choosers, st.integers(0, 9), st.lists(st.text(min_size=1, max_size=8), max_size=4))
def test_guessing_changes_nothing(choose: Any, salt: int, examples: list[str]) -> None:
    """The same model says the same with guesses and without: they are evaluated, and never taken for granted."""
    from edgexp.engine.decide import sampler

    def think(ids: Sequence[int]) -> Any:
        scores = by_chance([salt, *ids]) * 2
        scores[ord('"')] += 2
        return scores

    def said(known: list[str]) -> tuple[str, float | None]:
        add = Tool("Add", "", {"type": "object", "properties": {"item": {"type": "string", "examples": known}}, "required": ["item"]})
        decision, _, _ = decide([add], choose=sampler(1.0, salt), think=think)
        return decision.text, decision.probability

    plain, guessed = said([]), said(examples)
    assert plain[0] == guessed[0] and plain[1] == pytest.approx(guessed[1])


@given(tools)
def test_shares_of_what_was_not_taken_are_told(offered: list[Tool]) -> None:
    assume(any(map(is_possible, offered)))
    decision, _, _ = decide(offered)
    assert all(0 <= share <= 1 + 1e-9 for _, share in decision.alternatives)
    assert [share for _, share in decision.alternatives] == sorted((share for _, share in decision.alternatives), reverse=True)


def test_alternatives_are_named() -> None:
    lamp = Tool("On", "", {"type": "object", "properties": {"name": {"enum": ["red", "blue"]}}, "required": ["name"]})
    decision, _, _ = decide([lamp], think=saying(lambda _: 'On(name="red")'))
    assert decision.text == 'On(name="red")' and [text for text, _ in decision.alternatives] == ['On(name="blue")']
    assert decision.probability + decision.alternatives[0][1] == pytest.approx(1)


def test_a_walk_of_closed_parts_sums_to_one() -> None:
    level = {"type": "integer", "minimum": 0, "maximum": 12}
    lamp = Tool("On", "", {"type": "object", "properties": {"name": {"enum": ["a", "ab", "b"]}, "level": level}, "required": ["name"]})
    decision, _, _ = decide([lamp, STOP])
    assert decision.probability + sum(share for _, share in decision.alternatives) == pytest.approx(1)


def test_the_limit_ends_a_text_that_never_ends() -> None:
    add = Tool("Add", "", {"type": "object", "properties": {"item": {"type": "string"}, "n": {"enum": [1, 2]}}, "required": ["item", "n"]})
    decision, _, ids = decide([add], limit=30, think=saying(lambda _: f'Add(item="{"long " * 50}'))
    assert decision.stop == "length" and decision.text.startswith('Add(item="long long') and decision.text.endswith('", n=1)')
    assert check_call(parse_calls(decision.text)[0], [add]) == "" and len(ids) < 40


def test_calls_are_parsed_as_they_were_meant() -> None:
    decision, _, _ = decide([LIGHTS], think=saying(lambda _: 'TurnOn(name="Garage", brightness=37)'))
    assert parse_calls(decision.text) == [Call("TurnOn", {"name": "Garage", "brightness": 37})]


LAMP = Tool("Lamp", "", {"type": "object", "properties": {"name": {"enum": ["a", "b", "c"]}, "on": {"type": "boolean"}},
                         "required": ["name"]})  # fmt: skip


def test_what_is_unwanted_is_not_said_again() -> None:
    """Each other call is the nearest choice made otherwise."""
    said: list[str] = []
    for _ in range(6):
        decision, _, ids = decide([LAMP], unwanted=said, think=saying(lambda _: 'Lamp(name="b", on=true)'))
        assert decision.text not in said and ids == [*VOCABULARY.encode(decision.text), *END]
        said.append(decision.text)
    assert said[0] == 'Lamp(name="b", on=true)' and len({*said}) == 6
    assert decide([STOP], unwanted=["Stop()"])[0].text == "Stop()", "where all are unwanted one of them is said"


def test_to_say_something_else_costs_no_run_for_what_was_looked_at() -> None:
    once, first, _ = decide([LAMP], think=by_chance)
    other, engine, _ = decide([LAMP], unwanted=[once.text], think=by_chance)
    assert other.text != once.text and len(engine.batches) <= len(first.batches) + 3
    assert read_calls(other.text, [LAMP])
