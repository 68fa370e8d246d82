"""How llama.cpp runs best on this machine: probed in child processes once for a library and a model, remembered in `machine.json`.

Two things cannot be known beforehand. Repacked weights (AMX on some virtual machines) can kill the process at the first evaluation, so
the first evaluation happens in a child. And spinning threads are fast on a quiet machine but up to thirty times slower beside one busy
neighbour, and whether they spin is read when the library loads, so each way of waiting needs a process of its own.

What is remembered belongs to a file's content, not to its name: another file in its place is probed before it is loaded here.
"""

import contextlib
import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import msgspec

from edgexp import process
from edgexp.engine import native
from edgexp.engine.engine import Engine
from edgexp.engine.model import Model
from edgexp.engine.native import Tuning
from edgexp.errors import EdgexpError
from edgexp.files import read_cache, write_cache
from edgexp.home import home
from edgexp.machine import cores
from edgexp.process import ChildDied, Progress

PROMPT, GENERATED = 96, 12
"""Tokens measured."""

PATIENCE = 1.0
"""Seconds after which a slow generation is judged by the tokens it made: spinning beside a busy neighbour can take a second for two."""


class Trial(msgspec.Struct, frozen=True):
    """What to measure. How threads wait is in the child's variables."""

    model: str
    threads: tuple[int, ...]
    extra_buffers: bool
    """Whether weights may be repacked."""


class Rate(msgspec.Struct, frozen=True):
    """What was measured with some number of threads, in tokens per second."""

    threads: int
    prompt: float
    generate: float


def measure_rates(trial: Trial, _: Progress) -> list[Rate]:
    """Load the model and evaluate a little with every thread count. Raises EdgexpError where the model cannot be loaded."""
    with Model(Path(trial.model), Tuning(1, 1, extra_buffers=trial.extra_buffers)) as model:
        return [_rate(model, count) for count in trial.threads]


def _rate(model: Model, threads: int) -> Rate:
    with Engine(model, 512, 2, 128, threads=threads) as engine:
        prompt, generate = _rates(engine)
        return Rate(threads, prompt, generate)


def _rates(engine: Engine) -> tuple[float, float]:
    """Tokens per second of a prompt, and one at a time."""
    sequence = engine.new()

    def seconds(tokens: range) -> float:
        started = perf_counter()
        sequence.append(token % len(engine.model.vocabulary) for token in tokens)
        engine.evaluate([sequence])
        return perf_counter() - started

    seconds(range(100, 108))  # touches every page of the weights, so that the disk is not measured
    prompt = seconds(range(200, 200 + PROMPT))
    count, spent = 0, 0.0
    while count < GENERATED and spent < PATIENCE:
        spent += seconds(range(300 + count, 301 + count))
        count += 1
    return PROMPT / prompt, count / spent


WAITING: tuple[dict[str, str], ...] = ({"OMP_WAIT_POLICY": "PASSIVE"}, {"GOMP_SPINCOUNT": "300"})
"""Ways for threads to wait, the one kinder to neighbours first: sleep at once, or spin for some microseconds and then sleep.

The second is as fast as endless spinning on a quiet machine and several times faster than it beside a busy process (docs/benchmarks.md),
so endless spinning, the runtime's default, is not on the list.
"""

MARGIN = 1.25
"""More threads, or threads that spin, must be this much faster: beside a busy neighbour they lose far more than that."""

ACTION_PROMPT, ACTION_TOKENS = 32, 3
"""Tokens of an observation, and tokens decided, in a typical action: what the ways of waiting are compared by."""


LIMIT = 300.0
"""Seconds after which a measurement hangs."""

_file = msgspec.json.Decoder(dict[str, msgspec.Raw])
_entry = msgspec.json.Decoder(Tuning)


def cache_path() -> Path:
    """Where measurements are kept."""
    return home() / "machine.json"


def for_model(model: Path, say: Callable[[str], None] = lambda _: None, digest: str = "") -> Tuning:
    """The tuning for a model on this machine: remembered, or measured now (about 5 seconds) and remembered.

    `say` is told what a person should know, once. `digest` is the content's, where the caller knows it; without one it is found out as
    far as that is quick. Raises EdgexpError when llama.cpp cannot run the model at all.
    """
    known, key = _read(), _key(model, digest)
    if key in known:
        return known[key]
    say("measuring how llama.cpp runs best on this machine (once, a few seconds)")
    tuning = measure(model)
    for note in tuning.notes:
        say(note)
    write_cache(cache_path(), msgspec.json.format(msgspec.json.encode({**known, key: tuning}), indent=2))
    return tuning


def forget(model: Path, digest: str = "") -> None:
    """Drop what is remembered for a model on this machine, so that it is measured again. `digest` as in `for_model`."""
    known = _read()
    if known.pop(_key(model, digest), None) is not None:
        write_cache(cache_path(), msgspec.json.format(msgspec.json.encode(known), indent=2))


