"""What a model says on held-out samples: scores by memory condition, and the answers that an export is compared with."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edgexp.training.backend import Learner
from edgexp.training.events import Scores
from edgexp.training.kernels import answers
from edgexp.training.prepared import Samples


@dataclass(frozen=True)
class Answers:
    """Of each sample: the positions of its label tokens, the log-probability of each and the token the model would have said."""

    positions: list[NDArray[np.int64]]
    logprobs: list[NDArray[np.float32]]
    greedy: list[NDArray[np.int32]]


def ask(learner: Learner, samples: Samples) -> Answers:
    """The model's answers at every label of every sample, one sample at a time: padding could change the last digits."""
    def one(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        ids, labels = samples.ids[number], samples.labels(number)
        with torch.no_grad():
            hidden = learner.hidden([ids], [labels - 1])
            return answers(hidden, learner.head, torch.from_numpy(ids[labels].astype(np.int64)).to(learner.device))

    found = list(learner.each(one, range(len(samples))))
    return Answers(
        [samples.labels(number) for number in range(len(samples))],
        [logprobs.cpu().numpy() for logprobs, _ in found],
        [greedy.cpu().numpy().astype(np.int32) for _, greedy in found],
    )


def scores(samples: Samples, said: Answers) -> Scores:
    """Loss, and how many tokens and whole actions the model would have said itself."""
    right = [greedy == ids[labels] for ids, labels, greedy in zip(samples.ids, said.positions, said.greedy, strict=True)]
    actions = []
    for spans, hits in zip(samples.spans, right, strict=True):
        ends = np.cumsum(spans[:, 1] - spans[:, 0])
        actions += [bool(part.all()) for part in np.split(hits, ends[:-1])]
    return Scores(
        loss=round(float(-np.concatenate(said.logprobs).mean()), 5),
        tokens=round(float(np.concatenate(right).mean()), 5),
        actions=round(float(np.mean(actions)), 5),
    )


def evaluate(learner: Learner, sets: Mapping[str, Samples]) -> dict[str, Scores]:
    """Scores under each memory condition."""
    return {name: scores(samples, ask(learner, samples)) for name, samples in sets.items() if len(samples)}
