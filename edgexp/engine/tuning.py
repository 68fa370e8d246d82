"""How llama.cpp runs best on this machine: probed in child processes once for a library and a model, remembered in `machine.json`.

Two things cannot be known beforehand. Repacked weights (AMX on some virtual machines) can kill the process at the first evaluation, so
the first evaluation happens in a child. And spinning threads are fast on a quiet machine but up to thirty times slower beside one busy
neighbour, and whether they spin is read when the library loads, so each way of waiting needs a process of its own.
"""

import contextlib
import os
import platform
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgexp import process
from edgexp.engine import native
from edgexp.engine.native import Tuning
from edgexp.engine.probe import Rate, Trial, measure_rates
from edgexp.errors import EdgexpError
from edgexp.files import read_cache, write_cache
from edgexp.home import home
from edgexp.machine import cores
from edgexp.process import ChildDied

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


def for_model(model: Path, say: Callable[[str], None] = lambda _: None) -> Tuning:
    """The tuning for a model on this machine: remembered, or measured now (about 5 seconds) and remembered.

    `say` is told what a person should know, once. Raises EdgexpError when llama.cpp cannot run the model at all.
    """
    known, key = _read(), _key(model)
    if key in known:
        return known[key]
    say("measuring how llama.cpp runs best on this machine (once, a few seconds)")
    tuning = measure(model)
    for note in tuning.notes:
        say(note)
    write_cache(cache_path(), msgspec.json.format(msgspec.json.encode({**known, key: tuning}), indent=2))
    return tuning


def forget(model: Path) -> None:
    """Drop what is remembered for a model on this machine, so that it is measured again."""
    known = _read()
    if known.pop(_key(model), None) is not None:
        write_cache(cache_path(), msgspec.json.format(msgspec.json.encode(known), indent=2))


def measure(model: Path) -> Tuning:
    """Probe and measure now. Raises EdgexpError when llama.cpp dies or fails with and without repacked weights."""
    counts = thread_counts(cores())
    notes: tuple[str, ...] = ()
    extra = True
    first, died = _measure_in_child(model, WAITING[0], counts, extra)
    if died:
        extra, notes = False, (f"llama.cpp {died} here with repacked weights; running without them",)
        first, died = _measure_in_child(model, WAITING[0], counts, extra)
        if died:
            raise EdgexpError(f"llama.cpp {died} when it evaluates {model}; see what it says with: edgexp doctor")
    results = [(WAITING[0], first)]
    for waiting in WAITING[1:]:
        rates, died = _measure_in_child(model, waiting, counts, extra)
        if not died:
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


def _measure_in_child(model: Path, waiting: dict[str, str], counts: list[int], extra: bool) -> tuple[list[Rate], str]:
    """Rates by thread count, and how the child died (empty if it did not)."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")} | waiting
    trial = Trial(str(model), tuple(counts), extra)
    try:
        return process.call(measure_rates, trial, "measuring", environment=environment, limit=LIMIT), ""
    except ChildDied as death:
        return [], _how(death)
    except EdgexpError as error:
        return [], f"fails: {error}"


def _how(death: ChildDied) -> str:
    if death.code is None:
        return "hangs"
    if death.code < 0 or death.code > 128:
        return f"crashes (exit {death.code})"
    return f"fails: {death.last_words or f'exit {death.code}'}"


def _key(model: Path) -> str:
    library = native.library_path()
    built = library.stat()
    processor = f"{platform.machine()} {_processor()} x{cores()}"
    return f"{library.name} {built.st_size} {int(built.st_mtime)} | {processor} | {model.name} {model.stat().st_size}"


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