def measure(model: Path) -> Tuning:
    """Probe and measure now. Raises EdgexpError when llama.cpp dies or fails with and without repacked weights."""
    counts = thread_counts(cores())
    notes: tuple[str, ...] = ()
    extra = True
    first, failure = _measure_in_child(model, WAITING[0], counts, extra)
    if failure:
        extra, notes = False, (f"llama.cpp {_how(failure)} here with repacked weights; running without them",)
        first, failure = _measure_in_child(model, WAITING[0], counts, extra)
    if isinstance(failure, ChildDied):
        raise EdgexpError(f"llama.cpp {_how(failure)} when it evaluates {model}; see what it says with: edgexp doctor")
    if failure:
        raise failure  # it says what is wrong and with which file
    results = [(WAITING[0], first)]
    for waiting in WAITING[1:]:
        rates, failure = _measure_in_child(model, waiting, counts, extra)
        if not failure:
            results.append((waiting, rates))
    return choose(results, extra, notes)


def choose(results: list[tuple[dict[str, str], list[Rate]]], extra: bool = True, notes: tuple[str, ...] = ()) -> Tuning:
    """The best of some measurements, the kindest way of waiting first: another only if it makes an action `MARGIN` times cheaper."""
    waiting, rates = results[0]
    for other, measured in results[1:]:
        if _action_seconds(rates) > _action_seconds(measured) * MARGIN:
            waiting, rates = other, measured
    one, many = _fastest(rates, "generate"), _fastest(rates, "prompt")
    return Tuning(one.threads, many.threads, waiting, extra, round(one.generate, 1), round(many.prompt, 1), notes)


def thread_counts(available: int) -> list[int]:
    """Thread counts worth measuring, ascending: one, half and all of the cores, at most 16."""
    return sorted({1, max(1, min(available, 16) // 2), min(available, 16)})


def _fastest(rates: list[Rate], what: str) -> Rate:
    best = rates[0]
    for rate in rates[1:]:
        if getattr(rate, what) > getattr(best, what) * MARGIN:
            best = rate
    return best


def _action_seconds(rates: list[Rate]) -> float:
    return ACTION_PROMPT / _fastest(rates, "prompt").prompt + ACTION_TOKENS / _fastest(rates, "generate").generate


def _measure_in_child(model: Path, waiting: dict[str, str], counts: list[int], extra: bool) -> tuple[list[Rate], EdgexpError | None]:
    """Rates by thread count, and what went wrong."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")} | waiting
    trial = Trial(str(model), tuple(counts), extra)
    try:
        return process.call(measure_rates, trial, "measuring", environment=environment, limit=LIMIT), None
    except EdgexpError as error:
        return [], error


def _how(failure: EdgexpError) -> str:
    if not isinstance(failure, ChildDied):
        return f"fails ({failure})"
    if failure.code is None:
        return "hangs"
    if failure.code < 0 or failure.code > 128:
        return f"crashes (exit {failure.code})"
    return f"fails: {failure.last_words or f'exit {failure.code}'}"


def _key(model: Path, digest: str) -> str:
    library = native.library_path()
    built = library.stat()
    processor = f"{platform.machine()} {_processor()} x{cores()}"
    return f"{library.name} {built.st_size} {int(built.st_mtime)} | {processor} | {digest or _quick_digest(model)}"


_ENDS = 1 << 20
"""Bytes at the beginning and at the end of a file that are looked at."""


def _quick_digest(model: Path) -> str:
    """A digest of what says whether a file is the one it was, without reading all of it: inode, size, times and both its ends."""
    try:
        with model.open("rb") as file:
            now = os.fstat(file.fileno())
            digest = hashlib.sha256(repr((now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino)).encode())
            digest.update(file.read(_ENDS))
            file.seek(max(0, now.st_size - _ENDS))
            digest.update(file.read(_ENDS))
    except OSError as error:
        raise EdgexpError(f"{model} cannot be read: {error.strerror or error}") from error
    return "quick " + digest.hexdigest()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _read() -> dict[str, Tuning]:
    """What was measured. One entry that is damaged does not cost the others; one that no measurement could have given is none."""
    raw = read_cache(cache_path(), _file.decode) or {}
    known = {}
    for key, data in raw.items():
        with contextlib.suppress(ValueError, RecursionError):
            tuning = _entry.decode(data)
            if _is_possible(tuning):
                known[key] = tuning
    return known


def _is_possible(tuning: Tuning) -> bool:
    variables = {name for waiting in WAITING for name in waiting}
    most = thread_counts(cores())[-1]
    return (1 <= tuning.threads <= most and 1 <= tuning.threads_batch <= most and tuning.environment.keys() <= variables
            and all(value.isalnum() for value in tuning.environment.values()))
