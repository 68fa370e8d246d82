"""A model's chat template as token ids: what stands before, between and after the turns.

The pieces are learned from the model's own Jinja template: a conversation of placeholder texts is rendered, and what stands between the
placeholders is the template (`template_texts.py`). Nothing is hard-coded to ChatML or Llama-3. What was generated stays: what the template
would do to earlier answers when a conversation grows does not matter, since no earlier turn is ever written anew. A template that cannot be
used is refused here, in words, with the name of one that works with the vocabulary.

A template is what a stranger wrote: it runs in a process of its own, with limits, once. What came out is remembered in this process and in
the home folder, so that starting a model a second time costs nothing.
"""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from edgexp import process
from edgexp.engine.tokenizer import Spelling, Tokenizer
from edgexp.errors import EdgexpError, UsageError
from edgexp.files import write_atomic
from edgexp.home import home
from edgexp.prompt import template_texts
from edgexp.prompt.template_texts import MEMORY_BYTES, PROCESSOR_SECONDS, Refused, Texts

SECONDS = 20.0
"""How long the process may take, a machine that is busy with other things included."""
LONGEST_SOURCE = 1_000_000
"""Characters of a template; the longest of well-known models has 20,000."""


class Found(msgspec.Struct, frozen=True):
    """The ways to use a template, the best first, and what is to be said where there is none."""

    found: tuple[Texts, ...] = ()
    complaint: str = ""


@lru_cache(64)
def find_texts(source: str, bos: str, eos: str) -> Found:
    """The texts that a template writes around the turns, where `bos` and `eos` are the vocabulary's tokens as texts. Raises nothing."""
    if len(source) > LONGEST_SOURCE:
        return Found(complaint=f"has {len(source):,} characters, more than any template needs")
    place = home() / "cache" / "templates" / f"{_digest(source, bos, eos)}.json"
    # A cache that cannot be read or written is done without.
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(place.read_bytes(), type=Found)
    answer = _ask({"source": source, "bos": bos, "eos": eos})
    if answer.found:
        with contextlib.suppress(OSError):
            write_atomic(place, msgspec.json.encode(answer))
    return answer


def _digest(*given: str) -> str:
    """What an answer depends on: what is asked, and the code that answers. More of the vocabulary than two tokens is not asked for."""
    return hashlib.sha256(json.dumps([Path(template_texts.__file__).read_text(encoding="utf-8"), *given]).encode()).hexdigest()


def _ask(request: dict[str, str]) -> Found:
    """Run the child, and put every way in which it can end into words."""
    try:
        code, answer, said = _run(json.dumps(request).encode())
    except subprocess.TimeoutExpired:
        return Found(complaint=f"takes longer than {SECONDS:.0f} seconds")
    except OSError as error:
        return Found(complaint=f"cannot be tried, because no process can be started ({error.strerror or error})")
    if code == 0:
        with contextlib.suppress(msgspec.MsgspecError):
            return msgspec.json.decode(answer, type=Found)
    if os.name == "posix" and code in (-signal.SIGXCPU, -signal.SIGKILL):
        return Found(complaint=f"takes longer than {PROCESSOR_SECONDS} seconds of computing")
    if b"MemoryError" in said:
        return Found(complaint=f"fails: it wants more than {MEMORY_BYTES >> 20} MB of memory")
    return Found(complaint=f"makes the process that tries it fail: it {process.death_in_words(code)}")


def _run(request: bytes) -> tuple[int, bytes, bytes]:
    """The child from beginning to end: its exit code, its answer, and what else it said. Raises TimeoutExpired."""
    with tempfile.TemporaryFile() as log, process.start(template_texts.__name__, log=log, own_group=True) as child:
        try:
            answer, _ = child.communicate(request, SECONDS)
        except BaseException:
            child.kill()
            raise
        log.seek(0)
        return child.returncode, answer, log.read()


_EACH = "{% for m in messages %}"
_DONE = "{% endfor %}{% if add_generation_prompt %}"
_END = "{% endif %}"


