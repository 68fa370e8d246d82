"""How useful past episodes proved: how often each was in a prompt, and how those episodes ended, against what was to be expected of them.

Everything is counted from the bank's log, in the order in which it was written, so there is nothing that a crash could leave half done and
nothing to repair: whoever opens the bank comes to the same numbers, and from then on reads only what is new. Knows no trajectories and
does not know what a memory says.

What is to be expected of an episode is the success rate so far of its kind of task: of the environment, drawn towards the task type, drawn
towards the model that acts. A trajectory's usefulness is by how much more often than that the episodes were won that had it in their
prompt: the mean of a Beta distribution less the expected rate. It begins where its provenance puts it, and experience outweighs that. The
idea of choosing by likeness first and by proven worth second is that of MemRL (arXiv 2601.03192).
"""

from collections.abc import Mapping, Sequence

import msgspec

from edgexp.bank.episode_log import columns
from edgexp.bank.schema import Database

STRENGTH = 2.0
"""Episodes that the beginning counts for."""
HOPE = 0.05
"""Usefulness of what has never been in a prompt: a little above what was tried and made no difference, so that the new gets its turn."""
DOUBT = -0.7
"""The same of an import: its file says that it happened so, and nobody here has seen it. It counts as if it had been in two prompts and
been lost where seven of ten were to be won. So an accepted one is shown where nothing of one's own is about as likely to help, and can
prove itself there: after four wins it is as good as any."""
_READ = ("ending", "success", "environment", "task_type", "model", "run", "task_id", "trajectory", "created")
_SMOOTH = 4.0
"""Episodes that a rate is drawn towards the one around it."""


class Usefulness(msgspec.Struct, frozen=True):
    """What experience says of one trajectory."""

    uses: int
    """Episodes that had it in their prompt."""
    wins: int
    """How many of these were won."""
    expected: float
    """How many of these would have been won at the rates of their kinds of task."""
    value: float
    """Above 0: it helps. A difference of success rates, so always between -1 and 1."""


class Rates:
    """Running success rates of kinds of task, each drawn towards the wider kind."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], tuple[int, int]] = {}

    def expect(self, *kind: str) -> float:
        """The rate to expect of a kind, named from the widest part to the narrowest. With nothing to go by it is a half."""
        rate = 0.5
        for depth in range(1, len(kind) + 1):
            count, won = self._seen.get(kind[:depth], (0, 0))
            weight = 2.0 if depth == 1 else _SMOOTH
            rate = (won + weight * rate) / (count + weight)
        return rate

    def add(self, won: bool, *kind: str) -> None:
        """An episode of a kind ended."""
        for depth in range(1, len(kind) + 1):
            count, before = self._seen.get(kind[:depth], (0, 0))
            self._seen[kind[:depth]] = (count + 1, before + won)


class Counters:
    """The counters of one bank, kept in step with its log."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rates = Rates()
        self._counts: dict[str, list[float]] = {}
        self._episodes = set[int]()
        """Hashes of what was counted: an episode that was logged twice counts once."""
        self._last = 0

    def of(self, sources: Mapping[str, str]) -> dict[str, Usefulness]:
        """What the log says by now of trajectories, given as id → source."""
        self._catch_up()
        return {identity: _judge(self._counts.get(identity, (0, 0, 0.0)), source) for identity, source in sources.items()}

    def _catch_up(self) -> None:
        """Count what was logged since the last time. An episode is in the log with all its recalls, or not at all."""
        newest = self._database.rows("SELECT max(number) FROM episode")[0][0] or 0
        if newest == self._last:
            return
        between, used = (self._last, newest), dict[int, set[str]]()
        sql = "SELECT episode, trajectory FROM recalled WHERE episode > ? AND episode <= ? AND dropped = ''"
        for number, identity in self._database.rows(sql, between):
            used.setdefault(number, set()).add(identity)
        sql = f"SELECT number, {columns(self._database, _READ)} FROM episode WHERE number > ? AND number <= ? ORDER BY number"
        for number, *row in self._database.rows(sql, between):
            self._count(row, used.get(number, set()))
        self._last = newest

    def _count(self, row: Sequence[object], used: set[str]) -> None:
        """One episode. One that broke off says nothing of what it remembered, and one that cannot be read says nothing at all."""
        ending, success, *texts = row
        if not all(isinstance(text, str) for text in (ending, *texts)) or success not in (0, 1) or str(ending).startswith("error: "):
            return
        environment, kind, model, *which = map(str, texts)
        same = hash((environment, *which))
        if same in self._episodes:
            return
        self._episodes.add(same)
        expected = self._rates.expect(environment, kind, model)
        for identity in used:
            counts = self._counts.setdefault(identity, [0, 0, 0.0])
            for place, more in enumerate((1, int(success == 1), expected)):
                counts[place] += more
        self._rates.add(success == 1, environment, kind, model)


def _judge(counts: Sequence[float], source: str) -> Usefulness:
    uses, wins, expected = counts
    first = DOUBT if source == "import" else HOPE
    return Usefulness(int(uses), int(wins), round(expected, 6), round((wins - expected + STRENGTH * first) / (uses + STRENGTH), 6))
