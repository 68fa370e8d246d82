"""Which chat templates can be played, and how: every template in llama.cpp's source, each with a vocabulary that fits it.

    python tools/template_table.py --source llama.cpp        print what is found
    python tools/template_table.py --source llama.cpp --write docs/templates.md

Without `--source` the source is taken from $EDGEXP_LLAMA_CPP, or from where uv keeps that of llama-cpp-python. Nothing of it is copied: the
table has names. A vocabulary fits when it knows the template's markers as tokens; those that the nearest one in the source lacks are added.
"""

import ast
import os
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from edgexp.engine.tokenizer import GGUFTokenizer
from edgexp.errors import EdgexpError
from edgexp.gguf.reader import open_gguf
from edgexp.gguf.writer import entry, header
from edgexp.prompt.messages import Message
from edgexp.prompt.render import Renderer, learn_template
from edgexp.prompt.template import Template
from edgexp.prompt.template_texts import VARIABLES, Refused, Texts, compile_template, search, write

BEGIN, END = "<!-- made by tools/template_table.py -->", "<!-- end -->"
MARKER = re.compile(r"<[|｜/]?[^\s<>]{2,40}>|\[/?[A-Z_]{3,20}\]|\]~!?b\[?\]?|\[e~\[|\[gMASK\]|〈\|EOS\|〉")
CONTROL = 3
"""The kind of token, in a GGUF's list, that no text can become."""

