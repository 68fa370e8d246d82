"""Pieces of messages as programs write them: contents in parts, calls and results in their several shapes, calls inside texts.

Every function takes any JSON value and never fails: what is not understood is empty, or stands as a word for what it is (`[image]`).
Knows no format as a whole.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

_SILENT = ("thinking", "reasoning", "redacted_thinking", "tool_use", "tool_call", "toolRequest", "function_call", "systemNotification")
"""Parts that are no words of a message: thoughts, and calls, which `calls_in_parts` reads."""
_RESULTS = ("tool_result", "toolResponse", "function_call_output")
_DEEPEST = 20

_THOUGHTS = ("think", "thinking", "reasoning", "REASONING_SCRATCHPAD")
"""Tags that thoughts stand between."""
_WRITTEN_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_WRITTEN_RESULT = re.compile(r"<tool_response>(.*?)(?:</tool_response>|\Z)", re.DOTALL)


def words(value: Any, depth: int = 0) -> str:
    """The text of a message's content: a text, a list of parts, a part, or anything else as JSON."""
    if isinstance(value, str):
        return value
    if value is None or depth > _DEEPEST:
        return ""
    if isinstance(value, list):
        return "\n".join(text for part in value if (text := words(part, depth + 1)))
    if isinstance(value, Mapping):
        return _part(value, depth)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _part(part: Mapping[str, Any], depth: int) -> str:
    kind = part.get("type")
    if kind in _SILENT:
        return ""
    if kind in _RESULTS:
        return result_words(part, depth + 1)
    for key in ("text", "content", "value", "parts", "output"):
        if key in part and (text := words(part[key], depth + 1)):
            return text
    for what in ("image", "audio", "video", "file", "document"):
        if isinstance(kind, str) and what in kind:
            return f"[{what}]"
    return "" if "text" in part or "content" in part else as_json(part)


def result_words(part: Mapping[str, Any], depth: int = 0) -> str:
    """What a tool answered; `error: ` before it where the program says that it failed."""
    found = part.get("toolResult", part)
    failed = False
    if isinstance(found, Mapping):
        failed = bool(found.get("is_error") or found.get("isError")) or found.get("status") == "error"
        inner = found.get("value", found.get("content", found.get("output", found.get("error"))))
        if isinstance(inner, Mapping) and "content" in inner:
            failed = failed or bool(inner.get("isError") or inner.get("is_error"))
            inner = inner["content"]
        found = inner if inner is not None else found.get("error")
    text = words(found, depth + 1)
    return f"error: {text}" if failed and not text.lower().startswith("error") else text


def calls_in_message(message: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Calls beside a message's content, as OpenAI's protocol has them, new and old."""
    listed = message.get("tool_calls")
    for call in listed if isinstance(listed, list) else []:
        yield from _call(call)
    if isinstance(old := message.get("function_call"), Mapping):
        yield from _call(old)


def calls_in_parts(content: Any) -> Iterator[tuple[str, Any]]:
    """Calls among the parts of a content."""
    for part in content if isinstance(content, list) else []:
        if isinstance(part, Mapping) and part.get("type") in ("tool_use", "tool_call", "function_call"):
            yield from _call(part)
        elif isinstance(part, Mapping) and part.get("type") == "toolRequest":
            asked = part.get("toolCall")
            yield from _call(asked.get("value") if isinstance(asked, Mapping) else None)


def results_in_parts(content: Any) -> Iterator[str]:
    """Results of tools among the parts of a content."""
    for part in content if isinstance(content, list) else []:
        if isinstance(part, Mapping) and part.get("type") in _RESULTS:
            yield result_words(part)


def _call(value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        return
    inner = value.get("function")
    source = inner if isinstance(inner, Mapping) else value
    name = source.get("name") or source.get("tool_name") or inner
    if isinstance(name, str) and name:
        given: Any = next((source[key] for key in ("arguments", "input", "args", "parameters") if key in source), {})
        yield name, arguments_of(given)


def arguments_of(given: Any) -> Any:
    """The arguments of a call: a dictionary where they are one, as JSON or not; else the text that the model wrote."""
    if isinstance(given, str):
        try:
            read = msgspec.json.decode(given) if given.strip() else {}
        except (ValueError, RecursionError):
            return given
        return read if isinstance(read, dict) else given
    return {} if given is None else given if isinstance(given, dict) else as_json(given)


def split_written_calls(text: str) -> tuple[str, list[tuple[str, Any]]]:
    """A text without its thoughts and its `<tool_call>` blocks, and the calls in these. A block that is no call stays in the text."""
    calls: list[tuple[str, Any]] = []

    def taken(match: "re.Match[str]") -> str:
        found = list(_call(_decoded(match[1].strip())))
        calls.extend(found)
        return "" if found else match[0]

    return _WRITTEN_CALL.sub(taken, without_thoughts(text)).strip(), calls


def without_thoughts(text: str) -> str:
    """A text without what stands between tags of thinking; where only the end of a thought is there, it began with the text."""
    for tag in _THOUGHTS:
        begin, end = f"<{tag}>", f"</{tag}>"
        pieces = text.split(end)
        text = "".join([*(piece.partition(begin)[0] for piece in pieces[:-1]), pieces[-1]])
    return text


def unwrapped_results(text: str) -> str:
    """The contents of `<tool_response>` blocks, or the text as it is where there are none."""
    if "<tool_response>" not in text:
        return text
    return "\n\n".join(_result_text(block.strip()) for block in _WRITTEN_RESULT.findall(text))


def _result_text(block: str) -> str:
    read = _decoded(block)
    return words(read["content"]) if isinstance(read, Mapping) and "content" in read else block


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None


def as_json(value: Any) -> str:
    """Any value as JSON on one line; empty where it is none."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return ""


def text_field(record: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that holds a text or a number, as text; empty where none does."""
    for name in names:
        value = record.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value):
            return str(value)
    return ""


def number_field(record: Mapping[str, Any], *names: str) -> float | None:
    """The first of these fields that holds a number; None where none does."""
    for name in names:
        value = record.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:
                return None
    return None
