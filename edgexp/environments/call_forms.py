"""Calls as other models write them, in our form: JSON between `<tool_call>` and `</tool_call>`, bare JSON, Mistral's `NAME[ARGS]{…}`, and
Python as LFM2 writes it. Knows no environment and no model.

A model that writes freely writes as it was trained to. What can mean one thing only is read as that; the rest stays what it is, and is
answered as what it is.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

from edgexp.environments.calls import BadCall, Call, parse_calls, write_calls

_WRAPPERS = ("<tool_call>", "</tool_call>", "<|tool_call_start|>", "<|tool_call_end|>", "[TOOL_CALLS]", "<|python_tag|>")
_OPENS, _CLOSES = ("<tool_call>", "<|tool_call_start|>", "```"), ("</tool_call>", "<|tool_call_end|>", "```")
_OTHERS = (*_WRAPPERS, "```", "{", "[")
"""How other forms begin; they may have several lines."""
_WRAPPED = re.compile("|".join(map(re.escape, _WRAPPERS)) + r"|```\w*")
_MISTRAL = re.compile(r"\s*([\w.$/:@-]+)\s*\[ARGS\]\s*")
LONGEST = 10_000
"""Characters of a text that is tried as Python."""


def read_forms(text: str) -> tuple[str, bool]:
    """Calls in our form, and whether they are complete; the first line that says something, where a text is no calls."""
    stripped = text.lstrip()
    lines = stripped.splitlines()
    if not stripped.startswith(_OTHERS):
        line = lines[0].strip() if lines else ""
        return _in_our_form(line) or line, "\n" in stripped
    found = _in_our_form(stripped)
    opened = next((close for begin, close in zip(_OPENS, _CLOSES, strict=True) if stripped.startswith(begin)), "")
    return found or (lines[0].strip() if lines else ""), bool(found) and stripped.rstrip().endswith(opened)


def _in_our_form(text: str) -> str:
    """Calls in our form; empty where the text is none that can be read."""
    body = _WRAPPED.sub(" ", text).strip()
    for read in (parse_calls, _json_calls, _python_calls):
        try:
            if calls := list(read(body)):
                return write_calls(calls)
        except (BadCall, ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return ""


def _json_calls(body: str) -> Iterator[Call]:
    """Objects with a name and arguments, one after the other or in a list. Raises ValueError for anything else."""
    decoder, place = json.JSONDecoder(), 0
    while place < len(body):
        named = _MISTRAL.match(body, place)
        value, place = decoder.raw_decode(body, named.end() if named else place)
        if named:
            yield Call(named[1], _arguments(value))
        else:
            yield from (_call(one) for one in (value if isinstance(value, list) else [value]))
        while place < len(body) and body[place] in " \t\r\n,;":
            place += 1


def _call(value: Any) -> Call:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError("no call")
    return Call(value["name"], _arguments(next((value[key] for key in ("arguments", "parameters", "args") if key in value), {})))


def _arguments(value: Any) -> dict[str, Any]:
    given = json.loads(value) if isinstance(value, str) else value
    if not isinstance(given, dict):
        raise ValueError("no arguments")
    return given


def _python_calls(body: str) -> Iterator[Call]:
    """Calls with named literals, in a list or one after the other. Raises ValueError for anything else."""
    if len(body) > LONGEST:
        raise ValueError("too long")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python does not know
        parsed = ast.parse(body)
    for statement in parsed.body:
        if not isinstance(statement, ast.Expr):
            raise ValueError("no call")
        for node in statement.value.elts if isinstance(statement.value, ast.List | ast.Tuple) else [statement.value]:
            if not isinstance(node, ast.Call) or node.args or not all(keyword.arg for keyword in node.keywords):
                raise ValueError("no call by names")
            yield Call(ast.unparse(node.func), {str(keyword.arg): _literal(keyword.value) for keyword in node.keywords})


def _literal(node: ast.expr) -> Any:
    """A JSON value; `true`, `false` and `null` are meant as JSON has them."""
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(one) for one in node.elts]
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key) if key else "": _literal(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.Name) and node.id in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[node.id]
    return ast.literal_eval(node)
