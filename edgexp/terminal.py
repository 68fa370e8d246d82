"""All that edgexp shows on a terminal goes through here, and text from outside goes through `clean` on its way.

Outside text is whatever an environment, a file, a model or a library says. It may hold sequences that move the cursor, write the clipboard,
turn the direction of writing round or hide words. `Screen` stands in for standard output and standard error and cleans whatever anybody
writes, `print` and warnings included. Only what edgexp has styled itself (`Styled`, and the segments of `console`) passes as it is.
Data for programs (`echo_json`) is never changed, only escaped.

A stream never raises for a character that its encoding lacks. A reader that has gone, or a full disk, is `OutputLost`.
Importing this loads no display library. Knows nothing of what is shown.
"""

import codecs
import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

LONGEST = 5_000
"""Characters of a line that are shown; what is longer was not made to be read."""
_MARK = 40
"""Room for the mark at the end of a line that was cut."""

_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
"""Marks that stand over or under a letter. Four on one letter are a language; more paint over the lines around it."""
_HOSTILE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"  # controls but tab and line break, other line breaks, lone surrogates
    # Characters that look like nothing or turn writing round. The joiners of emoji and of some scripts are among them: nobody can see
    # whether one of them is there, so all are shown. So are tags, fillers and the many variation selectors, which can carry hidden text.
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0"
    "\ufff0-\ufffb\ufffe\uffff\U00013430-\U00013440\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    "|(?<=[\ufe0e\ufe0f])[\ufe0e\ufe0f]"  # one choice between text and emoji is enough
    f"|(?<=[{_MARKS}]{{4}})[{_MARKS}]"
)
_OWN = re.compile("\x1b\\[[0-9;?]*[A-Za-z]|\r")
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}

_PLAIN = {"✓": "+", "✗": "x", "…": "...", "→": "->", "·": "-", "—": "-", "–": "-", "×": "x", "─": "-", "━": "-", "╸": "-", "╺": "-",
          "│": "|", "⟦": "[[", "⟧": "]]"}
"""What stands for edgexp's own signs where an encoding lacks them; other characters become escapes."""


class OutputLost(BaseException):
    """Standard output takes no more: its reader has gone, or its disk is full. No Exception, as nobody on the way can mend it."""

    def __init__(self, error: OSError):
        self.reader_has_gone = isinstance(error, BrokenPipeError)
        super().__init__(f"standard output: {error.strerror or error}")


class Styled(str):
    """Text that edgexp has styled itself: what it holds from outside is clean already."""

    __slots__ = ()


def clean(text: str, longest: int | None = LONGEST) -> str:
    """The text as a terminal can show it safely: what is hostile in it stands there as an escape, such as `\\x1b`; long lines are cut.

    Line breaks and tabs stay. `longest`: characters of a line; None cuts nothing. Cleaning twice changes nothing more.
    """
    text = text.replace("\r\n", "\n")
    if longest is None or len(text) <= longest:
        text = _HOSTILE.sub(_escape, text)
        if longest is None or len(text) <= longest:
            return text
    return "\n".join(_cut(line, longest) for line in text.split("\n"))


def _escape(match: "re.Match[str]") -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 32 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _cut(line: str, longest: int) -> str:
    shown = _HOSTILE.sub(_escape, line[: longest + 1])
    if len(shown) <= longest:
        return shown
    return f"{shown[: longest - _MARK]} … ({len(line):,} characters in all)"


def style(text: str, *names: str) -> Styled:
    """The text, clean, in colours and weights by name: bold, dim, red, green, yellow, cyan."""
    codes = ";".join(str(_CODES[name]) for name in names)
    return Styled(f"\x1b[{codes}m{clean(text)}\x1b[0m")


def echo(*parts: str, err: bool = False, longest: int | None = LONGEST) -> None:
    """Write the parts and a line break to standard output (or to standard error); all that is not `Styled` is cleaned."""
    stream = sys.stderr if err else standard_output()
    text = "".join(part if isinstance(part, Styled) else clean(part, longest) for part in parts) + "\n"
    _put(stream, text if stream is not None and stream.isatty() else _COLOURS.sub("", text))


def end_line() -> None:
    """Let what comes next on standard error stand at the beginning of a line."""
    if isinstance(sys.stderr, Screen) and sys.stderr.in_line:
        sys.stderr.put("\n")


def echo_json(document: str | bytes) -> None:
    """Write a JSON document and a line break to standard output. It says the same; what a terminal may take amiss is escaped."""
    text = (document if isinstance(document, str) else document.decode()).rstrip("\n")
    stream = standard_output()
    text = _HOSTILE.sub(_json_escape, text)
    if stream is not None and not (stream.encoding or "utf-8").lower().replace("_", "-").startswith("utf"):
        text = re.sub("[^\x00-\x7f]", _json_escape, text)
    _put(stream, text + "\n")


def _json_escape(match: "re.Match[str]") -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _put(stream: TextIO | None, text: str) -> None:
    """Write text that is clean."""
    if stream is None:
        return
    if isinstance(stream, Screen):
        stream.put(text)
    else:
        stream.write(text)
    stream.flush()


