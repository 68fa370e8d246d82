"""Evaluates past episodes before anybody plays: each goes through the model once, and is then attached to whatever prompt recalls it;
and forgets them wherever they are."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from edgexp.bank import Bank
from edgexp.engine.maker import BlockSource, Stretch
from edgexp.engine.vault import Vault, default_folder
from edgexp.prompt.render import Renderer
from edgexp.trajectory import Trajectory


class Warmed(msgspec.Struct):
    """What came of warming some episodes."""

    episodes: int = 0
    known: int = 0
    """Of them, those that were evaluated before."""
    tokens_evaluated: int = 0
    tokens_loaded: int = 0
    bytes: int = 0
    """What all of them take in memory and on disk."""


def warm(source: BlockSource, renderer: Renderer, episodes: Iterable[Trajectory], done: Callable[[int], None] = lambda _: None) -> Warmed:
    """Have the states of the instructions and of each episode made and kept; `done` is told after how many episodes.

    It can be stopped at any moment and called again: what was kept is not evaluated again.
    """
    warmed, prefix = Warmed(), tuple(renderer.prefix())
    for trajectory in episodes:
        state, came = source.get(Stretch(prefix, tuple(renderer.block(trajectory)), trajectory.id))
        warmed.episodes += 1
        warmed.known += not came.evaluated
        warmed.tokens_evaluated += came.evaluated
        warmed.tokens_loaded += came.loaded
        warmed.bytes += state.size
        done(warmed.episodes)
    return warmed


def forget_everywhere(bank: Bank, ids: Sequence[str]) -> int:
    """Remove episodes from a bank and from the vault; how many the bank held."""
    kept = Vault(default_folder())
    kept.forget(ids)  # first: a crash after this leaves an episode that is evaluated again, never a block of one that is gone
    gone = bank.forget(ids)
    kept.forget(ids)  # again: somebody may have played with it meanwhile
    return gone
