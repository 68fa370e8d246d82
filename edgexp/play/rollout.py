"""Runs episodes over one engine or several: answers what the episodes' generators ask for. Knows nothing of tasks, prompts or banks.

One at a time, or many at once: then what all episodes of an engine wait for is evaluated in one batch, which costs less than the same
tokens one sequence after the other, and engines work side by side, each on a thread of its own, while the environments' work of the
other episodes is done between them. Each episode stays the same but for the last bits of its logits, which depend on what else is in a
batch. What other processes do (environments, model servers) is waited for on threads, so that one that is slow, or hangs, holds up its own
episode only; where a time limit is set, the episode is told when it has passed.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, Protocol

from edgexp.engine.decide import Request, Tree
from edgexp.engine.engine import ContextFull, Logits, TokenSequence
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.episode import Asking, CannotGoOn, Elsewhere, Episode
from edgexp.trajectory import Played, Trajectory


class Evaluator(Protocol):
    """What is needed of an engine."""

    def evaluate(self, sequences: Sequence[TokenSequence]) -> None:
        """Set every sequence's logits. Raises ContextFull with those that it could not set as before."""

    def evaluate_tree(self, sequence: TokenSequence, parents: Sequence[int], tokens: Sequence[int]) -> Logits:
        """Logits after each node of a tree of continuations."""


Episodes = Asking[Played | None]
"""An episode, or several one after the other, of which the last is told."""

Start = Callable[[int], Episodes]
"""Makes an episode for a place, given by its number: whoever calls keeps an environment, a policy and a sequence for each place."""


@dataclass(frozen=True)
class Finished:
    """An episode that is over, or that could not begin."""

    number: int
    """Its position among the starts, from 0."""
    played: Played | None
    error: EdgexpError | None = None
    """Why there is no record."""

    @property
    def trajectory(self) -> Trajectory | None:
        """What happened; None where there is no record."""
        return self.played.trajectory if self.played else None


MOST_THREADS = 256
"""Threads at once; they are made when they are needed."""


@dataclass
class _Live:
    """An episode that waits for an answer."""

    number: int
    episode: Episodes
    request: Request | Elsewhere


def run(episode: Episode, engine: Evaluator | None = None) -> Played:
    """Play one episode to its end; its record. An episode whose policy never asks for a model needs no engine."""
    [finished] = run_many([lambda _: episode], 1, [engine] if engine else [])
    if finished.error:
        raise finished.error
    assert finished.played is not None
    return finished.played


def run_many(starts: Iterable[Start], places: int, engines: Sequence[Evaluator] = ()) -> Iterator[Finished]:
    """Play episodes at `places` places at once, and tell of each when it is over; a free place takes the next episode at once.

    Place p is answered by `engines[p % len(engines)]`, and its episodes have to be of that engine. When an engine has no room for all
    that is asked, it is asked for less at a time; what still finds no room waits for the others. Only when none of its places can go on
    does an episode end with a full context. An episode that raises EdgexpError is told of and touches no other one.
    """
    waiting = enumerate(starts)
    live: dict[int, _Live] = {}
    with _Threads() as elsewhere, _Threads(finish=True) as rounds:
        while True:
            for place in range(places):
                while place not in live and (following := next(waiting, None)) is not None:
                    number, start = following
                    try:
                        episode = start(place)
                    except UsageError:  # what is wrong for this one is wrong for all
                        raise
                    except EdgexpError as error:  # the place's environment or policy cannot be made
                        yield Finished(number, None, error)
                        continue
                    yield from _advance(live, place, number, episode, None)
            if not live:
                return
            for place, answer in _answers(live, engines, elsewhere, rounds).items():
                held = live.pop(place)
                yield from _advance(live, place, held.number, held.episode, answer)