def _marked(system: str, user: str, assistant: str, end: str) -> str:
    """Every turn between two markers, which are Jinja expressions."""
    header = f"{{'system': {system}, 'user': {user}, 'assistant': {assistant}}}[m['role']]"
    return f"{_EACH}{{{{ {header} + m['content'] + {end} }}}}{_DONE}{{{{ {assistant} }}}}{_END}"


def _folded(begin: str, system: str, answer: str, end: str) -> str:
    """The system text, written as `system` has TEXT, begins the first user turn."""
    after, system = "loop.index0 and messages[loop.index0 - 1]['role'] == 'system'", system.replace("TEXT", "m['content']")
    return (
        f"{_EACH}{{% if m['role'] == 'assistant' %}}{{{{ {answer} + m['content'] + {end} }}}}"
        f"{{% elif m['role'] == 'system' %}}{{{{ {begin} + {system} }}}}"
        f"{{% else %}}{{{{ ('' if {after} else {begin}) + m['content'] }}}}{{% endif %}}{_DONE}{{{{ {answer} }}}}{_END}"
    )


BUILT_IN = {
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "llama-3": "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content']"
    " + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "qwen-3": _marked(r"'<|im_start|>system\n'", r"'<|im_start|>user\n'", r"'<|im_start|>assistant\n<think>\n\n</think>\n\n'",
                      r"'<|im_end|>\n'"),
    "gemma": _folded(r"'<start_of_turn>user\n'", r"TEXT + '\n\n'", r"'<end_of_turn>\n<start_of_turn>model\n'", r"'<end_of_turn>\n'"),
    "gemma-4": _marked(r"'<|turn>system\n'", r"'<|turn>user\n'", r"'<|turn>model\n<|channel>thought\n<channel|>'", r"'<turn|>\n'"),
    "phi-3": _marked(r"'<|system|>\n'", r"'<|user|>\n'", r"'<|assistant|>\n'", r"'<|end|>\n'"),
    "phi-4": _marked("'<|im_start|>system<|im_sep|>'", "'<|im_start|>user<|im_sep|>'", "'<|im_start|>assistant<|im_sep|>'", "'<|im_end|>'"),
    "granite": _marked("'<|start_of_role|>system<|end_of_role|>'", "'<|start_of_role|>user<|end_of_role|>'",
                       "'<|start_of_role|>assistant<|end_of_role|>'", r"'<|end_of_text|>\n'"),
    "command-r": _marked("'<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>'", "'<|START_OF_TURN_TOKEN|><|USER_TOKEN|>'",
                         "'<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>'", "'<|END_OF_TURN_TOKEN|>'"),
    "gpt-oss": _marked("'<|start|>system<|message|>'", "'<|start|>user<|message|>'", "'<|start|>assistant<|channel|>final<|message|>'",
                       "'<|end|>'"),
    "deepseek": _marked("''", "'<｜User｜>'", "'<｜Assistant｜>'", "('<｜end▁of▁sentence｜>' if m['role'] == 'assistant' else '')"),
    "mistral": _folded("'[INST] '", r"TEXT + '\n\n'", "'[/INST] '", "eos_token"),
    "llama-2": _folded("'[INST] '", r"'<<SYS>>\n' + TEXT + '\n<</SYS>>\n\n'", "' [/INST] '", "' ' + eos_token + bos_token"),
    "zephyr": _marked(r"'<|system|>\n'", r"'<|user|>\n'", r"'<|assistant|>\n'", r"eos_token + '\n'"),
    "vicuna": _marked("''", "' USER: '", "' ASSISTANT: '", "(eos_token if m['role'] == 'assistant' else '')"),
    "alpaca": _marked("''", r"'### Instruction:\n'", r"'### Response:\n'", r"(eos_token if m['role'] == 'assistant' else '') + '\n\n'"),
}  # fmt: skip
"""Name → Jinja text, written here and taken from no model, for files that carry no template or one that cannot be used. None but Llama 3's
writes the token that begins a text: where the vocabulary wants one it stands first anyway. The first that works with a vocabulary is the
one advised, so the last are those that need no marker of their own."""

