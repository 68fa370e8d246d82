"""What comes from outside reaches a terminal in a harmless form only, by whichever command."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from bank_samples import WordEncoder, trajectory
from hypothesis import given
from hypothesis import strategies as st
from terminal_toys import HOSTILE, parts

import edgexp
from edgexp import terminal
from edgexp.bank import Bank
from edgexp.terminal import LONGEST, Styled, clean

PACKAGE = Path(edgexp.__file__).parent
nasty = st.text(st.one_of(st.characters(), st.sampled_from("".join(HOSTILE[:29]))), max_size=60) | st.sampled_from(HOSTILE)


@given(nasty)
def test_clean_leaves_nothing_hostile_and_cleaning_twice_changes_nothing(text: str) -> None:
    once = clean(text)
    assert not list(parts(once)) and clean(once) == once
    assert max(map(len, once.split("\n"))) <= LONGEST


def test_every_character_by_its_category() -> None:
    """All of Unicode, one character after the other."""
    assert list(parts("".join(clean(f"a{chr(code)}b", None) for code in range(sys.maxunicode + 1)))) == []


@pytest.mark.parametrize(("text", "shown"), [
    ("\x1b]52;c;x\x07", "\\x1b]52;c;x\\x07"), ("a\tb\nc", "a\tb\nc"), ("a\r\nb\rc", "a\nb\\x0dc"), ("\x9b31m\x7f", "\\u009b31m\\u007f"),
    ("\u202e\u200b", "\\u202e\\u200b"), ("\ud800", "\\ud800"), ("\U000e0041", "\\U000e0041"), ("héllo ✓ 漢字 🙂 ❤️ e\u0301", None),
    ("x" + "\u0301" * 5, "x" + "\u0301" * 4 + "\\u0301"), ("[red]x[/]", None),
])
def test_what_is_shown_in_its_place(text: str, shown: str | None) -> None:
    assert clean(text) == (text if shown is None else shown)


def test_a_long_line_is_cut_with_a_mark_and_its_neighbours_are_not() -> None:
    first, long, last = clean(f"first\n{'x' * 20_000}\nlast").split("\n")
    assert (first, last) == ("first", "last") and len(long) <= LONGEST and long.endswith("x … (20,000 characters in all)")
    assert clean("x" * 20_000, None) == "x" * 20_000


@given(nasty)
def test_json_says_the_same_with_nothing_hostile_in_it(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    out = io.StringIO()
    sys.stdout, before = out, sys.stdout
    try:
        terminal.echo_json(msgspec.json.encode({"said": text}))
    finally:
        sys.stdout = before
    assert not list(parts(out.getvalue())) and json.loads(out.getvalue()) == {"said": text}


def test_json_is_ascii_where_the_encoding_is(monkeypatch: pytest.MonkeyPatch) -> None:
    binary = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", terminal.Screen(binary, "ascii", essential=True))
    terminal.echo_json('{"said": "✓🙂é"}')
    terminal.echo("✓ … 漢", Styled("\x1b[1mbold\x1b[0m"))
    first, second = binary.getvalue().decode("ascii").splitlines()
    assert json.loads(first) == {"said": "✓🙂é"} and second == "+ ... \\u6f22bold"


@given(nasty)
def test_a_screen_cleans_what_anybody_writes(text: str) -> None:
    binary = io.BytesIO()
    screen = terminal.Screen(binary, "utf-8", essential=False)
    print(text, file=screen)
    screen.writelines([text])
    screen.buffer.write(text.encode("utf-8", "surrogatepass"))
    screen.close()
    screen.flush()
    assert not list(parts(binary.getvalue().decode()))


@given(nasty)
def test_a_console_cleans_what_was_forgotten(text: str) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table("name", text)
    table.add_row(text, Text(text))
    out = io.StringIO()
    sys.stdout, before = out, sys.stdout
    try:
        shown = terminal.console(width=60, record=True)
        for thing in (text, Text(text, "bold"), Text.assemble("a", (text, "red")), Padding(text, 1), table):
            shown.print(thing)
        shown.rule(Text(text))
    finally:
        sys.stdout = before
    assert not list(parts(out.getvalue()))
    assert not list(parts(shown.export_svg().replace("\xa0", " ")))


def test_nothing_is_printed_past_it() -> None:
    """Every command prints by `edgexp.terminal`: nothing else asks Click or Rich to print, or prints."""
    ways = re.compile(r"click\.(echo|secho|style|echo_via_pager)\b|\bConsole\(|(?<![\w.])print\(|rich import print")
    found = {str(path.relative_to(PACKAGE)): ways.findall(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
    texts_of_programs = str(Path("environments", "bridges", "skeletons.py"))  # what `envs new` writes prints its answers
    assert [name for name, hits in found.items() if hits and name not in ("terminal.py", texts_of_programs)] == []


# Every command, in a process with real streams


DRIVER = """
import json, os, sys
from edgexp.cli import main
for text, commands in json.load(open(sys.argv[1], encoding="utf-8")):
    os.environ["HOSTILE"] = json.dumps(text)
    for arguments in commands:
        try:
            main(arguments)
        except SystemExit:
            pass
