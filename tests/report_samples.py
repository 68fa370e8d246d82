"""Results to report on, really played: the household environment under policies that need no model, with memory from an expert's bank."""

import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
from bank_samples import WordEncoder

from edgexp.bank import Bank
from edgexp.engine.decide import Decision, Request
from edgexp.environments.base import Environment, Start
from edgexp.environments.household.household import Household
from edgexp.evaluation.results import Action, Header, Recall, Remembered, Row, Seconds, Setup, Tokens, Writer
from edgexp.play.episode import Acted, Event, Policy, Recalled, Stats, Watcher, play
from edgexp.play.policies import ExpertPolicy, now
from edgexp.play.rollout import run
from edgexp.retrieval import Memory, Retriever, fit
from edgexp.trajectory import Provenance, Step, Task, Trajectory


class Wanderer:
    """Follows the expert with a chance of `skill`, and else takes any valid action; recalls as a model would, and ignores it."""

    def __init__(self, skill: float, retriever: Retriever | None = None):
        self.stats, self.skill, self.retriever = Stats(), skill, retriever

    def begin(self, task: Task, start: Start, watch: Watcher) -> None:
        self.random, self.expert = random.Random(f"{task.id} {self.skill}"), Household().expert()
        self.task, self.start, self.watch = task, start, watch
        self.expert.begin(start.goal, start.observation)
        self._recall([])

    def decide(self, steps: Sequence[Step], environment: Environment) -> Generator[Request, Any, Decision | None]:
        yield from ()
        if steps and self.retriever and self.retriever.mode == "dynamic":
            self._recall(steps)
        valid = environment.admissible()  # type: ignore[attr-defined]
        advice = self.expert.act(steps[-1].observation if steps else self.start.observation)
        rest = (1 - self.skill) / len(valid)
        chances = {action: rest + (self.skill if action == advice else 0) for action in valid}
        action = self.random.choices(list(chances), list(chances.values()))[0]
        others = sorted(((a, p) for a, p in chances.items() if a != action), key=lambda pair: -pair[1])[:5]
        return Decision(action, 1, chances[action], tuple(others))

    def provenance(self, environment: Environment) -> Provenance:
        return Provenance("agent", environment.version, created=now())

    def _recall(self, steps: Sequence[Step]) -> None:
        if self.retriever:
            memory = self.retriever.recall(self.task, self.start.goal, self.start.observation, steps)
            memory = fit(memory, lambda t: 20 * len(t.steps), 700)
            self.stats.retrieval_seconds += memory.seconds
            self.watch(Recalled(len(steps), memory))


@dataclass
class Condition:
    """One way to play: how the setup differs from the plain one, and who plays."""

    name: str
    skill: float
    setup: dict[str, Any] = field(default_factory=dict)


PLAIN = Setup("", "household", "1", 30, "wanderer", "", "weighed", 0, 0, "off", 1, None, "", "", "", "0", "")
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
    bank.add([run(play(household, task, ExpertPolicy(household))) for task in household.tasks("train")[:number]])
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
            retriever = Retriever(bank, k=setup.k, mode=setup.memory) if setup.k else None  # type: ignore[arg-type]
            for task in household.tasks(split)[:number]:
                row, memories = episode(household, task, Wanderer(condition.skill, retriever), setup, steps)
                writer.add(row, memories)
    return folder


def episode(household: Household, task: Task, policy: Policy, setup: Setup, steps: int) -> tuple[Row, list[Trajectory]]:
    """One episode as a row, and what it remembered."""
    events: list[Event] = []
    started = perf_counter()
    t = run(play(household, task, policy, max_steps=steps, watch=events.append))
    acted = [event for event in events if isinstance(event, Acted)]
    recalled = [event for event in events if isinstance(event, Recalled)]
    stats = policy.stats
    row = Row(
        setup.condition, task.split, "household", task.id, task.type, task.group, setup.key, t.success, t.score, len(t.steps), t.end,
        t.goal, t.observation,
        tuple(Action(s.action, s.observation, s.reward, a.decision.probability, a.decision.alternatives, a.seconds)
              for s, a in zip(t.steps, acted, strict=True)),
        tuple(Recall(event.step, event.memory.query, event.memory.seconds, *_weighed(event.memory)) for event in recalled),
        Tokens(stats.prompt, stats.evaluated, stats.generated, stats.reused),
        Seconds(stats.first_action_seconds, stats.deciding_seconds, stats.retrieval_seconds, stats.environment_seconds,
                perf_counter() - started),
        now(),
    )
    return row, [r.trajectory for event in recalled for r in event.memory.recalled]


def _weighed(memory: Memory) -> tuple[tuple[Remembered, ...], tuple[Remembered, ...]]:
    used = [Remembered(t.id, r.score, t.task.id, t.task.type, t.success) for r in memory.recalled for t in [r.trajectory]]
    return tuple(used), tuple(Remembered(d.id, d.score, "", "", True, d.reason, d.tokens) for d in memory.dropped)