_MARKER = re.compile(r"<[|｜]?[^\s<>]{2,40}>|\[/?[A-Z_]{3,20}\]")
"""Texts that a vocabulary should know as one token."""


class TemplateTokenizer(Tokenizer, Protocol):
    """What learning a template needs of a vocabulary."""

    @property
    def bos(self) -> int:
        """Id of the token that begins a text; negative where there is none."""

    @property
    def adds_bos(self) -> bool:
        """Whether every text is to begin with that token."""


class Leads(NamedTuple):
    """A space that the template writes before a text and that the vocabulary spells together with its first word, or nothing."""

    system: str = ""
    first: str = ""
    """Before the first user's text."""
    user: str = ""
    """Before those that follow."""
    action: str = ""


@dataclass(frozen=True)
class Template:
    """The ids around the turns: `before` system `after_system` user `after_user` action `end` `after_action` observation `after_user` …"""

    before: list[int]
    after_system: list[int]
    after_user: list[int]
    end: list[int]
    """Closes an action; the model is trained to say it."""
    after_action: list[int]
    """From the end of an action to the next observation's text."""
    leads: Leads = field(default_factory=Leads)
    stop: int = -1
    """The token of `end` at which a model has finished, even where the vocabulary does not count it among those that end a turn."""
    forgeable: tuple[str, ...] = ()
    """Markers of the template that the vocabulary finds even in plain text, as it does with tokens that are not control tokens."""
    done: tuple[str, ...] = ()
    """What was done to make the template fit, in words."""


def learn(source: str, tokenizer: TemplateTokenizer, bos: str = "", eos: str = "") -> Template:
    """The template's pieces as ids. `source` is Jinja text, or the name of a built-in one; `bos` and `eos` are those tokens as texts.

    Raises EdgexpError where the template fails, drops or alters a text, treats later turns otherwise than earlier ones, or closes an
    action by nothing that can be recognised; UsageError for a name that is not known.
    """
    if source not in BUILT_IN and not _is_jinja(source):
        raise UsageError(f"there is no chat template {_short(source)!r}; take one of {', '.join(BUILT_IN)}, or a file of Jinja")
    answer = find_texts(source, bos, eos) if source not in BUILT_IN else _of_name(source, bos, eos)
    complaint = answer.complaint
    for texts in answer.found:
        try:
            return spell(texts, tokenizer)
        except Refused as error:
            complaint = complaint or str(error)
    name = f"the chat template {source}" if source in BUILT_IN else "this model's chat template"
    advice = advise(tokenizer, bos, eos)
    raise EdgexpError(f"{name} {complaint}" + (f"; choose one that works with this vocabulary: --template {advice}" if advice else ""))


def choose_template(asked: str | None, own: str | None, named: Mapping[str, str]) -> str | None:
    """The template to use: the one asked for (by the name of one in the model's file or a built-in one, or Jinja text), or the model's own.

    Raises UsageError for a name that is none of these.
    """
    if not asked:
        return own
    if asked in named:
        return named[asked]
    if asked not in BUILT_IN and not _is_jinja(asked):
        also = f"; this model's file holds {', '.join(sorted(named))}" if named else ""
        raise UsageError(f"there is no chat template {_short(asked)!r}; take one of {', '.join(BUILT_IN)}, or a file of Jinja{also}")
    return asked


def advise(tokenizer: TemplateTokenizer, bos: str = "", eos: str = "") -> str:
    """The name of a template that works with a vocabulary, and whose markers it knows as tokens; empty where there is none."""
    for name in BUILT_IN:
        for texts in _of_name(name, bos, eos).found:
            written = f"{texts.before}{texts.after_system}{texts.after_user}{texts.between}"
            if all(len(tokenizer.control(marker)) == 1 for marker in _MARKER.findall(written)):
                try:
                    spell(texts, tokenizer)
                except Refused:
                    continue
                return name
    return ""


