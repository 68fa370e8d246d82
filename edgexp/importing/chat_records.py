"""Sessions of which each is one JSON object: OpenAI's fine-tuning format, ShareGPT, and what agents and tools make of these two.

| format | known by | outcome |
|---|---|---|
| `edgexp` | `task`, `goal` and `steps` | its own |
| `openai` | `messages` with `role`; also `prompt` and `completion` | none |
| `art` | `messages` and `reward` | `reward`, 1 or more is success |
| `sharegpt` | `conversations` with `from`, or with `role` | `kto_tag` |
| `hermes` | `conversations` and `completed`, with calls in `<tool_call>` | none: completed does not mean right |
| `eto` | `conversations` that begin with instructions and `OK` | `reward` |
| `open-webui` | `chat` with messages; also ratings with a `snapshot` | the rating |
| `inspect` | `messages` and `scores`; a whole log has `samples` | the first score that says something |

A reader takes an object and gives the sessions in it. What is not as it should be is passed over; a session in which nothing is said is
refused later, where trajectories are made.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from edgexp.importing.dialogue import Dialogue, Role, Turn
from edgexp.importing.message_parts import (
    calls_in_message,
    calls_in_parts,
    number_field,
    results_in_parts,
    split_written_calls,
    text_field,
    unwrapped_results,
    without_thoughts,
    words,
)

Record = Mapping[str, Any]

_ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant",
    "bing": "assistant", "bard": "assistant", "model": "assistant", "bot": "assistant", "ai": "assistant",
    "function_call": "assistant", "tool": "tool", "function": "tool", "observation": "tool", "tool_response": "tool", "ipython": "tool",
}  # fmt: skip


def recognise(record: Any) -> str:
    """The format of an object; empty where it is none of these."""
    if not isinstance(record, Mapping):
        return ""
    if {"task", "goal", "steps"} <= record.keys():
        return "edgexp"
    if isinstance(record.get("samples"), list) and "eval" in record:
        return "inspect"
    if isinstance(record.get("chat"), Mapping) or isinstance(record.get("snapshot"), Mapping):
        return "open-webui"
    if isinstance(told := record.get("conversations", record.get("conversation")), list):
        return _kind_of_conversation(record, told)
    if isinstance(record.get("messages"), list):
        return "inspect" if "scores" in record and "epoch" in record else "art" if "reward" in record else "openai"
    if isinstance(record.get("prompt"), list) and isinstance(record.get("completion"), list):
        return "openai"
    return ""


def _kind_of_conversation(record: Record, told: Sequence[Any]) -> str:
    if "completed" in record:
        return "hermes"
    second = told[1] if len(told) > 1 and isinstance(told[1], Mapping) else {}
    return "eto" if str(second.get("value", "")).strip().rstrip(".") == "OK" else "sharegpt"


def _read_openai(record: Record) -> Iterator[Dialogue]:
    """One conversation."""
    messages = record.get("messages")
    if not isinstance(messages, list):
        messages = [*_list(record.get("prompt")), *_list(record.get("completion"))]
    yield _dialogue(record, turns_of_messages(messages))


def _read_art(record: Record) -> Iterator[Dialogue]:
    (dialogue,) = _read_openai(record)
    reward = number_field(record, "reward")
    if reward is not None:
        dialogue.score, dialogue.success = reward, reward >= 1
    yield dialogue


def turns_of_messages(messages: Sequence[Any]) -> list[Turn]:
    """The turns of messages with `role` and `content`; results of tools among the parts of a user's content are turns of their own."""
    turns: list[Turn] = []
    for message in messages:
        role = _ROLES.get(text_field(message, "role").lower()) if isinstance(message, Mapping) else None
        if role is None:
            continue
        content = message.get("content")
        if role == "assistant":
            turns.append(_assistant(words(content), [*calls_in_parts(content), *calls_in_message(message)]))
            continue
        turns += [Turn("tool", result) for result in results_in_parts(content)]
        rest = [part for part in content if not _is_result(part)] if isinstance(content, list) else content
        if text := words(rest):
            turns.append(Turn(role, text))
    return turns


