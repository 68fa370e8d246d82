"""What `edgexp run` shows of a memory."""

import pytest

from edgexp.bank.usefulness import DOUBT, HOPE, Counters
from edgexp.cli.screens import proved


class NothingLogged:
    """A bank's database before any episode."""

    def rows(self, *_):
        return [(None,)]


def test_what_was_never_in_a_prompt_says_nothing_of_its_usefulness():
    """The beginning is what the counters give to what has no episode yet, rounded as they round."""
    assert Counters(NothingLogged()).of({"t1": "expert"})["t1"].value == HOPE
    assert proved(HOPE) == proved(None) == ""


@pytest.mark.parametrize(("value", "said"), [(0.25, "usefulness +0.25, "), (-0.5, "usefulness -0.50, "), (DOUBT, "usefulness -0.70, ")])
def test_what_experience_or_its_source_says_of_it_is_shown(value, said):
    assert proved(value) == said
