"""The only renderer: a goal, observations, actions and retrieved trajectories become token ids and label spans.

Running and training call the same functions, so an episode's ids and those of its training sample are equal. Control tokens are added
as ids; every other text is tokenised with special tokens off, so no text can forge a turn. Knows nothing of where memory came from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from edgexp.engine.tokenizer import Tokenizer
from edgexp.prompt.template import Template
from edgexp.trajectory import Step, Trajectory

SUCCEEDED = "\n\nPast episodes that succeeded:"
FAILED = "\n\nPast episodes that failed:"


@dataclass(frozen=True)
class Part:
    """A stretch of the prompt, `ids[start:end]`, and what it is."""

    name: str
    start: int
    end: int


@dataclass
class Rendered:
    """Token ids, the half-open spans of them that the model is to say (actions and their end of turn; no slips), and named parts."""

    ids: list[int] = field(default_factory=list)
    labels: list[tuple[int, int]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def add(self, ids: Iterable[int], part: str = "", *, label: bool = False) -> None:
        """Append ids as one part."""
        start = len(self.ids)
        self.ids.extend(ids)
        if label:
            self.labels.append((start, len(self.ids)))
        if part:
            self.parts.append(Part(part, start, len(self.ids)))


class Renderer:
    """Renders for one model (tokenizer and template) and one environment (instructions)."""

    def __init__(self, tokenizer: Tokenizer, template: Template, instructions: str):
        self.tokenizer, self.template, self.instructions = tokenizer, template, instructions
        self._actions: dict[str, list[int]] = {}
        self._items: dict[str, list[int]] = {}

    def opening(self, goal: str, observation: str, memory: Sequence[Trajectory] = ()) -> Rendered:
        """Everything up to where the first action begins. `memory` has the most relevant trajectory first."""
        out = Rendered()
        out.add(self.template.before, "template")
        out.add(self.tokenizer.encode(self.instructions), "instructions")
        # The most relevant stand last, nearest to the task: small models read what is near best.
        for header, succeeded in ((FAILED, False), (SUCCEEDED, True)):
            group = [t for t in reversed(memory) if t.success is succeeded]
            if group:
                out.add(self.tokenizer.encode(header), "memory header")
                for trajectory in group:
                    out.add(self._item(trajectory), f"memory {trajectory.id}")
        out.add(self.template.after_system, "template")
        out.add(self.tokenizer.encode(first_turn(goal, observation)), "task")
        out.add(self.template.after_user, "template")
        return out

    def action(self, text: str) -> list[int]:
        """Ids of an action with its end of turn. Remembered, since the same actions come up again and again."""
        ids = self._actions.get(text)
        if ids is None:
            if len(self._actions) > 50_000:
                self._actions.clear()
            ids = self._actions[text] = [*self.tokenizer.encode(text), *self.template.end]
        return ids

    def reply(self, observation: str) -> list[int]:
        """Ids from the end of one action to where the next one begins."""
        return [*self.template.after_action, *self.tokenizer.encode(observation), *self.template.after_user]

    def course(self, goal: str, observation: str, steps: Sequence[Step], memory: Sequence[Trajectory] = ()) -> Rendered:
        """An episode so far, up to where the next action begins."""
        out = self.opening(goal, observation, memory)
        for number, step in enumerate(steps, 1):
            out.add(self.action(step.action), f"action {number}", label=not step.slip)
            out.add(self.reply(step.observation), f"observation {number}")
        return out

    def trajectory(self, trajectory: Trajectory, memory: Sequence[Trajectory] = ()) -> Rendered:
        """A whole episode, up to the end of its last action: what the engine holds when the episode is over, and a training sample."""
        t = trajectory
        out = self.course(t.goal, t.observation, t.steps[:-1], memory)
        if t.steps:
            out.add(self.action(t.steps[-1].action), f"action {len(t.steps)}", label=not t.steps[-1].slip)
        return out

    def cost(self, trajectory: Trajectory) -> int:
        """Tokens that a trajectory takes as memory."""
        return len(self._item(trajectory))

    @property
    def headers_cost(self) -> int:
        """Tokens that the memory's own headings can take at most."""
        return len(self.tokenizer.encode(SUCCEEDED)) + len(self.tokenizer.encode(FAILED))

    def _item(self, trajectory: Trajectory) -> list[int]:
        ids = self._items.get(trajectory.id)
        if ids is None:
            if len(self._items) > 2_000:
                self._items.clear()
            ids = self._items[trajectory.id] = self.tokenizer.encode(memory_text(trajectory))
        return ids


def first_turn(goal: str, observation: str) -> str:
    """The first observation with the goal, as the first user turn says it."""
    return f"{observation}\n\nYour task is to: {goal}"


def memory_text(trajectory: Trajectory) -> str:
    """A past trajectory as plain text, in the words in which episodes are played.

    An action follows `>` without a space, so that its tokens are the very ones the model would say at the start of a turn.
    """
    lines = ["", "", first_turn(trajectory.goal, trajectory.observation).replace("\n\n", "\n")]
    for step in trajectory.steps:
        lines += [f">{step.action}", step.observation]
    return "\n".join(lines)