def render(source: str, messages: Iterable[Mapping[str, str]], *, bos: str = "", eos: str = "", generation: bool = True) -> str:
    """A conversation through a Jinja template, in a sandbox but in this process. Raises EdgexpError with the template's own complaint."""
    try:
        compiled = template_texts.compile_template(source)
        return template_texts.write(compiled, list(map(dict, messages)), generation=generation, bos_token=bos, eos_token=eos)
    except Refused as error:
        raise EdgexpError(f"this chat template {error}") from error


def spell(texts: Texts, tokenizer: TemplateTokenizer) -> Template:
    """Texts as ids. Raises Refused where an action is closed by nothing that the vocabulary has a token for."""
    spelling = Spelling(tokenizer)
    pieces, leads = zip(*map(_without_lead, (texts.before, texts.after_system, texts.between, texts.after_user)), strict=True)
    before, after_system, between, after_user = pieces
    closing = spelling.marker([], between, after_text=True)
    end, stop = _find_end(closing, tokenizer)
    if end:
        closes, follows = closing[:end], closing[end:]
    else:
        closes, follows = _close_by_line(between, spelling)
    first = _begin(spelling.marker([], before), tokenizer)
    second, third = (spelling.marker([], piece, after_text=True) for piece in (after_system, after_user))
    marked = {token for piece in (first, second, third, closing) for token in piece if _is_marker(token, tokenizer)}
    forgeable = tuple(text for token in sorted(marked) if token in tokenizer.encode(text := tokenizer.decode([token])))
    return Template(first, second, third, closes, follows, Leads(*leads), stop, forgeable, texts.done)


def _find_end(closing: list[int], tokenizer: TemplateTokenizer) -> tuple[int, int]:
    """How many ids close an action, and the last of them; 0 where no token does.

    It is the first token that ends a turn, or the first marker with nothing but white space before it.
    """
    for number, token in enumerate(closing, 1):
        if tokenizer.is_end(token) or (_is_marker(token, tokenizer) and not tokenizer.decode(closing[: number - 1]).strip()):
            return number, token
    return 0, -1


def _is_marker(token: int, tokenizer: TemplateTokenizer) -> bool:
    return tokenizer.is_control(token) or bool(_MARKER.fullmatch(tokenizer.decode([token])))


def _close_by_line(between: str, spelling: Spelling) -> tuple[list[int], list[int]]:
    """The line breaks that close an action, and what follows them."""
    rest = between.lstrip("\n")
    if rest == between:
        shown = _short(between)
        raise Refused(f"does not close a turn with an end token: this vocabulary has none for {shown!r}" if shown else "closes no turn")
    lines = spelling.marker([], between[: len(between) - len(rest)], after_text=True)
    return lines, spelling.marker(lines, rest)


def _begin(ids: list[int], tokenizer: TemplateTokenizer) -> list[int]:
    """The ids that begin a prompt: with the token that begins a text where the vocabulary wants it, never with two of them."""
    bos = tokenizer.bos
    if bos < 0:
        return ids
    rest = ids
    while rest[:1] == [bos]:
        rest = rest[1:]
    return [bos, *rest] if tokenizer.adds_bos or rest != ids else ids


def _without_lead(text: str) -> tuple[str, str]:
    """A piece without the one space at its end, and that space: vocabularies spell it together with the word that follows."""
    return (text[:-1], " ") if text.endswith(" ") and not text.endswith("  ") else (text, "")


@lru_cache(256)
def _of_name(name: str, bos: str, eos: str) -> Found:
    """The texts of a built-in template. They are ours and can be rendered in this process."""
    found, complaint = template_texts.search(BUILT_IN[name], bos, eos)
    return Found(tuple(found), complaint)


def _is_jinja(text: str) -> bool:
    return "{{" in text or "{%" in text


def _short(text: str) -> str:
    return " ".join(text.split())[:60]
