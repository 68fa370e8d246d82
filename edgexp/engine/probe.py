"""How fast llama.cpp runs a model with some settings, measured by running it. Called by `tuning.py` in a child process: if the native
library dies, only that does. Knows nothing of what is chosen by the figures.
"""

from pathlib import Path
from time import perf_counter

import msgspec

from edgexp.engine.engine import Engine
from edgexp.engine.model import Model
from edgexp.engine.native import Tuning
from edgexp.process import Progress

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
