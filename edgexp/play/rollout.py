"""Runs episodes over one engine or several: answers what the episodes' generators ask for. Knows nothing of tasks, prompts or banks.

One at a time, or many at once: then what all episodes of an engine wait for is evaluated in one batch, which costs less than the same
tokens one sequence after the other, and engines work side by side, each on a thread of its own, while the environments' work of the
other episodes is done between them. Each episode stays the same but for the last bits of its logits, which depend on what else is in a
batch. Environments in processes of their own are waited for on threads, so that one that is slow, or hangs, holds up its own episode only.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Protocol

from edgexp.engine.decide import Tree
from edgexp.engine.engine import ContextFull, Logits, TokenSequence
from edgexp.errors import EdgexpError
from edgexp.play.episode import Asked, Elsewhere, Episode
from edgexp.trajectory import Trajectory


class Evaluator(Protocol):
    """What is needed of an engine."""

    def evaluate(self, sequences: Sequence[TokenSequence]) -> None:
        """Set every sequence's logits. Raises ContextFull with those that it could not set as before."""

    def evaluate_tree(self, sequence: TokenSequence, parents: Sequence[int], tokens: Sequence[int]) -> Logits:
        """Logits after each node of a tree of continuations."""


Course = Generator[Asked, Any, Trajectory | None]
"""An episode, or several one after the other, of which the last is told."""

Start = Callable[[int], Course]
"""Makes an episode for a place, given by its number: whoever calls keeps an environment, a policy and a sequence for each place."""


@dataclass(frozen=True)
class Finished:
    """An episode that is over, or that could not begin."""

    number: int
    """Its position among the starts, from 0."""
    trajectory: Trajectory | None
    error: EdgexpError | None = None
    """Why there is no trajectory."""


MOST_THREADS = 256
"""Threads at once; they are made when they are needed."""


@dataclass
class _Live:
    """An episode that waits for an answer."""

    number: int
    episode: Course
    request: Asked


def run(episode: Episode, engine: Evaluator | None = None) -> Trajectory:
    """Play one episode to its end. An episode whose policy never asks for a model needs no engine."""
    [finished] = run_many([lambda _: episode], 1, [engine] if engine else [])
    if finished.error:
        raise finished.error
    assert finished.trajectory is not None
    return finished.trajectory


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
                    yield from _advance(live, place, number, start(place), None)
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
            elsewhere.begin(place, held.request.work)
        elif not engines:
            raise EdgexpError("this policy needs a model, and the episode was started without one")
        else:
            deciding.setdefault(place % len(engines), {})[place] = held
    if len(engines) == 1 and deciding:  # nothing goes on beside it that a thread would help
        return elsewhere.done() | _round(deciding[0], engines[0])
    for number, places in deciding.items():
        rounds.begin(number, partial(_round, places, engines[number]))
    wait([*elsewhere.doing, *rounds.doing], return_when=FIRST_COMPLETED)
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

    def __enter__(self) -> "_Threads":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:
            # An engine must not be closed under a thread that is in it. A server that hangs is not waited for: it has a time limit of its
            # own, and closing its environment ends it at once.
            self._pool.shutdown(wait=self._finish, cancel_futures=True)

    @property
    def doing(self) -> Iterable[Future[Any]]:
        """What is begun and was not told of yet."""
        return self._doing.values()

    def begin(self, key: int, work: Callable[[], Any]) -> None:
        """Begin a key's work, unless its last is still going on."""
        if key not in self._doing:
            self._pool = self._pool or ThreadPoolExecutor(MOST_THREADS)
            self._doing[key] = self._pool.submit(work)

    def done(self) -> dict[int, Any]:
        """What came of the work that is over, by key, told once. Errors are results."""
        over = [key for key, future in self._doing.items() if future.done()]
        return {key: future.exception() or future.result() for key in over for future in [self._doing.pop(key)]}


def _advance(live: dict[int, _Live], place: int, number: int, episode: Course, answer: Any) -> Iterator[Finished]:
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
        answers[place] = full[id(_sequence(held.request))]
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


def _sequence(request: Asked) -> TokenSequence:
    assert not isinstance(request, Elsewhere)
    return request.sequence if isinstance(request, Tree) else request
