"""Tools in plain words: how a prompt offers them, and how calls are read out of what a model wrote.

The words are those of Hermes, Qwen and Granite, whose templates write the same. Knows no tokens and no templates.
"""

import json
import re
import secrets
from collections.abc import Sequence
from typing import Any

from edgexp.serve.conversation import Call
from edgexp.serve.protocol import Tool

OPENS = "<tool_call>"
_CALL = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)

_OFFER = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def offer(tools: Sequence[Tool]) -> str:
    """What the system turn says of tools; empty where there are none."""
    return _OFFER.format(tools="\n".join(tool.line for tool in tools)) if tools else ""


def beginning(must_call: str | None) -> str:
    """How an answer has to begin in which a tool must be called: this one, or any (empty). Empty where none must be."""
    if must_call is None:
        return ""
    return f'{OPENS}\n{{"name": ' + (f'{json.dumps(must_call)}, "arguments": ' if must_call else '"')


def read_calls(text: str) -> tuple[str, tuple[Call, ...]]:
    """The text before the first call, and the calls. What begins like a call and is none stays text."""
    first = text.find(OPENS)
    if first < 0:
        return text, ()
    calls = [_call(body) for body in _CALL.findall(text[first:])]
    if not calls or any(call is None for call in calls):
        return text, ()
    return text[:first].strip(), tuple(call for call in calls if call is not None)


def _call(body: str) -> Call | None:
    try:
        told, _ = json.JSONDecoder().raw_decode(body)
    except (ValueError, RecursionError):
        return None
    name: Any = told.get("name") if isinstance(told, dict) else None
    if not isinstance(name, str) or not name:
        return None
    arguments = told.get("arguments", told.get("parameters", {}))
    spelt = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return Call(name, spelt, f"call_{secrets.token_hex(8)}")
