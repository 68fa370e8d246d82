"""The bank of experience: SQLite is the truth, mapped index files are a cache that can be lost at any time.

`Bank` is the façade; the rest of the package is behind it. Importing this loads neither numpy nor an index library.
"""

from edgexp.bank.bank import Bank, default_path
from edgexp.bank.embed import Embedder
from edgexp.bank.keys import KINDS, Kind, course_text, task_text
from edgexp.bank.records import AddResult, Entry, Episode, Filters, Hit, Recall, Stats, Status, Weighed

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
    "Stats",
    "Status",
    "Weighed",
    "course_text",
    "default_path",
    "task_text",
]