def _is_result(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in ("tool_result", "toolResponse", "function_call_output")


def _assistant(text: str, calls: Sequence[tuple[str, Any]]) -> Turn:
    """What an assistant says; calls that it only wrote are found in the text."""
    text, written = split_written_calls(text)
    return Turn("assistant", text, (*written, *calls))


def _read_sharegpt(record: Record) -> Iterator[Dialogue]:
    """One conversation; `kto_tag` says whether it was wanted."""
    told = record.get("conversations", record.get("conversation"))
    dialogue = _dialogue(record, turns_of_conversation(_list(told)))
    if isinstance(record.get("kto_tag"), bool):
        dialogue.success = record["kto_tag"]
    yield dialogue


def turns_of_conversation(told: Sequence[Any]) -> list[Turn]:
    """The turns of a list with `from` and `value`, or with `role` and `content`; also of `human` and `assistant` as keys."""
    if any(isinstance(said, Mapping) and "role" in said and "from" not in said for said in told):
        return turns_of_messages(told)
    turns: list[Turn] = []
    for said in told:
        if not isinstance(said, Mapping):
            continue
        if "from" not in said:
            turns += [_assistant(words(said[key]), ()) if role == "assistant" else Turn(role, words(said[key]))
                      for key in said if (role := _ROLES.get(key)) is not None]  # fmt: skip
            continue
        name = text_field(said, "from").lower()
        role, text = _ROLES.get(name), words(said.get("value"))
        if role == "assistant":
            turns.append(_function_call(text) if name == "function_call" else _assistant(text, ()))
        elif role is not None:
            turns.append(Turn(role, unwrapped_results(text)))
    return turns


def _function_call(text: str) -> Turn:
    """A turn that is a call in JSON, or several in a list."""
    found = split_written_calls(f"<tool_call>{text}</tool_call>")[1]
    return Turn("assistant", "" if found else without_thoughts(text), tuple(found))


def _read_eto(record: Record) -> Iterator[Dialogue]:
    """Instructions and `OK`, then goal, thoughts with actions, and observations."""
    told = _list(record.get("conversations"))
    dialogue = _dialogue(record, turns_of_conversation(told[2:]))
    meta = record.get("meta")
    reward = number_field(record, "reward")
    reward = number_field(meta, "reward") if reward is None and isinstance(meta, Mapping) else reward
    if reward is not None:
        dialogue.score, dialogue.success = reward, reward >= 1
    yield dialogue


def _read_open_webui(record: Record) -> Iterator[Dialogue]:
    """A chat along its last branch; of a rating, the chat that it holds."""
    holder, data = record, record.get("data")
    if isinstance(snapshot := record.get("snapshot"), Mapping):
        inner = snapshot.get("chat")
        holder = inner if isinstance(inner, Mapping) and isinstance(inner.get("chat"), Mapping) else snapshot
    chat = holder.get("chat")
    if not isinstance(chat, Mapping):
        return
    messages = _branch(chat)
    dialogue = _dialogue(holder, turns_of_messages(messages))
    if not dialogue.model:
        dialogue.model = next((model for m in messages if isinstance(m, Mapping) and (model := text_field(m, "model"))), "")
    rating = number_field(data, "rating") if isinstance(data, Mapping) else _last_rating(messages)
    if rating:
        dialogue.success = rating > 0
    yield dialogue


def _branch(chat: Record) -> list[Any]:
    """The messages from the first to the current one; the plain list where there is no tree."""
    history = chat.get("history")
    if not isinstance(history, Mapping) or not isinstance(known := history.get("messages"), Mapping):
        return _list(chat.get("messages"))
    found: list[Any] = []
    seen: set[str] = set()
    current = history.get("currentId", history.get("current_id"))
    while isinstance(current, str) and current not in seen and isinstance(message := known.get(current), Mapping):
        seen.add(current)
        found.append(message)
        current = message.get("parentId")
    return found[::-1] or _list(chat.get("messages"))


def _last_rating(messages: Sequence[Any]) -> float | None:
    notes = [message.get("annotation") for message in messages if isinstance(message, Mapping)]
    ratings = [number_field(note, "rating") for note in notes if isinstance(note, Mapping)]
    return next((rating for rating in reversed(ratings) if rating), None)


def _read_inspect(record: Record) -> Iterator[Dialogue]:
    """Samples of a log, or one sample."""
    samples = record.get("samples")
    told = record.get("eval")
    model = text_field(told, "model") if isinstance(told, Mapping) else ""
    for sample in samples if isinstance(samples, list) else [record]:
        if isinstance(sample, Mapping):
            yield _sample(sample, model)


def _sample(sample: Record, model: str) -> Dialogue:
    attached = sample.get("attachments")
    messages = _with_attachments(_list(sample.get("messages")), attached if isinstance(attached, Mapping) else {})
    dialogue = _dialogue(sample, turns_of_messages(messages))
    dialogue.place = f"sample {text_field(sample, 'id')} of epoch {text_field(sample, 'epoch') or 1}"
    output = sample.get("output")
    dialogue.model = model or (text_field(output, "model") if isinstance(output, Mapping) else "")
    scores = sample.get("scores")
    for score in scores.values() if isinstance(scores, Mapping) else ():
        value = _score(score.get("value") if isinstance(score, Mapping) else None)
        if value is not None:
            dialogue.score, dialogue.success = value, value >= 1
            break
    return dialogue


def _score(value: Any) -> float | None:
    """A score as a number: `C`orrect, `P`artial, `I`ncorrect, `N`o answer, a truth or a number."""
    if isinstance(value, str):
        return {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}.get(value)
    return float(value) if isinstance(value, bool) else number_field({"value": value}, "value")


def _with_attachments(value: Any, attached: Record, depth: int = 0) -> Any:
    """Texts that are kept apart, put back where they are named."""
    if isinstance(value, str) and value.startswith("attachment://"):
        return attached.get(value.removeprefix("attachment://"), value)
    if depth > 10:
        return value
    if isinstance(value, list):
        return [_with_attachments(part, attached, depth + 1) for part in value]
    if isinstance(value, Mapping):
        return {key: _with_attachments(part, attached, depth + 1) for key, part in value.items()}
    return value


def _dialogue(record: Record, turns: list[Turn]) -> Dialogue:
    return Dialogue(turns, model=text_field(record, "model", "model_id"), created=text_field(record, "created_at", "created", "timestamp"))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


READERS: dict[str, Callable[[Record], Iterator[Dialogue]]] = {
    "openai": _read_openai,
    "art": _read_art,
    "sharegpt": _read_sharegpt,
    "hermes": _read_sharegpt,
    "eto": _read_eto,
    "open-webui": _read_open_webui,
    "inspect": _read_inspect,
}
"""Format → what reads an object of it. `edgexp` is read as a trajectory and is not here."""
