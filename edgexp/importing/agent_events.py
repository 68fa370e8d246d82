"""Session files that are written line by line while an agent works: Claude Code's, and goose's older ones. A file is one session.

Claude Code: each line names the one before it (`parentUuid`); the session is the path from its last message back to the first. What
sub-agents said (`isSidechain`), notes of the program itself and summaries are left out. Several lines of one answer are one turn.
goose: the first line describes the session, the others are messages.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgexp.importing.chat_records import turns_of_messages
from edgexp.importing.dialogue import Dialogue, Turn
from edgexp.importing.message_parts import result_words, text_field, words

Record = Mapping[str, Any]

_OF_THE_PROGRAM = ("<command-name>", "<command-message>", "<local-command-stdout>", "<local-command-caveat>", "Caveat: The messages below")
"""How notes begin that Claude Code itself writes in the user's name."""


def recognise_events(record: Any) -> str:
    """The format of a file that begins with this line, `claude-code` or `goose`; empty where it is neither."""
    if not isinstance(record, Mapping):
        return ""
    if {"sessionId", "type"} <= record.keys() or {"leafUuid", "summary"} <= record.keys() or {"uuid", "parentUuid"} <= record.keys():
        return "claude-code"
    if "working_dir" in record and not isinstance(record.get("messages"), list):
        return "goose"
    return ""


@dataclass(frozen=True)
class _Line:
    parent: str
    message: Record | None
    """None for what is no part of the conversation."""
    answer: str
    """The answer that it is a part of."""
    created: str


def read_claude_code(records: Iterable[Any]) -> list[Dialogue]:
    """The session of a file; none where it is a sub-agent's, or nothing was said."""
    lines: dict[str, _Line] = {}
    last = session = model = ""
    for record in records:
        if not isinstance(record, Mapping) or record.get("isSidechain") is True:
            continue
        identity = text_field(record, "uuid")
        message = record.get("message")
        said = message if isinstance(message, Mapping) and _is_said(record, message) else None
        if not identity:
            continue
        parent = text_field(record, "parentUuid") or text_field(record, "logicalParentUuid")
        lines.setdefault(identity, _Line(parent, said, text_field(said or {}, "id"), text_field(record, "timestamp")))
        if said is not None:
            last, session = identity, text_field(record, "sessionId") or session
            model = text_field(said, "model") or model
    path = _path(lines, last)
    if not path:
        return []
    results = _results(lines.values(), [name for line in path for name in _ids(line.message or {}, "tool_use", "id")])
    return [Dialogue(_merged(path, results), f"session {session[:80]}" if session else "", model=model, created=path[0].created)]


def _is_said(record: Record, message: Record) -> bool:
    """Whether a line is a part of the conversation."""
    if record.get("type") not in ("user", "assistant") or record.get("isMeta") is True or record.get("isApiErrorMessage") is True:
        return False
    if record.get("isCompactSummary") is True or record.get("isVisibleInTranscriptOnly") is True:
        return False
    return not (record["type"] == "user" and words(message.get("content")).lstrip().startswith(_OF_THE_PROGRAM))


def _path(lines: Mapping[str, _Line], last: str) -> list[_Line]:
    """What was said, from the first line to the last."""
    found: list[_Line] = []
    seen: set[str] = set()
    while last in lines and last not in seen:
        seen.add(last)
        if lines[last].message is not None:
            found.append(lines[last])
        last = lines[last].parent
    return found[::-1]


def _merged(path: Iterable[_Line], results: Mapping[str, str]) -> list[Turn]:
    """The turns. Lines of one answer are one turn, and the results of its calls follow it, wherever they stand in the file."""
    turns: list[Turn] = []
    waiting: list[str] = []
    before = ""
    for line in path:
        message = line.message or {}
        if message.get("role") == "assistant" and line.answer and line.answer == before:
            (said,) = turns_of_messages([message])
            last = turns.pop()
            turns.append(Turn("assistant", "\n".join(part for part in (last.text, said.text) if part), (*last.calls, *said.calls)))
        else:
            turns += [Turn("tool", results[identity]) for identity in waiting]
            waiting.clear()
            turns += turns_of_messages([_without(message, results)])
        waiting += [identity for identity in _ids(message, "tool_use", "id") if identity in results]
        before = line.answer if message.get("role") == "assistant" else ""
    return [*turns, *(Turn("tool", results[identity]) for identity in waiting)]


def _ids(message: Record, kind: str, field: str) -> list[str]:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return [text_field(part, field) for part in parts if isinstance(part, Mapping) and part.get("type") == kind]


def _without(message: Record, results: Mapping[str, str]) -> Record:
    """A message without the results that are told after their calls."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [part for part in content if not (isinstance(part, Mapping) and part.get("type") == "tool_result"
                                                                   and text_field(part, "tool_use_id") in results)]}


def _results(lines: Iterable[_Line], called: Iterable[str]) -> dict[str, str]:
    """What the calls of a session gave, by their ids."""
    wanted, found = set(called), dict[str, str]()
    for line in lines:
        content = (line.message or {}).get("content")
        for part in content if isinstance(content, list) else []:
            if isinstance(part, Mapping) and part.get("type") == "tool_result" and (name := text_field(part, "tool_use_id")) in wanted:
                found.setdefault(name, result_words(part))
    return found


def read_goose(records: Iterable[Any]) -> list[Dialogue]:
    """The session of a file of goose's."""
    messages = [record for record in records if isinstance(record, Mapping)]
    created = next((text for message in messages if (text := text_field(message, "created"))), "")
    return [Dialogue(turns_of_messages([message for message in messages if "role" in message]), created=created)]
