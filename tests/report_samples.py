"""Results to report on, really played: the household environment under policies that need no model, with memory from an expert's bank."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from bank_samples import WordEncoder

from edgexp.bank import Bank
from edgexp.environments.base import Environment
from edgexp.environments.household.household import Household
from edgexp.evaluation.results import Header, Row, Setup, Writer, row_of
from edgexp.play.acting import now
from edgexp.play.episode import Asking, Playing, Policy, play
from edgexp.play.rollout import run
from edgexp.play.scripted import ExpertPolicy
from edgexp.retrieval import Retrieval, Retriever, VectorRetriever, fit
from edgexp.trajectory import Decision, Provenance, Task, Trajectory


class Wanderer:
    """Follows the expert with a chance of `skill`, and else takes any valid action; recalls as a model would, and ignores it."""

    def __init__(self, skill: float, retriever: Retriever | None = None):
        self.skill, self.retriever = skill, retriever

    def begin(self, episode: Playing) -> None:
        self.random, self.expert = random.Random(f"{episode.task.id} {self.skill}"), Household().expert()
        self.expert.begin(episode.start.goal, episode.start.observation)
        self._recall(episode)

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        yield from ()
        if episode.steps:
            self._recall(episode)
        valid = episode.environment.admissible()  # type: ignore[attr-defined]
        advice = self.expert.act(episode.observation)
        rest = (1 - self.skill) / len(valid)
        chances = {action: rest + (self.skill if action == advice else 0) for action in valid}
        action = self.random.choices(list(chances), list(chances.values()))[0]
        others = sorted(((a, p) for a, p in chances.items() if a != action), key=lambda pair: -pair[1])[:5]
        return Decision(action, 1, chances[action], tuple(others))

    def provenance(self, environment: Environment) -> Provenance:
        return Provenance("agent", environment.version, created=now())

    def _recall(self, episode: Playing) -> None:
        if self.retriever and self.retriever.due(len(episode.steps)):
            memory = self.retriever.recall(episode.task, episode.start.goal, episode.start.observation, episode.steps)
            memory = fit(memory, lambda t: 20 * len(t.steps), 700)
            episode.seconds.retrieval += memory.seconds
            episode.remember(memory)


@dataclass
class Condition:
    """One way to play: how the setup differs from the plain one, and who plays."""

    name: str
    skill: float
    setup: dict[str, Any] = field(default_factory=dict)


PLAIN = Setup(
    condition="", environment="household", environment_version="1", steps=30, model="wanderer", model_sha256="", actions="scored",
    context=0, k=0, memory="off", bank="", bank_fingerprint="", encoder="", code="0", engine="", repeats=0,
)
CONDITIONS = (
    Condition("frozen", 0.1),
    Condition("frozen+exprag", 0.3, {"k": 2, "memory": "static", "bank": "matched"}),
    Condition("lora", 0.4, {"model": "wanderer-lora"}),
    Condition("exprag-lora", 0.7, {"model": "wanderer-lora", "k": 2, "memory": "dynamic", "bank": "matched"}),
)


def collect(folder: Path, number: int = 24, encoder: Any = None) -> Bank:
    """A bank of the expert's episodes of training tasks."""
    household = Household()
    bank = Bank.open(folder, encoder or WordEncoder())
    bank.add([run(play(household, task, ExpertPolicy(household))).trajectory for task in household.tasks("train")[:number]])
    return bank


def make(
    folder: Path, bank: Bank, conditions: Sequence[Condition] = CONDITIONS, number: int = 12, split: str = "dev", steps: int = 30
) -> Path:
    """A folder of results: the first tasks of a split under every condition."""
    household = Household()
    resolved = {"conditions": [{"name": condition.name} for condition in conditions]}
    with Writer(folder, Header("sample", resolved, {}, conditions[0].name)) as writer:
        for condition in conditions:
            setup = msgspec.structs.replace(PLAIN, condition=condition.name, steps=steps, **condition.setup)
            writer.know(setup)
            retriever = VectorRetriever(bank, Retrieval(k=setup.k, memory=setup.memory)) if setup.k else None  # type: ignore[arg-type]
            for task in household.tasks(split)[:number]:
                row, memories = episode(household, task, Wanderer(condition.skill, retriever), setup, steps)
                writer.add(row, memories)
    return folder


def episode(household: Household, task: Task, policy: Policy, setup: Setup, steps: int) -> tuple[Row, tuple[Trajectory, ...]]:
    """One episode as a row, and what it remembered."""
    played = run(play(household, task, policy, max_steps=steps))
    return row_of(played, setup.condition, setup.key), played.memories

