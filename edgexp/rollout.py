"""Runs episodes over one engine: answers what the episodes' generators ask for. Knows nothing of tasks, prompts or banks."""

from typing import Any

from edgexp.agent import Episode
from edgexp.engine.decide import Request, Tree
from edgexp.engine.engine import ContextFull, Engine
from edgexp.errors import EdgexpError
from edgexp.trajectory import Trajectory


def run(episode: Episode, engine: Engine | None = None) -> Trajectory:
    """Play one episode to its end. An episode whose policy never asks for a model needs no engine."""
    try:
        request = next(episode)
        while True:
            try:
                answer = _answer(request, engine)
            except ContextFull as full:
                request = episode.throw(full)
            else:
                request = episode.send(answer)
    except StopIteration as stop:
        trajectory: Trajectory = stop.value
        return trajectory


def _answer(request: Request, engine: Engine | None) -> Any:
    if engine is None:
        raise EdgexpError("this policy needs a model, and the episode was started without one")
    if isinstance(request, Tree):
        return engine.evaluate_tree(request.sequence, request.parents, request.tokens)
    engine.evaluate([request])
    return None