def _answers(live: Mapping[int, _Live], engines: Sequence[Evaluator], elsewhere: "_Threads", rounds: "_Threads") -> dict[int, Any]:
    """Answers by place, of environments and engines that have some; at least one."""
    deciding: dict[int, dict[int, _Live]] = {}
    for place, held in live.items():
        if isinstance(held.request, Elsewhere):
            elsewhere.begin(place, held.request.work, held.request.limit)
        elif not engines:
            raise EdgexpError("this policy needs a model, and the episode was started without one")
        else:
            deciding.setdefault(place % len(engines), {})[place] = held
    if len(engines) == 1 and deciding:  # nothing goes on beside it that a thread would help
        return elsewhere.done() | _round(deciding[0], engines[0])
    for number, places in deciding.items():
        rounds.begin(number, partial(_round, places, engines[number]))
    wait([*elsewhere.doing, *rounds.doing], elsewhere.patience, FIRST_COMPLETED)
    answers = elsewhere.done()
    for answered in rounds.done().values():
        if isinstance(answered, BaseException):
            raise answered
        answers |= answered
    return answers


class _Threads:
    """Work on threads, one piece a key at a time. Use it as a context manager; with `finish` it waits in the end for what is begun."""

    def __init__(self, *, finish: bool = False) -> None:
        self._finish = finish
        self._pool: ThreadPoolExecutor | None = None
        self._doing: dict[int, Future[Any]] = {}
        self._until: dict[int, float] = {}

    def __enter__(self) -> "_Threads":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:  # an engine must not be closed under a thread that is in it
            self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def doing(self) -> Iterable[Future[Any]]:
        """What is begun and was not told of yet."""
        return self._doing.values()

    @property
    def patience(self) -> float | None:
        """Seconds to the next time limit; None where there is none."""
        return max(0.0, min(self._until.values()) - monotonic()) if self._until else None

    def begin(self, key: int, work: Callable[[], Any], limit: float | None = None) -> None:
        """Begin a key's work, unless its last is still going on; after `limit` seconds it is given up."""
        if key in self._doing:
            return
        self._doing[key] = self._submit(work)
        if limit is not None:
            self._until[key] = monotonic() + limit

    def done(self) -> dict[int, Any]:
        """What came of the work that is over or given up, by key, told once. Errors are results."""
        now = monotonic()
        over = [key for key, future in self._doing.items() if future.done() or now >= self._until.get(key, math.inf)]
        return {key: self._result(key) for key in over}

    def _result(self, key: int) -> Any:
        future = self._doing.pop(key)
        self._until.pop(key, None)
        return (future.exception() or future.result()) if future.done() else TimeoutError()

    def _submit(self, work: Callable[[], Any]) -> Future[Any]:
        if self._finish:
            self._pool = self._pool or ThreadPoolExecutor(MOST_THREADS)
            return self._pool.submit(work)
        # A thread that a hanging server holds must not hold the whole program at its end, as those of a pool do.
        future: Future[Any] = Future()
        threading.Thread(target=_fulfil, args=(future, work), daemon=True).start()
        return future


def _fulfil(future: "Future[Any]", work: Callable[[], Any]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


def _advance(live: dict[int, _Live], place: int, number: int, episode: Episodes, answer: Any) -> Iterator[Finished]:
    """Let an episode go on to its next request, which makes it live, or to its end."""
    try:
        live[place] = _Live(number, episode, episode.throw(answer) if isinstance(answer, BaseException) else episode.send(answer))
    except StopIteration as stop:
        yield Finished(number, stop.value)
    except EdgexpError as error:
        yield Finished(number, None, error)


def _round(live: dict[int, _Live], engine: Evaluator) -> dict[int, Any]:
    """An engine's answers by place, for as many as there is room for; one that says so where there is room for none."""
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
        answers[place] = CannotGoOn("context_full")
    return answers


def _evaluate(engine: Evaluator, sequences: list[TokenSequence]) -> dict[int, ContextFull]:
    """Evaluate all at once, or halves of them where that is too much; the errors of those for which there is no room, by identity."""
    try:
        engine.evaluate(sequences)
    except ContextFull as error:
        if len(sequences) == 1:
            return {id(sequences[0]): error}
        middle = len(sequences) // 2
        return _evaluate(engine, sequences[:middle]) | _evaluate(engine, sequences[middle:])
    return {}


def _sequence(request: Request | Elsewhere) -> TokenSequence:
    assert not isinstance(request, Elsewhere)
    return request.sequence if isinstance(request, Tree) else request
