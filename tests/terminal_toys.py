"""What tests of the terminal play with: an environment and a policy that say whatever a test wants, in a process of their own.

`HOSTILE` in the environment variables is that text as JSON. `NOISE=1` makes the environment print by every way there is.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from edgexp.environments.base import Environment, Outcome, Start
from edgexp.play.episode import Asking, Playing
from edgexp.trajectory import Decision, Provenance, Task

HOSTILE = [
    "\x1b]52;c;aGVsbG8=\x07", "\x1b]0;title\x1b\\", "\x1b]8;;http://example.org\x1b\\click\x1b]8;;\x1b\\", "\x1b[2J\x1b[H", "\x1b[8mhidden",
    "\x9b31m", "\x9d52;c;x\x9c", "\x1bP+q\x1b\\", "\x1b_G\x1b\\", "\x1bc", "\x0e\x0f", "\x08\x08\x7f", "line\rover", "a\x00b", "\x05",
    "\u202enwod\u202c", "\u2066x\u2069", "\u200e\u200f\u061c", "\u200b\u200c\u200d\u2060\ufeff", "\U000e0041\U000e007f", "a\u2028b\u2029c",
    "\u3164\u115f\uffa0", "x" + "\u0301" * 40, "\ufe0f" * 9, "\u00ad\u034f\u180e", "[red]markup[/red][/]", "[link=http://x]y[/link]",
    ":smile:",
    "\ufff9a\ufffab\ufffb", "long " * 4000, "\x1b[" * 3000, "\U000e0100", "\r\n\r\r\n", "a\tb", "{0}{x}%s", "\\x1b",
]


def text() -> str:
    """What everything says."""
    return str(json.loads(os.environ.get("HOSTILE", '"plain"')))


class Saying:
    """One step wins. Goal, observations, actions and the type of its task say what the test wants."""

    name, version, max_steps = "saying", "1", 3

    def splits(self) -> tuple[str, ...]:
        return ("train", "dev")

    def tasks(self, split: str) -> list[Task]:
        return [Task(f"saying/{split}/0", "saying", split, text()[:100] or "x", "easy")]

    def task(self, task_id: str) -> Task:
        return self.tasks(task_id.split("/")[1])[0]

    def instructions(self) -> str:
        return f"Say it. {text()}"

    def reset(self, task: Task) -> Start:
        make_noise()
        return Start(f"say {text()}", f"You see {text()}")

    def step(self, action: str) -> Outcome:
        time.sleep(float(os.environ.get("SLOW", "0")))
        return Outcome(f"You said {text()}", 1.0, True, True, 1.0)

    def admissible(self) -> list[str]:
        return [f"say {text()}", "wait"]

    def close(self) -> None:
        pass


class Failing(Saying):
    """It raises what the test wants."""

    def step(self, action: str) -> Outcome:
        raise RuntimeError(text())


def make_noise() -> None:
    """Print from Python, past Python, from C and from a child, where a test asks for it."""
    if os.environ.get("NOISE"):
        import ctypes

        print("noise from print", text())
        sys.stdout.buffer.write(b"noise from bytes\n")
        os.write(1, b"noise past Python\n")
        ctypes.CDLL(None).puts(b"noise from C")
        subprocess.run([sys.executable, "-c", "print('noise from a child')"], check=True)


class Player:
    """Takes the first action."""

    def begin(self, episode: Playing) -> None:
        """Nothing to prepare."""

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        """The first of the valid actions."""
        yield from ()
        return Decision(f"say {text()}")

    def provenance(self, environment: Environment) -> Provenance:
        return Provenance("agent", "1", model=text()[:50] or "m", created="2026-11-22T12:00:00+00:00")


def player(*_: Any, **__: Any) -> Player:
    """A policy of one's own."""
    return Player()


def parts(shown: str) -> Iterator[str]:
    """What may not stand in a terminal's output, of what was shown there; an own list, not the product's."""
    import unicodedata

    seen = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")  # signs that can be seen
    for character in set(shown):
        if (unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in seen | set("\n\t")) \
                or character in "\u115f\u1160\u3164\uffa0\u034f\u17b4\u17b5":
            yield f"U+{ord(character):04X}"
