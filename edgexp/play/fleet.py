"""Places to play at: engines side by side over one model with a sequence for each place, and an environment for each place. Plays nothing.

Prompts of one environment begin with the same instructions: where there are several places, those are evaluated and stored once an engine.
Where memory stands apart, instructions and past episodes are shared stretches, which all engines get from one source.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal

from edgexp.engine import tuning
from edgexp.engine.engine import Engine, TokenSequence
from edgexp.engine.maker import BlockSource
from edgexp.engine.model import Model
from edgexp.engine.vault import open_vault
from edgexp.environments.base import Environment, restarts_of
from edgexp.environments.registry import make
from edgexp.errors import UsageError
from edgexp.machine import cores
from edgexp.models.model_files import digest_of
from edgexp.retrieval import Layout

Say = Callable[[str], None]

LONGEST = 8192
"""Tokens of room where nobody asks for a number: what a model was made for, and no more than this."""

_FORKS = 32
"""Sequences beyond the places', for scoring many actions at once."""
_SPARE = 512
"""Cells beyond the episodes' rooms, for what those forks hold."""
_PREFIXES = 8
"""Environments whose instructions an engine can hold at once."""
_CELLS = 256
"""llama.cpp hands cells out in multiples of this."""


class Fleet:
    """One model at a number of places. Knows tokens, and no tasks, banks or environments. Close it, or use it as a context manager.

    Place p is of engine p % len(engines), as `rollout.run_many` shares them out.
    """

    def __init__(self, path: Path, places: int = 1, *, context: int = 0, trees: bool = False, gpu_layers: int = 0,
                 layout: Layout = "auto", memories: int = 0, vault: int = 0, say: Say = lambda _: None):
        """An engine gets as many cells as all its places can need at once, so that none is ever short of room because of another.

        `context` is the room of an episode in tokens; 0 takes what the model was made for, at most `LONGEST`. `trees` says that
        trees of continuations will be evaluated: that takes forks, for which all cells have to be in one pool, as they have to
        where memory stands apart; otherwise each of several places has its own. `layout` says how memory will stand in prompts, and
        `memories` how many past episodes there may be in one; what is evaluated of them is kept in a vault of at most `vault`
        bytes. Where one token is generated fastest on some cores only, there are engines enough for all cores, over one copy of the
        weights.
        """
        self.places = places
        self._stack = ExitStack()
        try:
            digest = digest_of(path)
            tuned = tuning.for_model(path, say, digest)
            self.model = self._stack.enter_context(Model(path, tuned, gpu_layers))
            self.room = context or min(self.model.trained_context, LONGEST)
            self._trees, self._memories = trees, memories if self.layout(layout) == "apart" else None
            self.source = BlockSource(self.model, open_vault(vault), digest)
            self._stack.callback(self.source.close)
            side_by_side = engines_for(places, cores(), tuned.threads) if gpu_layers == 0 else 1
            self.engines = [self._stack.enter_context(self._make_engine(number, side_by_side)) for number in range(side_by_side)]
        except BaseException:
            self._stack.close()
            raise
        self._sequences: dict[int, TokenSequence] = {}
        self._prefixes: dict[int, TokenSequence] = {}

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def layout(self, wanted: Layout) -> Literal["chained", "apart"]:
        """How memory stands in prompts where that is wanted; `auto` is what the model was trained for.

        Raises UsageError where the model cannot have it apart.
        """
        layout = self.model.layout if wanted == "auto" else wanted
        if layout == "apart" and not self.model.can_share:
            raise UsageError(f"{self.model.path.name} keeps a state or a window of what it reads, so memory cannot stand apart in its "
                             "prompts; play it with: --layout chained")
        return layout

    def sequence(self, place: int, prefix: list[int]) -> TokenSequence:
        """The place's sequence, kept from episode to episode. All of an engine begin with the same `prefix`, stored once."""
        if place not in self._sequences:
            number = place % len(self.engines)
            engine = self.engines[number]
            forks = self.places > 1 and self._memories is None
            self._sequences[place] = engine.fork(self._beginning(number, prefix)) if forks else engine.new()
        return self._sequences[place]

    def _beginning(self, number: int, prefix: list[int]) -> TokenSequence:
        if number not in self._prefixes:
            beginning = self._prefixes[number] = self.engines[number].new()
            beginning.append(prefix)
            self.engines[number].evaluate([beginning])
        return self._prefixes[number]

    def _make_engine(self, number: int, of: int) -> Engine:
        """Engine `number` of `of`, which answers the places that `run_many` gives it."""
        places = len(range(number, self.places, of))
        threads = max(1, cores() // of) if of > 1 else None
        if self._trees or self.places == 1 or self._memories is not None:
            cells = places * self.room + (_SPARE if self.places > 1 else 0)
            forks = 1 if self.model.recurrent else _FORKS  # a state takes its memory for every slot, used or not
            slots = places + 1 + (forks if self._trees else 0)
            return Engine(self.model, cells, slots=slots, threads=threads, blocks=self._stretches(places), source=self.source)
        slots = places + 1  # one for the instructions
        room = -(-self.room // _CELLS) * _CELLS
        return Engine(self.model, slots * room, slots=slots, threads=threads, own_cells=True)


    def _stretches(self, places: int) -> int:
        """Shared stretches that so many places can hold at once, while one of them goes over to others."""
        return 0 if self._memories is None else (places + 1) * self._memories + _PREFIXES


def engines_for(places: int, cores: int, threads: int) -> int:
    """How many engines of `threads` threads keep `cores` cores busy with the episodes of some places."""
    return max(1, min(places, cores // threads))


class Environments:
    """Environments by name and place, made when they are first asked for. Close it, or use it as a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._made: dict[tuple[str, int], Environment] = {}
        self._limits: dict[str, int] = {}

    def __enter__(self) -> "Environments":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def at(self, name: str, place: int = 0) -> Environment:
        """A place's environment; each place has its own."""
        if (name, place) not in self._made:
            made = self._made[name, place] = make(name)
            self._limits.setdefault(name, made.max_steps)
            self._stack.callback(made.close)
        return self._made[name, place]

    def limit(self, name: str) -> int:
        """The most actions an episode may take where nobody names another number. A task may have a lower limit of its own."""
        self.at(name)
        return self._limits[name]

    def restarts(self) -> dict[str, int]:
        """Environment → how often the server behind it died or hung and was started anew; those without are not in it."""
        found: Counter[str] = Counter()
        for (name, _), environment in self._made.items():
            found[name] += restarts_of(environment)
        return dict(+found)
