"""What the documentation prints, for tests that run it."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "environments.md"


def printed_environment(heading: str = "## Your own") -> str:
    """The first piece of Python behind a heading of the page: a module with a whole environment."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8").partition(f"\n{heading}\n")[2], re.DOTALL)
    assert found
    return found[1]
