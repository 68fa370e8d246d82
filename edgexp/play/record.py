"""What is kept of a played episode, as views of its one record: its log in the bank (for `bank why`), the trajectory itself when learning,
a line in a file. Whatever is kept is whole: an episode that did not end leaves nothing.
"""

from typing import Any, BinaryIO

import msgspec

from edgexp.bank import Bank, check_sound
from edgexp.bank.records import Episode, Recall, Scored
from edgexp.errors import EdgexpError
from edgexp.trajectory import Played, Remembered
from edgexp.trajectory import Recall as Remembering

ALTERNATIVES = 5
"""Other actions kept of each decision."""


class Recorder:
    """Keeps finished episodes. `learn` puts successful ones into the bank; `file` gets a JSON line an episode."""

    refused = ""
    """Why the bank could not take the last episode; empty where it did."""

    def __init__(self, bank: Bank | None, run: str, *, learn: bool = False, file: BinaryIO | None = None):
        self._bank, self._run, self._learn, self._file = bank, run, learn, file
        self.last_id = ""
        """The log's id of the last episode, for `edgexp bank why`; empty without a bank."""

    def keep(self, played: Played) -> bytes:
        """Keep an episode; its line of JSON."""
        if self._bank is not None:
            self.last_id = self._bank.log_episode(log_entry(played, self._run))
            self.refused = self._learned(played) if self._learn and played.trajectory.success else ""
        line = msgspec.json.encode(json_line(played, self._run, self.last_id)) + b"\n"
        if self._file is not None:
            self._file.write(line)
            self._file.flush()
        return line

    def _learned(self, played: Played) -> str:
        """Put an episode into the bank, or say why it cannot be stored. Raises EdgexpError where nothing can be."""
        assert self._bank is not None
        try:
            check_sound(played.trajectory)
        except EdgexpError as error:
            return f"not kept: {error}"
        self._bank.add([played.trajectory])
        return ""


def json_line(played: Played, run: str, episode: str) -> dict[str, Any]:
    """The episode as JSON data: the trajectory, what was recalled, how sure each action was, what it cost."""
    t, tokens, seconds = played.trajectory, played.tokens, played.seconds
    return {
        "id": t.id,
        "episode": episode,
        "run": run,
        "trajectory": t,
        "recalls": log_entry(played, run).recalls,
        "actions": [
            {"probability": d.probability, "alternatives": d.alternatives[:ALTERNATIVES], "seconds": d.seconds} for d in played.decisions
        ],
        "stats": {
            **{name: getattr(tokens, name) for name in tokens.__struct_fields__},
            **{f"{name}_seconds": getattr(seconds, name) for name in seconds.__struct_fields__},
        },
    }


def log_entry(played: Played, run: str) -> Episode:
    """The episode as the bank's log keeps it; each recall with all that it found, the best first."""
    t, who = played.trajectory, played.trajectory.provenance
    recalls = tuple(
        Recall(recall.step, recall.query, recall.seconds, tuple(
            Scored(found.id, found.score, found.reason, found.tokens, found.frame, found.usefulness) for found in _ranked(recall)
        ))
        for recall in played.recalls
    )  # fmt: skip
    return Episode(run, t.task.environment, t.task.id, t.id, t.success, t.score, who.model, who.created, recalls,
                   task_type=t.task.type, ending=t.end)  # fmt: skip


def _ranked(recall: Remembering) -> list[Remembered]:
    """What a recall found: by score; where more than that counted, what was used before what was left out, in the retriever's order."""
    found = [*recall.used, *recall.dropped]
    weighed = any(one.frame is not None or one.usefulness is not None for one in found)
    return found if weighed else sorted(found, key=lambda one: -one.score)
