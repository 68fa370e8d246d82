"""What a chat template writes around the turns, as texts: Jinja is rendered with placeholders for the turns, and what stands between
them is the template. Knows no tokens and no vocabulary.

A template is a program that a stranger wrote. `python -m edgexp.prompt.template_texts` answers one on standard input, so that it can be run
in a process of its own, with limits; see `template.py`. That is why this module imports nothing but the standard library at its top.
"""

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

MOST_WRITTEN = 1_000_000
"""Characters that a template may write for six turns of a word each."""
MOST_AROUND = 100_000
"""Characters that may stand around the turns."""
PROCESSOR_SECONDS, MEMORY_BYTES = 4, 1 << 30
"""What the process of its own may use, where the system can limit it."""

THINKING_OFF: dict[str, Any] = {"enable_thinking": False, "thinking": False, "thinking_budget": 0, "thinking_mode": "disabled"}
"""The names under which templates let thinking be switched off. A template that has none of them does not see them."""

THINK_UNASKED = {"<beginning_of_sentence>ai name=assistant\n": "<think>\n\n</think>\n\n"}
"""How answers begin → an empty thought, of models that think and whose templates say nothing of it: MiniMax-M1."""

LEFT_ON = "thinking not switched off"

VARIABLES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("", THINKING_OFF),
    ("tools=None", {**THINKING_OFF, "tools": None, "documents": None}),
    ("tools=[]", {**THINKING_OFF, "tools": [], "documents": [], "functions": "[]", "datetime": "26 Jul 2024"}),
    (LEFT_ON, {}),
)
"""What is set besides the conversation, in the order in which it is tried."""

_PLACES: tuple[str, ...] = ("PLACEHOLDERA", "PLACEHOLDERB", "PLACEHOLDERC", "PLACEHOLDERD", "PLACEHOLDERE", "PLACEHOLDERF")
_THOUGHT = "PLACEHOLDERT"
_ROLES: tuple[str, ...] = ("system", "user", "assistant", "user", "assistant", "user")

