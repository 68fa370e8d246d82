"""Calls as other models write them: what can mean one thing only is read as that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schema_samples import NASTY
from test_calls import calls

from edgexp.environments.call_forms import read_forms
from edgexp.environments.calls import parse_calls, write_call, write_calls

FAN = 'HassTurnOn(name="Fan", on=true, n=[1,null])'


@pytest.mark.parametrize("text", [
    FAN, f"  {FAN}  ", f"```\n{FAN}\n```", "HassTurnOn(name='Fan', on=True, n=[1, None])", "[HassTurnOn(name='Fan', on=true, n=(1, null))]",
    '<tool_call>\n{"name": "HassTurnOn", "arguments": {"name": "Fan", "on": true, "n": [1, null]}}\n</tool_call>',
    '{"name": "HassTurnOn", "parameters": {"name": "Fan", "on": true, "n": [1, null]}}',
    '```json\n{"name": "HassTurnOn", "arguments": {"name": "Fan", "on": true, "n": [1, null]}}\n```',
    '[{"function": {"name": "HassTurnOn", "arguments": "{\\"name\\": \\"Fan\\", \\"on\\": true, \\"n\\": [1, null]}"}}]',
    '[TOOL_CALLS]HassTurnOn[ARGS]{"name": "Fan", "on": true, "n": [1, null]}',
    "<|tool_call_start|>[HassTurnOn(name='Fan', on=True, n=[1, None])]<|tool_call_end|>",
])  # fmt: skip
def test_the_same_call_in_many_forms(text: str) -> None:
    found, complete = read_forms(text)
    assert found == FAN and complete is text.lstrip().startswith(("<", "[", "{", "```"))


def test_several_calls() -> None:
    two = '<tool_call>{"name": "a"}</tool_call>\n<tool_call>{"name": "b", "arguments": {"x": 1}}</tool_call>'
    assert read_forms(two) == ("a(); b(x=1)", True) and read_forms("[a(), b(x=1)]") == ("a(); b(x=1)", True)


@pytest.mark.parametrize(("text", "line"), [
    ("", ""), ("I think so.\nHassTurnOn()", "I think so."), ("{'a': 1}", "{'a': 1}"), ('{"name": 5}', '{"name": 5}'), ("[1, 2]", "[1, 2]"),
    ("<tool_call>\nnonsense\n</tool_call>", "<tool_call>"), ("f(1)", "f(1)"), ("f(**x)", "f(**x)"), ("f(a=g())", "f(a=g())"),
    ("x = f()", "x = f()"),
    ("f(a=1 if True else 2)", "f(a=1 if True else 2)"), ('f(a="\\d")', 'f(a="\\\\d")'),
    ("{" * 9_000, "{" * 9_000), ("[" * 9_000, "[" * 9_000),
    ("f(a=" + "(" * 3_000, "f(a=" + "(" * 3_000), ("f(a=" + "-" * 9_000 + "1)", "f(a=" + "-" * 9_000 + "1)"),
])  # fmt: skip
def test_what_is_no_call_stays_its_first_line(text: str, line: str) -> None:
    assert read_forms(text)[0] == line


beginnings = st.sampled_from(["<tool_call>", "{", "[", "```", "f(a=", "[TOOL_CALLS]f[ARGS]"])


@given(st.one_of(st.text(), NASTY, st.tuples(beginnings, NASTY).map("".join)))
def test_any_text_is_calls_or_a_line(text: str) -> None:
    found, _ = read_forms(text)
    assert len(found.splitlines()) <= 1
    if found not in (text.strip().splitlines() or [""])[0]:
        assert write_calls(parse_calls(found)) == found


@given(st.lists(calls, min_size=1, max_size=3))
def test_our_own_form_is_read_as_it_is(given_: list) -> None:  # type: ignore[type-arg]
    text = "; ".join(map(write_call, given_))
    assert read_forms(text) == (text, False)