FITTING: tuple[tuple[str, str, str, str], ...] = (
    ("gemma-4", "gemma-4", "", ""),
    ("gemma", "llama-spm", "<bos>", "<eos>"),
    ("Phi-3", "phi-3", "", ""),
    ("phi-4|gpt-oss", "qwen2", "", ""),
    ("R1-Distill-Qwen", "qwen2", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    ("R1-Distill-Llama", "llama-bpe", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    ("(?i)deepseek", "deepseek-llm", "", ""),
    ("(?i)command-r|cohere", "command-r", "", ""),
    ("Mistral-Nemo|Ministral|Mistral-Small|Devstral|2411", "llama-bpe", "<s>", "</s>"),
    ("(?i)openhermes-2.5-mistral|mistral|fusionnet|vigogne|monarch|orion|openchat|vicuna|minicpm-3b", "llama-spm", "", ""),
    ("(?i)llama-3", "llama-bpe", "", ""),
    ("functionary|Hermes", "llama-bpe", "", ""),
    (r"Qwen3\.5", "qwen35", "", ""),
    ("", "qwen2", "<s>", "<|endoftext|>"),
)
"""Name (a pattern) → the nearest vocabulary, and the texts of the tokens that begin and end a text where they are other ones."""

TURNS = (
    ("system", "You act in a house.\nAnswer with one action."), ("user", "You see a door.\n\nYour task is to: open it."),
    ("assistant", "open door 1"), ("user", "The door is open."), ("assistant", "go in"), ("user", "It is dark."),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What is found of one template."""

    name: str
    vocabulary: str
    accepted: bool
    done: tuple[str, ...] = ()
    text: str = ""
    """Whether the prompt is, as text, what the template writes of the same conversation."""
    ids: str = ""
    """Whether its ids are those of the whole text."""
    refusal: str = ""


def find_source() -> Path | None:
    """llama.cpp's source, where there is one; see the module."""
    named = os.environ.get("EDGEXP_LLAMA_CPP")
    if named:
        return Path(named) if (Path(named) / "models" / "templates").is_dir() else None
    try:
        cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    found = Path(cache).glob("sdists-v*/pypi/llama-cpp-python/*/*/src/vendor/llama.cpp/models/templates")
    return max((place.parents[1] for place in found), key=lambda place: place.stat().st_mtime, default=None)


def find_templates(source: Path) -> dict[str, str]:
    """Name → Jinja: the files, and those written out in the tests."""
    found = {file.stem: file.read_text(encoding="utf-8") for file in sorted((source / "models" / "templates").glob("*.jinja"))}
    written = re.compile(r'\.name= \*/ "((?:[^"\\]|\\.)*)",(?:\s|//[^\n]*)*/\* \.template_str= \*/ (?:u8)?"((?:[^"\\]|\\.)*)"')
    tests = source / "tests" / "test-chat-template.cpp"
    if tests.is_file():
        for name, text in written.findall(tests.read_text(encoding="utf-8")):
            found[name.split(" (")[0] + (" (v" + name.split("'v")[1].split("'")[0] + ")" if "'v" in name else "")] = _unescape(text)
    return found


def _unescape(text: str) -> str:
    return str(ast.literal_eval(f'"{text}"'))


def judge_all(source: Path, folder: Path, only: str = "") -> Iterator[Row]:
    """A row for every template whose name matches."""
    for name, text in find_templates(source).items():
        if re.search(only, name):
            yield judge(name, text, source, folder)


def judge(name: str, text: str, source: Path, folder: Path) -> Row:
    """Learn one template with a vocabulary that fits it, and compare what is made of it with what the template makes."""
    pattern = next(row for row in FITTING if re.search(row[0], name))
    _, base, bos, eos = pattern
    path = folder / "vocabulary.gguf"
    fit_vocabulary(source / "models" / f"ggml-vocab-{base}.gguf", path, text, bos, eos)
    tokenizer = GGUFTokenizer(path)
    try:
        learned = learn_template(tokenizer, text)
    except EdgexpError as error:
        return Row(name, base, False, refusal=str(error))
    else:
        texts = learned_texts(text, tokenizer, learned)
        return Row(name, base, True, learned.done, compare_text(text, texts, tokenizer), compare_ids(texts, tokenizer, learned))
    finally:
        tokenizer.close()
        path.unlink()


def fit_vocabulary(base: Path, path: Path, template: str, bos: str, eos: str) -> None:
    """Write a vocabulary that knows a template's markers as control tokens."""
    file = open_gguf(base)
    tokens, kinds = file.get("tokenizer.ggml.tokens"), file.get("tokenizer.ggml.token_type")
    begin = bos or tokens[file.get("tokenizer.ggml.bos_token_id")]
    finish = eos or tokens[file.get("tokenizer.ggml.eos_token_id")]
    found, _ = search(template, begin, finish)
    written = "".join(piece for texts in found for piece in (texts.before, texts.after_system, texts.after_user, texts.between))
    new = [text for text in dict.fromkeys([begin, finish, *MARKER.findall(written)]) if text not in set(tokens)]
    entries = dict(file.entries)
    added = b"".join(struct.pack("<Q", len(text.encode())) + text.encode() for text in new)
    _extend(entries, "tokenizer.ggml.tokens", len(new), added)
    _extend(entries, "tokenizer.ggml.token_type", len(new), struct.pack(f"<{len(new)}i", *[CONTROL] * len(new)))
    if "tokenizer.ggml.scores" in entries:
        _extend(entries, "tokenizer.ggml.scores", len(new), struct.pack(f"<{len(new)}f", *[0.0] * len(new)))
    every = [*tokens, *new]
    for key, text in (("bos", begin), ("eos", finish)):
        entries[f"tokenizer.ggml.{key}_token_id"] = entry(f"tokenizer.ggml.{key}_token_id", every.index(text))
    if bos == "<bos>":  # Gemma's SentencePiece vocabulary is told not to put a space before a text
        entries["tokenizer.ggml.add_space_prefix"] = _flag("tokenizer.ggml.add_space_prefix", False)
    assert len(kinds) == len(tokens)
    path.write_bytes(header(entries, [], 32))


def _extend(entries: dict[str, bytes], key: str, count: int, data: bytes) -> None:
    """Add items to a list in a file's metadata."""
    raw, at = entries[key], 8 + len(key) + 8
    (before,) = struct.unpack_from("<Q", raw, at)
    entries[key] = raw[:at] + struct.pack("<Q", before + count) + raw[at + 8 :] + data


def _flag(key: str, value: bool) -> bytes:
    return entry(key, 0)[: 8 + len(key)] + struct.pack("<I?", 7, value)


def learned_texts(source: str, tokenizer: GGUFTokenizer, learned: Template) -> Texts:
    """The texts of the pieces that were learned."""
    bos, eos = (tokenizer.decode([token]) for token in (tokenizer.bos, tokenizer.eos))
    return next(texts for texts in search(source, bos, eos)[0] if texts.done == learned.done)


def whole_text(texts: Texts) -> str:
    """The conversation as one text, up to where the model answers."""
    (_, system), (_, first), *rest = TURNS
    written = f"{texts.before}{system}{texts.after_system}{first}{texts.after_user}"
    for (_, action), (_, observation) in zip(rest[::2], rest[1::2], strict=True):
        written += f"{action}{texts.between}{observation}{texts.after_user}"
    # The space before an answer is spelt together with its first word.
    return written.removesuffix(" ")


def compare_text(source: str, texts: Texts, tokenizer: GGUFTokenizer) -> str:
    """Whether the prompt is what the template writes: `same`, `goes on` (it is, and something follows), or `past turns differ`."""
    bos, eos = (tokenizer.decode([token]) for token in (tokenizer.bos, tokenizer.eos))
    wanted, compiled = whole_text(texts), compile_template(source)
    told, found = wanted.rpartition(TURNS[-1][1])[0], set()
    for _, variables in VARIABLES:
        for folded in (False, True):
            try:
                messages = _messages(folded, "content as typed parts" in texts.done)
                written = write(compiled, messages, bos_token=bos, eos_token=eos, **variables)
            except Refused:
                continue
            if wanted.startswith(written.removesuffix(" ")):
                found.add("same" if written.removesuffix(" ") == wanted else "goes on")
            elif written.startswith(told):
                found.add("goes on otherwise")
    return next((name for name in ("same", "goes on", "goes on otherwise") if name in found), "past turns differ")


def _messages(folded: bool, parts: bool) -> list[dict[str, object]]:
    turns = [list(turn) for turn in TURNS]
    if folded:
        turns = [["user", f"{turns[0][1]}\n\n{turns[1][1]}"], *turns[2:]]
    return [{"role": role, "content": [{"type": "text", "text": text}] if parts else text} for role, text in turns]


def compare_ids(texts: Texts, tokenizer: GGUFTokenizer, learned: Template) -> str:
    """`same`, or the first tokens that are not those of the whole text."""
    wanted = tokenizer.control(whole_text(texts))
    if tokenizer.adds_bos and wanted[:1] != [tokenizer.bos]:
        wanted = [tokenizer.bos, *wanted]
    renderer = Renderer(tokenizer, learned, TURNS[0][1])
    made = renderer.render([Message(role, text, f"turn {number}") for number, (role, text) in enumerate(TURNS)]).ids  # type: ignore[arg-type]
    place = next((i for i, (a, b) in enumerate(zip(made, wanted, strict=False)) if a != b), min(len(made), len(wanted)))
    if made == wanted:
        return "same"
    ours, theirs = (" ".join(repr(tokenizer.decode([token])) for token in ids[max(0, place - 1) : place + 2]) for ids in (made, wanted))
    return f"{ours} for {theirs}"


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [f"{sum(row.accepted for row in rows)} of {len(rows)} templates can be played.", "",
             "| template | vocabulary | plays | what is done | text | ids |", "|---|---|---|---|---|---|"]  # fmt: skip
    for row in rows:
        done = "; ".join(row.done) if row.accepted else row.refusal
        cells = (row.name, row.vocabulary, "yes" if row.accepted else "no", done, row.text, row.ids)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


@click.command()
@click.option("--source", type=click.Path(exists=True, file_okay=False, path_type=Path), help="The folder of llama.cpp's source.")
@click.option("--only", default="", help="Templates whose names match this pattern.")
@click.option("--write", "page", type=click.Path(dir_okay=False, path_type=Path), help="Put the table into this page.")
def main(source: Path | None, only: str, page: Path | None) -> None:
    """Make the table of chat templates."""
    source = source or find_source()
    if source is None:
        raise click.ClickException("llama.cpp's source is not here; name its folder with --source or EDGEXP_LLAMA_CPP")
    with tempfile.TemporaryDirectory() as folder:
        made = table(list(judge_all(source, Path(folder), only)))
    if page is None:
        click.echo(made)
        return
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{made}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
