"""What is kept of a played episode: its log in the bank (for `bank why`), the trajectory itself when learning, a line in a file.

A recorder is a watcher of events. It keeps an episode only when it has ended, so what is stored is always whole.
"""

from dataclasses import asdict
from typing import Any, BinaryIO

import msgspec

from edgexp.bank import Bank
from edgexp.bank.records import Episode, Recall, Scored
from edgexp.play.episode import Acted, Began, Ended, Event, Recalled
from edgexp.trajectory import Trajectory


class Recorder:
    """Keeps finished episodes. `learn` puts successful ones into the bank; `file` gets a JSON line an episode."""

    def __init__(self, bank: Bank | None, run: str, *, learn: bool = False, file: BinaryIO | None = None):
        self._bank, self._run, self._learn, self._file = bank, run, learn, file
        self._recalls: list[Recall] = []
        self._actions: list[dict[str, Any]] = []
        self.last_id = ""
        """The log's id of the last episode, for `edgexp bank why`; empty without a bank."""

    def __call__(self, event: Event) -> None:
        """Take note of one event."""
        if isinstance(event, Began):
            self._recalls, self._actions = [], []
        elif isinstance(event, Recalled):
            self._recalls.append(_recall(event))
        elif isinstance(event, Acted):
            decision = event.decision
            self._actions.append({"probability": decision.probability, "alternatives": decision.alternatives[:5], "seconds": event.seconds})
        else:
            self._ended(event)

    def _ended(self, event: Ended) -> None:
        if self._bank is not None:
            self.last_id = self._bank.log_episode(self._episode(event.trajectory))
            if self._learn and event.trajectory.success:
                self._bank.add([event.trajectory])
        if self._file is not None:
            self._file.write(msgspec.json.encode(self.line(event)) + b"\n")
            self._file.flush()

    def line(self, event: Ended) -> dict[str, Any]:
        """The episode as JSON data: the trajectory, what was recalled, how sure each action was, what it cost."""
        t = event.trajectory
        return {
            "id": t.id,
            "episode": self.last_id,
            "run": self._run,
            "trajectory": t,
            "recalls": self._recalls,
            "actions": self._actions,
            "stats": asdict(event.stats),
        }

    def _episode(self, t: Trajectory) -> Episode:
        who = t.provenance
        return Episode(self._run, t.task.environment, t.task.id, t.id, t.success, t.score, who.model, who.created, tuple(self._recalls))


def _recall(event: Recalled) -> Recall:
    memory = event.memory
    used = [Scored(r.trajectory.id, r.score) for r in memory.recalled]
    dropped = [Scored(d.id, d.score, d.reason, d.tokens) for d in memory.dropped]
    return Recall(event.step, memory.query, memory.seconds, tuple(sorted([*used, *dropped], key=lambda w: -w.score)))