_TAG = r"(?:\w+:)?(?:think|thinking|thought|reasoning)(?::\w+)?"
THOUGHTS = (
    (rf"<({_TAG})>", r"</\1>"),
    (r"\[(THINK|THINKING|REASONING)\]", r"[/\1]"),
    (r"<\|START_THINKING\|>", "<|END_THINKING|>"),
    (r"<\|begin_of_(thought|thinking)\|>", r"<|end_of_\1|>"),
    (r"<\|channel>thought\n?", "<channel|>"),
    (r"<\|open\|>think<\|sep\|>", "<|close|>think<|sep|>"),
    (r"<\|inner_prefix\|>", "<|inner_suffix|>"),
    (r"Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
)
"""How a thought is opened (a pattern) and closed."""
_CLOSED = re.compile(rf".*(?:</{_TAG}>|\[/(?:THINK|THINKING|REASONING)\]|<\|END_THINKING\|>|<\|end_of_(?:thought|thinking)\|>|<channel\|>"
                     r"|<\|close\|>think<\|sep\|>|<\|inner_suffix\|>|\[BEGIN FINAL RESPONSE\])", re.DOTALL)  # fmt: skip


class Refused(Exception):
    """A template that cannot be used, and why: what follows `this chat template …`."""


class TooMuch(Refused):
    """A template that no other way of asking would make usable."""


@dataclass(frozen=True)
class Texts:
    """The texts around the turns: `before` system `after_system` user `after_user` action `between` user `after_user` action …"""

    before: str
    after_system: str
    after_user: str
    between: str
    done: tuple[str, ...] = ()
    """What had to be done for it, in words."""


Rendering = Callable[[slice], list[str]]
"""What the template writes around the turns of a slice of the conversation, the model's next turn begun."""
Way = Callable[[Rendering, list[str]], Texts]
"""How the system text is taken. Raises Refused where the template does not fit."""


def search(source: str, bos: str = "", eos: str = "") -> tuple[list[Texts], str]:
    """Every way in which a template can be used, the best first, and the first complaint ("" where there is none). Raises nothing."""
    complaints: list[str] = []
    try:
        compiled = compile_template(source)
        for way in (_in_order, _moved, _folded):
            found = _found(compiled, way, bos, eos, complaints)
            if found:
                return found, ""
    except Refused as error:
        return [], str(error)
    return [], complaints[0]


def _found(compiled: Any, way: Way, bos: str, eos: str, complaints: list[str]) -> list[Texts]:
    """What one way to take the system text gives, over all forms of a message and all variables."""
    found: list[Texts] = []
    for parts in (False, True):
        for name, variables in VARIABLES:
            rendering = _rendering(compiled, parts, {"bos_token": bos, "eos_token": eos, **variables})
            try:
                texts = way(rendering, [*(["content as typed parts"] if parts else []), *([name] if name else [])])
            except TooMuch:
                raise
            except Refused as error:
                complaints.append(str(error))
                continue
            if not any(_written(texts) == _written(other) for other in found):
                found.append(texts)
    if len(found) > 1 and LEFT_ON not in found[0].done and any(LEFT_ON in other.done for other in found[1:]):
        found[0] = replace(found[0], done=("thinking switched off", *found[0].done))
    elif found:
        found[0] = _without_thinking(compiled, found[0], {"bos_token": bos, "eos_token": eos, **VARIABLES[1][1]})
    return found


def _without_thinking(compiled: Any, texts: Texts, variables: Mapping[str, Any]) -> Texts:
    """The same with an empty thought where an answer begins, if the model thinks and the template says nothing of it there."""
    if _CLOSED.search(texts.after_user):
        return texts
    unsaid = (empty for header, empty in THINK_UNASKED.items() if texts.after_user.endswith(header))
    empty = _empty_thought(compiled, texts.after_user, variables) or next(unsaid, "")
    return replace(texts, after_user=texts.after_user + empty, done=(*texts.done, "empty thought in every turn")) if empty else texts


def _empty_thought(compiled: Any, header: str, variables: Mapping[str, Any]) -> str:
    """How the template writes the thought of an answer that came with one, without its words; empty where it writes none."""
    answer = {"role": "assistant", "content": _PLACES[2], **dict.fromkeys(("thinking", "reasoning_content"), _THOUGHT)}
    try:
        text = write(compiled, [{"role": "user", "content": _PLACES[1]}, answer], generation=False, **variables)
    except Refused:
        return ""
    between = text.partition(_PLACES[1])[2].partition(_PLACES[2])[0]
    opens, found, closes = between.removeprefix(header).partition(_THOUGHT)
    empty = opens + closes
    return empty if found and between.startswith(header) and _close_thought(opens) and not _close_thought(empty) else ""


def _rendering(compiled: Any, parts: bool, variables: Mapping[str, Any]) -> Rendering:
    def rendering(turns: slice) -> list[str]:
        places, roles = _PLACES[turns], _ROLES[turns]
        content: Callable[[str], Any] = (lambda text: [{"type": "text", "text": text}]) if parts else (lambda text: text)
        messages = [{"role": role, "content": content(place)} for role, place in zip(roles, places, strict=True)]
        pieces = _split(write(compiled, messages, **variables), places, roles)
        if parts and any(re.search(r"""['"]text['"]: ['"]$""", piece) for piece in pieces):
            raise Refused("writes typed parts as they are")
        return pieces

    return rendering


def _in_order(rendering: Rendering, done: list[str]) -> Texts:
    """The system turn stands first, as in the messages."""
    before, after_system, *turns = rendering(slice(0, 6))
    if rendering(slice(0, 2)) != [before, after_system, turns[-1]]:
        raise Refused("rewrites its beginning as turns are added")
    return _texts(before, after_system, turns, done)


def _moved(rendering: Rendering, done: list[str]) -> Texts:
    """The system text goes with the last user's: it is put where it stands while there is only one."""
    before, after_system, last = rendering(slice(0, 2))
    alone, *turns = rendering(slice(1, 6))
    if last != turns[-1] or not before.startswith(alone):
        raise Refused("rewrites its beginning as turns are added")
    return _texts(before, after_system, turns, [*done, "system text kept in the first user turn"])


def _folded(rendering: Rendering, done: list[str]) -> Texts:
    """There is no system turn: its text begins the first user's."""
    before, *turns = rendering(slice(1, 6))
    if rendering(slice(1, 2)) != [before, turns[-1]]:
        raise Refused("rewrites its beginning as turns are added")
    return _texts(before, "\n\n", turns, [*done, "system text folded into the first user turn"])


def _texts(before: str, after_system: str, turns: list[str], done: list[str]) -> Texts:
    first, between, second, again, last = turns
    if between != again:
        raise Refused("treats later turns differently")
    after_user, also = begin_answer(last, first if first == second else "")
    written = f"{before}{after_system}{after_user}{between}"
    if written.encode("utf-8", "replace").decode() != written:
        raise Refused("writes text that is no Unicode")
    if len(written) > MOST_AROUND:
        raise Refused(f"writes more than {MOST_AROUND:,} characters around the turns")
    return Texts(before, after_system, after_user, between, (*done, *also))


def begin_answer(prompt: str, past: str) -> tuple[str, list[str]]:
    """What stands between a user's text and the model's, and what was done for it.

    `prompt` is what the template writes where the model is to go on, `past` what it writes before an answer that was given. What a model
    says of itself before it answers (a channel, an empty thought) is taken from `past`; a thought that `prompt` opens is closed at once.
    """
    goes_on = past.startswith(prompt)
    start = past if goes_on else prompt
    done = ["header of an answer taken from the history"] if goes_on and past[len(prompt) :].strip() else []
    closing = _close_thought(start)
    if closing:
        start, done = start + closing, ["opened thought closed"]
    if not goes_on:
        shared = _shared(prompt, past)
        header = _CLOSED.sub("", past[len(shared) :], count=1)
        if past and header.strip() and not _CLOSED.sub("", start[len(shared) :], count=1).strip():
            start, done = start + header, [*done, "header of an answer taken from the history"]
    if not done and prompt != past:
        done = ["empty thought in every turn"] if _CLOSED.search(start) else []
    return start, done


def _close_thought(text: str) -> str:
    """What closes the thought that a text leaves open; empty where it leaves none."""
    for opening, closing in THOUGHTS:
        for last in list(re.finditer(opening, text))[-1:]:
            closed = last.expand(closing)
            if closed in text[last.end() :]:
                continue
            if text.endswith("\n") and closed.startswith(("</", "[")):
                return f"\n{closed}\n\n"  # as Qwen3 writes an empty thought, and those that followed it
            return closed
    return ""


def _shared(one: str, other: str) -> str:
    """The common beginning, without a part of a marker at its end."""
    length = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    same = one[:length]
    opened = max(same.rfind("<"), same.rfind("["))
    return same[:opened] if opened > max(same.rfind(">"), same.rfind("]")) else same


def _written(texts: Texts) -> tuple[str, ...]:
    return (texts.before, texts.after_system, texts.after_user, texts.between)


def _split(text: str, places: tuple[str, ...], roles: tuple[str, ...]) -> list[str]:
    """What stands before, between and after the placeholders."""
    pieces = []
    for place, role in zip(places, roles, strict=True):
        piece, found, text = text.partition(place)
        if not found:
            raise Refused(f"drops or reorders turns (the text of the {role})")
        pieces.append(piece)
    pieces.append(text)
    if any(place in piece for place in _PLACES for piece in pieces):
        raise Refused("repeats or reorders turns")
    return pieces


def compile_template(source: str) -> Any:
    """A template in a sandbox, with the functions and the filter that the Hugging Face libraries give it. Raises Refused."""
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what the model says, for training. It writes nothing."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            """What stands inside."""
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
    environment.filters["tojson"] = _to_json
    functions = {"raise_exception": _raise_exception, "strftime_now": _fixed_day}
    with _complaining():
        return environment.from_string(source, globals=functions)


def write(compiled: Any, messages: list[dict[str, Any]], *, generation: bool = True, **variables: Any) -> str:
    """What a compiled template writes. Raises Refused with the template's own complaint, or where it writes too much."""
    # Templates that print today's date would make yesterday's training prompts differ from today's: they get a fixed day.
    values = {"messages": messages, "add_generation_prompt": generation, "date_string": "26 Jul 2024", **variables}
    written, length = [], 0
    with _complaining():
        for piece in compiled.generate(**values):
            written.append(piece)
            length += len(piece)
            if length > MOST_WRITTEN:
                raise TooMuch(f"writes more than {MOST_WRITTEN:,} characters for six short turns")
    return "".join(written)


@contextlib.contextmanager
def _complaining() -> Iterator[None]:
    """Whatever a template raises becomes one line. Templates can raise anything: a division by zero, a number too large, no memory."""
    import jinja2

    try:
        yield
    except Refused:
        raise
    except jinja2.TemplateSyntaxError as error:
        raise Refused(f"fails: line {error.lineno}: {_line(error.message or '')}") from None
    except jinja2.TemplateError as error:
        raise Refused(f"fails: {_line(str(error))}") from None
    except RecursionError:
        raise Refused("fails: it is nested too deeply") from None
    except MemoryError:
        raise Refused(f"fails: it wants more than {MEMORY_BYTES >> 20} MB of memory") from None
    except Exception as error:
        raise Refused(f"fails: {_line(f'{type(error).__name__}: {error}')}") from None


def _line(text: str) -> str:
    """A complaint as one short line without control characters."""
    clean = "".join(c if c.isprintable() else " " for c in text[:1000])
    return " ".join(clean.split())[:200]


def _raise_exception(message: object) -> None:
    raise Refused(f"fails: {_line(str(message))}")


def _fixed_day(form: str) -> str:
    import datetime

    return datetime.datetime(2024, 7, 26).strftime(form)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **_: Any) -> str:
    """As `transformers` has it: no HTML escapes, unlike Jinja's own."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def main() -> None:
    """Answer one request: `{"source", "bos", "eos"}` on standard input, `{"found", "complaint"}` on standard output."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no limits, macOS not all
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    request = json.load(sys.stdin)
    found, complaint = search(request["source"], request["bos"], request["eos"])
    json.dump({"found": [asdict(texts) for texts in found], "complaint": complaint}, sys.stdout)


if __name__ == "__main__":
    main()