"""


def commands_for(text: str, bank: Path, known: str) -> list[list[str]]:
    """Everything that prints what comes from outside and needs no weights."""
    word = text.replace("\x00", "") or "x"
    play = ["run", "terminal_toys:Saying", "--policy", "terminal_toys:player", "--memory", "off", "-n", "1"]
    at = ["--bank", str(bank)]
    return [
        play, [*play, "--json"], ["run", "terminal_toys:Failing", *play[2:]], ["run", word], [*play, "--task", word],
        [*play, "--type", word], ["run", "--template", word, "--model", word], ["run", f"terminal_toys:{word}"],
        ["run", "--policy", f"terminal_toys:{word}"], [word], ["run", f"--{word}"], ["bank", "ls", *at], ["bank", "ls", *at, "--json"],
        ["bank", "show", known, *at], ["bank", "show", word, *at], ["bank", "show", known, *at, "--json"], ["bank", "why", *at],
        ["bank", "why", word, *at], ["bank", "stats", *at], ["bank", "verify", *at], ["bank", "export", *at],
        ["bank", "add", str(bank / f"{word[:40]}.jsonl"), *at], ["models", "ls"], ["models", "verify", word], ["models", "ls", "--json"],
        ["train", word], ["eval", word], ["eval", "smoke", "--set", f"{word}={word}", "--show"], ["report", word], ["export", word],
        ["envs", "gold", word], ["--debug", "run", word],
    ]


def drive(work: list[tuple[str, list[list[str]]]], folder: Path) -> "subprocess.CompletedProcess[bytes]":
    plan = folder / "plan.json"
    plan.write_text(json.dumps(work), "utf-8")
    tests = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, str(PACKAGE.parent)]), "EDGEXP_HOME": str(folder / "home"),
                   "NOISE": "1"}
    return subprocess.run([sys.executable, "-c", DRIVER, str(plan)], capture_output=True, env=environment, check=False, timeout=600)


def hostile_bank(folder: Path, texts: Sequence[str]) -> list[str]:
    """A bank with an import of each text; their ids."""
    made = []
    with Bank.open(folder, WordEncoder()) as bank:
        for number, text in enumerate(texts):
            t = trajectory(number)
            t = msgspec.structs.replace(t, goal=text, observation=text, end=text,
                                        task=msgspec.structs.replace(t.task, id=text or "x", type=text),
                                        steps=(msgspec.structs.replace(t.steps[0], action=text, observation=text),),
                                        provenance=msgspec.structs.replace(t.provenance, model=text, created=text))
            made += bank.add([t], status="quarantined").added
    return made


def test_every_command_with_all_hostile_texts_at_once(tmp_path: Path) -> None:
    try_every_command(tmp_path, ["".join(HOSTILE[:29])])


@pytest.mark.slow
def test_every_command_with_every_hostile_text(tmp_path: Path) -> None:
    try_every_command(tmp_path, HOSTILE)


def try_every_command(tmp_path: Path, texts: Sequence[str]) -> None:
    """Standard output and standard error, every byte; what is JSON still says what was meant."""
    known = hostile_bank(tmp_path / "bank", texts)
    (tmp_path / "home" / "models").mkdir(parents=True)
    (tmp_path / "home" / "models" / "evil.toml").write_text('name = "evil"\nrole = "\\u001b[2J\\u202e"\n', "utf-8")
    done = drive([(text, commands_for(text, tmp_path / "bank", one)) for text, one in zip(texts, known, strict=True)], tmp_path)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == 0, err[-2000:]
    assert (list(parts(out)), list(parts(err))) == ([], [])
    assert "\\x1b]52;c;aGVsbG8=\\x07" in out and "\\x1b]52;c;aGVsbG8=\\x07" in err
    played = [json.loads(line) for line in out.splitlines() if line.startswith('{"episode"') or '"trajectory":{' in line]
    assert {e["trajectory"]["goal"] for e in played if "trajectory" in e} >= {f"say {text}" for text in texts}


def test_bars_draw_nothing_but_their_own_sequences_on_a_terminal() -> None:
    """On a pseudo-terminal: hostile names, notes and remarks, and what others print meanwhile."""
    pty = pytest.importorskip("pty")
    code = (
        "import sys; from edgexp import terminal; from edgexp.progress import Bars; from terminal_toys import HOSTILE\n"
        "terminal.install()\n"
        "for text in HOSTILE[:29]:\n"
        "    with Bars(keep=True) as bars:\n"
        "        bars.tell(text, 1, 2, text); bars.say(text); print(text); sys.stderr.write(text)\n"
        "        terminal.echo(terminal.style(text, 'dim'), err=True)\n"
    )
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), str(PACKAGE.parent)])}
    child = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not data:
            break
        seen += data
    assert child.wait() == 0, seen[-2000:]
    own = re.sub("\x1b\\[(\\?25[lh]|2K|1A|[0-79][0-9;]*m|0m)|\r", "", seen.decode())
    assert list(parts(own)) == [] and "\x1b[8m" not in seen.decode()
