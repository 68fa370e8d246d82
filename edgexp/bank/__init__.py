"""The bank of experience: SQLite is the truth, mapped index files are a cache that can be lost at any time.

`Bank` is the façade; the rest of the package is behind it. Importing this loads neither numpy nor an index library.
"""

from edgexp.bank.bank import Bank, default_path
from edgexp.bank.records import KINDS, AddResult, Entry, Episode, Filters, Hit, Kind, Recall, Scored, Stats, Status, history_text, task_text
from edgexp.bank.soundness import check_sound
from edgexp.bank.upkeep import Embedder
from edgexp.bank.usefulness import Usefulness

__all__ = [
    "KINDS",
    "AddResult",
    "Bank",
    "Embedder",
    "Entry",
    "Episode",
    "Filters",
    "Hit",
    "Kind",
    "Recall",
    "Scored",
    "Stats",
    "Status",
    "Usefulness",
    "check_sound",
    "default_path",
    "history_text",
    "task_text",
]