class Screen(io.TextIOWrapper):
    """Standard output or standard error. Whoever writes to it writes clean text."""

    def __init__(self, binary: Any, encoding: str, *, essential: bool):
        """`essential`: that it takes no more ends the command. Remarks on standard error may be lost."""
        super().__init__(binary, encoding=encoding, errors="edgexp-plain", line_buffering=True)
        self._essential = essential
        self._bytes = _Bytes(self)
        self.in_line = False
        """Whether something stands on the line where the cursor is, such as a question."""

    @property
    def buffer(self) -> Any:
        """A binary file for those who want to write bytes; it cleans them too."""
        return self._bytes

    def write(self, text: str) -> int:
        """Write text from anybody."""
        self.put(clean(text))
        return len(text)

    def put(self, text: str) -> None:
        """Write text that is clean or that edgexp has styled."""
        if visible := _OWN.sub("", text):
            self.in_line = not visible.endswith("\n")
        try:
            super().write(text)
        except OSError as error:
            self._lose(error)

    def flush(self) -> None:
        """Nothing is kept back."""
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def close(self) -> None:
        """Nobody closes it: a plug-in that does would silence the rest."""
        with contextlib.suppress(ValueError):
            self.flush()

    def _lose(self, error: OSError) -> None:
        """Let what is still kept go nowhere, as Python would write it again at exit."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if self._essential:
            raise OutputLost(error) from None


class _Bytes:
    """The binary side of a `Screen`."""

    def __init__(self, screen: Screen):
        self._screen = screen
        self._decode = codecs.getincrementaldecoder(screen.encoding)("replace").decode

    def write(self, data: Any) -> int:
        self._screen.write(self._decode(bytes(data)))
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._screen, name)


def _plain_form(error: UnicodeError) -> tuple[str, int]:
    """The error handler of every screen: a plain form for our own signs, escapes for the rest."""
    assert isinstance(error, UnicodeEncodeError)
    wanted = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in wanted), error.end


codecs.register_error("edgexp-plain", _plain_form)

_reserved: TextIO | None = None


def standard_output() -> TextIO | None:
    """Where edgexp's own output goes: standard output, also while that is reserved."""
    return _reserved or sys.stdout


def install() -> None:
    """Make screens of this process's standard output and standard error. `signals.install` has seen to it that both are open."""
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115 - for the life of the process
    sys.stdout = _screen_for(sys.stdout, 1)
    sys.stderr = _screen_for(sys.stderr, 2)


def _screen_for(stream: TextIO | None, number: int) -> TextIO:
    if stream is None:
        return Screen(open(number, "wb", closefd=False), "utf-8", essential=number == 1)
    if type(stream) is not io.TextIOWrapper:
        return stream  # a test's, or a screen already
    stream.flush()
    made = Screen(stream.detach(), stream.encoding, essential=number == 1)
    if number == 1:
        sys.__stdout__ = made  # type: ignore[misc, assignment, unused-ignore]
    else:
        sys.__stderr__ = made  # type: ignore[misc, assignment, unused-ignore]
    return made


@contextlib.contextmanager
def reserve_standard_output() -> Iterator[None]:
    """Keep standard output for `echo` and `echo_json` alone: what anybody else prints goes to standard error, libraries in C included.

    In a process of ours this holds until its end, as libraries in C write what they kept back when they are unloaded.
    """
    global _reserved
    ours = sys.stdout
    if _reserved is not None:
        yield
    elif isinstance(ours, Screen):
        ours.flush()
        _reserved = Screen(os.fdopen(os.dup(1), "wb"), ours.encoding, essential=True)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        yield
    else:
        _reserved, sys.stdout = ours, sys.stderr
        try:
            yield
        finally:
            _reserved, sys.stdout = None, ours


class _Output:
    """Where a console of ours writes: it has cleaned every segment, so that its colours pass."""

    def __init__(self, err: bool):
        self._err = err

    def write(self, text: str) -> int:
        stream = self._stream()
        if isinstance(stream, Screen):
            stream.put(text)
        elif stream is not None:
            stream.write(text)
        return len(text)

    def _stream(self) -> TextIO | None:
        return sys.stderr if self._err else standard_output()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)


def console(*, err: bool = False, **options: Any) -> "Console":
    """A Rich console that cleans what it shows: no markup, no highlighting; options as Rich has them."""
    return cast("Console", _console_class()(file=_Output(err), highlight=False, markup=False, emoji=False, **options))


@cache
def _console_class() -> Any:
    from rich.console import Console
    from rich.segment import Segment

    class CleanConsole(Console):
        def render(self, renderable: Any, options: Any = None) -> Any:
            for segment in super().render(renderable, options):
                if segment.control is None and _HOSTILE.search(segment.text):
                    segment = Segment(clean(segment.text), segment.style)
                yield segment

        def render_str(self, text: str, **options: Any) -> Any:
            return super().render_str(clean(text), **options)

    return CleanConsole
