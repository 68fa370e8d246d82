"""Runs episodes over one engine: answers what the episodes' generators ask for. Knows nothing of tasks, prompts or banks.

One at a time, or many at once: then what all of them wait for is evaluated in one batch, which costs less than the same tokens one
sequence after the other. Each episode stays the same but for the last bits of its logits, which depend on what else is in a batch.
Environments in processes of their own are waited for on threads, so that one that is slow, or hangs, holds up its own episode only.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Sequence as Ordered
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from edgexp.agent import Asked, Elsewhere, Episode
from edgexp.engine.decide import Tree
from edgexp.engine.engine import ContextFull, Logits, Sequence
from edgexp.errors import EdgexpError
from edgexp.trajectory import Trajectory


class Evaluator(Protocol):
    """What is needed of an engine."""

    def evaluate(self, sequences: Ordered[Sequence]) -> None:
        """Set every sequence's logits. Raises ContextFull with all of them as before."""

    def evaluate_tree(self, sequence: Sequence, parents: Ordered[int], tokens: Ordered[int]) -> Logits:
        """Logits after each node of a tree of continuations."""


Start = Callable[[int], Episode]
"""Makes an episode for a place, given by its number: whoever calls keeps an environment, a policy and a sequence for each place."""


@dataclass(frozen=True)
class Finished:
    """An episode that is over, or that could not begin."""

    number: int
    """Its position among the starts, from 0."""
    trajectory: Trajectory | None
    error: EdgexpError | None = None
    """Why there is no trajectory."""


@dataclass
class _Live:
    """An episode that waits for an answer."""

    number: int
    episode: Episode
    request: Asked


def run(episode: Episode, engine: Evaluator | None = None) -> Trajectory:
    """Play one episode to its end. An episode whose policy never asks for a model needs no engine."""
    [finished] = run_many([lambda _: episode], 1, engine)
    if finished.error:
        raise finished.error
    assert finished.trajectory is not None
    return finished.trajectory


def run_many(starts: Iterable[Start], places: int, engine: Evaluator | None = None) -> Iterator[Finished]:
    """Play episodes at `places` places at once, and tell of each when it is over; a free place takes the next episode at once.

    When the engine has no room for all that is asked, it is asked for less at a time; what still finds no room waits for the others. Only
    when nobody can go on does an episode end with a full context. An episode that raises EdgexpError is told of and touches no other one.
    """
    waiting = enumerate(starts)
    live: dict[int, _Live] = {}
    with _Threads(places) as threads:
        while True:
            for place in range(places):
                while place not in live and (following := next(waiting, None)) is not None:
                    number, start = following
                    yield from _advance(live, place, number, start(place), None)
            if not live:
                return
            deciding = {place: held for place, held in live.items() if not isinstance(held.request, Elsewhere)}
            answers = threads.answers(live, block=not deciding)
            if deciding:
                answers |= _answers(deciding, engine)
            for place, answer in answers.items():
                held = live.pop(place)
                yield from _advance(live, place, held.number, held.episode, answer)


class _Threads:
    """Does the work of environments elsewhere, each on a thread of its own. Use it as a context manager."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool: ThreadPoolExecutor | None = None
        self._doing: dict[int, Future[Any]] = {}

    def __enter__(self) -> "_Threads":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:  # a server that hangs has a time limit of its own, and closing its environment ends it at once
            self._pool.shutdown(wait=False, cancel_futures=True)

    def answers(self, live: Mapping[int, _Live], *, block: bool) -> dict[int, Any]:
        """Begin what is new and tell what is done, by place; with `block`, wait until something is. Errors are answers."""
        for place, held in live.items():
            if isinstance(held.request, Elsewhere) and place not in self._doing:
                self._pool = self._pool or ThreadPoolExecutor(self._most, thread_name_prefix="environment")
                self._doing[place] = self._pool.submit(held.request.work)
        if block:
            wait(self._doing.values(), return_when=FIRST_COMPLETED)
        done = [place for place, future in self._doing.items() if future.done()]
        return {place: future.exception() or future.result() for place in done for future in [self._doing.pop(place)]}


def _advance(live: dict[int, _Live], place: int, number: int, episode: Episode, answer: Any) -> Iterator[Finished]:
    """Let an episode go on to its next request, which makes it live, or to its end."""
    try:
        live[place] = _Live(number, episode, episode.throw(answer) if isinstance(answer, BaseException) else episode.send(answer))
    except StopIteration as stop:
        yield Finished(number, stop.value)
    except EdgexpError as error:
        yield Finished(number, None, error)


def _answers(live: dict[int, _Live], engine: Evaluator | None) -> dict[int, Any]:
    """Answers by place, for as many as there is room for; one that says so where there is room for none."""
    if engine is None:
        raise EdgexpError("this policy needs a model, and the episode was started without one")
    full = _evaluate(engine, [_sequence(held.request) for held in live.values()])
    answers: dict[int, Any] = {}
    for place, held in live.items():
        if id(_sequence(held.request)) in full:
            continue
        if isinstance(held.request, Tree):
            try:
                answers[place] = engine.evaluate_tree(held.request.sequence, held.request.parents, held.request.tokens)
            except ContextFull as error:
                full[id(held.request.sequence)] = error
        else:
            answers[place] = None
    if not answers:
        place, held = next(iter(live.items()))
        answers[place] = full[id(_sequence(held.request))]
    return answers


def _evaluate(engine: Evaluator, sequences: list[Sequence]) -> dict[int, ContextFull]:
    """Evaluate all at once, or halves of them where that is too much; the errors of those for which there is no room, by identity."""
    try:
        engine.evaluate(sequences)
    except ContextFull as error:
        if len(sequences) == 1:
            return {id(sequences[0]): error}
        middle = len(sequences) // 2
        return _evaluate(engine, sequences[:middle]) | _evaluate(engine, sequences[middle:])
    return {}


def _sequence(request: Asked) -> Sequence:
    assert not isinstance(request, Elsewhere)
    return request.sequence if isinstance(request, Tree) else request
