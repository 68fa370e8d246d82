"""Plays given commands in the real `alfworld` package and tells what it says. Run by that package's own Python; needs nothing of edgexp.

Reads one job a line from standard input, `{"file": …, "commands": […]}`, and answers with one line: what the package printed after each
command, which commands it found admissible, whether the game was won, and the processor time that loading and playing took, in seconds.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import textworld
from alfworld.agents.environment.alfred_tw_env import AlfredDemangler


class Player:
    """One environment of the package, loaded with one game after the other."""

    def __init__(self) -> None:
        self.environment: Any = None

    def play(self, file: str, commands: Sequence[str]) -> dict[str, Any]:
        """Load the game, give every command, and report."""
        start = time.process_time()
        if self.environment is None:
            wanted = textworld.EnvInfos(won=True, admissible_commands=True)
            self.environment = textworld.start(file, wanted, wrappers=[AlfredDemangler()])
        else:
            self.environment.load(file)
        state = self.environment.reset()
        loaded = time.process_time()
        seen = [_report(state)]
        for command in commands:
            state, _, _ = self.environment.step(command)
            seen.append(_report(state))
        return {"seen": seen, "load_seconds": loaded - start, "play_seconds": time.process_time() - loaded}


def _report(state: Any) -> dict[str, Any]:
    return {"text": state.feedback, "admissible": state.admissible_commands, "won": bool(state.won)}


def main() -> None:
    """Answer jobs until the input ends. What the package itself prints goes to standard error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        player = Player()
        for line in sys.stdin.buffer:
            job = json.loads(line)
            print(json.dumps(player.play(job["file"], job["commands"])), file=answers, flush=True)


if __name__ == "__main__":
    main()
