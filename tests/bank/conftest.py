"""Banks for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bank_samples import WordEncoder

from edgexp.bank import Bank


@pytest.fixture
def words() -> WordEncoder:
    """A small encoder."""
    return WordEncoder()


@pytest.fixture
def bank(tmp_path: Path, words: WordEncoder) -> Iterator[Bank]:
    """An empty bank, open for writing."""
    with Bank.open(tmp_path / "bank", words) as opened:
        yield opened
