"""How a server is made to choose among actions, and how an action is read out of what a model said. Asks no server.

Servers have no common way to make a model choose. Each way is an addition to a question; a server that does not know it ignores or refuses
it, so it has to be tried.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from edgexp.engine.decide import Reading, block_of
from edgexp.environments.base import Environment, action_form_of, tools_of, valid_actions_of
from edgexp.environments.call_forms import read_forms

Method = Literal["structured_outputs", "guided_choice", "grammar", "json_schema"]
"""How a server is made to choose: vLLM's way, its older one, llama-server's, and the one that Ollama, LM Studio and others share."""
PROBE = ("qvx seventy", "wzk ninety")
"""What no model says unless it has to choose among these two."""

_OPEN, _CLOSE = (re.compile(rf"<{slash}(?:think|thinking|thought|reasoning)>", re.IGNORECASE) for slash in ("", "/"))
_CONTROLS = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")


def restrict(method: Method, choices: Sequence[str]) -> Mapping[str, Any]:
    """What to add to a question so that its answer is one of the choices."""
    if method == "structured_outputs":
        return {"structured_outputs": {"choice": list(choices)}}
    if method == "guided_choice":
        return {"guided_choice": list(choices)}
    if method == "grammar":
        return {"grammar": "root ::= " + " | ".join(map(_literal, choices))}
    schema = {"type": "object", "properties": {"action": {"type": "string", "enum": list(choices)}}, "required": ["action"],
              "additionalProperties": False}  # fmt: skip
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "action", "strict": True, "schema": schema}}}


def chosen(text: str, method: Method) -> str:
    """Which choice an answer is."""
    text = without_thoughts(text).strip() or text.strip()
    if method != "json_schema":
        return text
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return text
    action = told.get("action") if isinstance(told, dict) else None
    return action if isinstance(action, str) else text


def without_thoughts(text: str) -> str:
    """A text without what stands between `<think>` and `</think>`; nothing of it where the thought does not end."""
    end = 0
    for close in _CLOSE.finditer(text):
        end = close.end()
    opened = _OPEN.search(text, end)
    rest = text[end : opened.start() if opened else None]
    first, closed = _OPEN.search(text), _CLOSE.search(text)
    said_before = first is not None and (closed is None or first.start() < closed.start())
    return text[: first.start()] if not rest.strip() and first is not None and said_before else rest


def first_line(text: str) -> str:
    """The first line of an answer that says something, without thoughts and control characters."""
    lines = (line.strip() for line in _CONTROLS.sub("", without_thoughts(text)).splitlines())
    return next((line for line in lines if line), "")


def cleaned(text: str) -> str:
    """An answer of many lines, without thoughts and control characters."""
    return _CONTROLS.sub("", without_thoughts(text)).replace("\r\n", "\n")


def reading_of(environment: Environment) -> Reading | None:
    """How an action is read out of what a model writes freely for an environment; None where it is a line."""
    if tools_of(environment) is not None and valid_actions_of(environment) is None:
        return read_forms
    return block_of if action_form_of(environment) == "block" else None


def _literal(text: str) -> str:
    """A text in llama.cpp's grammars."""
    letters = (f"\\x{ord(letter):02x}" if letter < " " else "\\" + letter if letter in '"\\' else letter for letter in text)
    return f'"{"".join(letters)}"'
