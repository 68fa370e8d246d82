"""Run by `tuning.py` in a child process: load a model, evaluate a little, print rates as JSON. If the native library dies, only this does.

Usage: python -m edgexp.engine.probe MODEL EXTRA_BUFFERS THREADS[,THREADS…]
"""

import json
import sys
from pathlib import Path
from time import perf_counter

from edgexp.engine.engine import Engine
from edgexp.engine.model import Model
from edgexp.engine.native import Tuning

PROMPT, GENERATED = 96, 12
"""Tokens measured."""

PATIENCE = 1.0
"""Seconds after which a slow generation is judged by the tokens it made: spinning beside a busy neighbour can take a second for two."""


def main(path: str, extra_buffers: str, threads: str) -> None:
    """Print one JSON line for every thread count: threads, prompt and generation rates in tokens per second."""
    with Model(Path(path), Tuning(1, 1, extra_buffers=extra_buffers == "1")) as model:
        for count in (int(t) for t in threads.split(",")):
            with Engine(model, 512, 2, 128, threads=count) as engine:
                print(json.dumps({"threads": count, **_rates(engine)}), flush=True)


def _rates(engine: Engine) -> dict[str, float]:
    sequence = engine.new()

    def seconds(tokens: range) -> float:
        started = perf_counter()
        sequence.append(tokens)
        engine.evaluate([sequence])
        return perf_counter() - started

    seconds(range(100, 108))  # touches every page of the weights, so that the disk is not measured
    prompt = seconds(range(200, 200 + PROMPT))
    count, spent = 0, 0.0
    while count < GENERATED and spent < PATIENCE:
        spent += seconds(range(300 + count, 301 + count))
        count += 1
    return {"prompt": PROMPT / prompt, "generate": count / spent}


if __name__ == "__main__":
    main(*sys.argv[1:4])
