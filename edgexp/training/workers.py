"""Samples side by side on the cores of a CPU. One core for a sample beats all cores for one sample: nobody waits for anybody, where
threads that share an operation wait for each other at its end, thousands of times a second.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """A thread for every core, each with the cores that are left over for it."""

    def __init__(self, cores: int):
        self._cores, self._pool = cores, ThreadPoolExecutor(cores)

    def each(self, task: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """The task's results, in the order of the items."""
        threads = max(1, self._cores // max(1, len(items)))

        def alone(item: T) -> R:
            torch.set_num_threads(threads)  # of this worker's own operations
            return task(item)

        return self._pool.map(alone, items)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
