"""The only renderer: a prompt in words becomes token ids and label spans.

Running and training call the same functions, so an episode's ids and those of its training sample are equal. Control tokens are added
as ids; every other text is tokenised with special tokens off, so no text can forge a turn. Knows nothing of where memory came from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edgexp.engine.tokenizer import Spelling, Tokenizer
from edgexp.prompt import messages as words
from edgexp.prompt.messages import Layout, Message
from edgexp.prompt.template import Template, TemplateTokenizer, learn
from edgexp.trajectory import Step, Trajectory


class Vocabulary(TemplateTokenizer, Protocol):
    """A tokenizer that a renderer can be made for."""

    @property
    def eos(self) -> int:
        """Id of the token that ends a text; negative where there is none."""


@dataclass(frozen=True)
class Part:
    """A stretch of the prompt, `ids[start:end]`, and what it is."""

    name: str
    start: int
    end: int


@dataclass
class Rendered:
    """Token ids, the half-open spans of them that the model is to say (actions and their end of turn; no mistakes), and named parts."""

    ids: list[int] = field(default_factory=list)
    labels: list[tuple[int, int]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    blocks: list[tuple[int, int]] = field(default_factory=list)
    """Half-open spans of past episodes that stand apart, one behind the other; each sees what is before all of them, and itself."""

    @property
    def positions(self) -> list[int]:
        """The position of each id: blocks all begin at the same one, and what follows begins after the longest."""
        return block_positions(len(self.ids), self.blocks)

    @property
    def shared(self) -> tuple[list[int], list[list[int]], list[int]]:
        """Ids before the blocks, of each block, and after them. Without blocks everything is after them."""
        if not self.blocks:
            return [], [], self.ids
        first, last = self.blocks[0][0], self.blocks[-1][1]
        return self.ids[:first], [self.ids[start:end] for start, end in self.blocks], self.ids[last:]

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

    def __init__(self, tokenizer: Tokenizer, template: Template, instructions: str, layout: Layout = "chained"):
        self.tokenizer, self.template, self.instructions, self.layout = tokenizer, template, instructions, layout
        self.answers = Answers(self)
        self._spelling = Spelling(tokenizer, template.forgeable)
        self._actions: dict[str, list[int]] = {}
        self._items: dict[str, list[int]] = {}

    def render(self, messages: Sequence[Message]) -> Rendered:
        """Messages as ids; where the last one is a user's, up to where the model's answer begins."""
        out = Rendered()
        out.add(self.template.before, "template")
        role = "system"
        for message in messages:
            if message.block:
                out.blocks.append((len(out.ids), len(out.ids) + len(self._item(message))))
            if message.role == "system":
                out.add(self._item(message) if out.parts[1:] else self._first(message.text), message.part)
            elif message.role == "assistant":
                out.add(self.action(message.text), message.part, label=message.label)
            elif role == "system":
                out.add(self.template.after_system, "template")
                out.add(self._spelling.content(self.template.after_system, self.template.leads.first + message.text), message.part)
                out.add(self.template.after_user, "template")
            else:
                out.add(self.reply(message.text), message.part)
            role = message.role
        return out

    def opening(self, goal: str, observation: str, memory: Sequence[Trajectory] = ()) -> Rendered:
        """Everything up to where the first action begins. `memory` has the most relevant trajectory first."""
        return self.render(words.opening(self.instructions, goal, observation, memory, self.layout))

    def history(self, goal: str, observation: str, steps: Sequence[Step], memory: Sequence[Trajectory] = ()) -> Rendered:
        """An episode so far, up to where the next action begins."""
        return self.render(words.history(self.instructions, goal, observation, steps, memory, self.layout))

    def trajectory(self, trajectory: Trajectory, memory: Sequence[Trajectory] = ()) -> Rendered:
        """A whole episode, up to the end of its last action: what the engine holds when the episode is over, and a training sample."""
        return self.render(words.whole(self.instructions, trajectory, memory, self.layout))

    def prefix(self) -> list[int]:
        """The ids that every prompt of this environment begins with."""
        return [*self.template.before, *self._first(self.instructions)]

    def action(self, text: str) -> list[int]:
        """Ids of an action with its end of turn. Remembered, since the same actions come up again and again."""
        ids = self._actions.get(text)
        if ids is None:
            if len(self._actions) > 50_000:
                self._actions.clear()
            ids = self._actions[text] = [*self.answer(text), *self.template.end]
        return ids

    def answer(self, text: str) -> list[int]:
        """Ids of an action alone, as they stand where the model answers."""
        return self._spelling.content(self.template.after_user, self.template.leads.action + text)

    def reply(self, observation: str) -> list[int]:
        """Ids from the end of one action to where the next one begins."""
        before = self.template.after_action
        text = self._spelling.content(before or self.template.end, self.template.leads.user + observation)
        return [*before, *text, *self.template.after_user]

    def cost(self, trajectory: Trajectory) -> int:
        """Tokens that a trajectory takes as memory."""
        if self.layout == "apart":
            return len(self.block(trajectory))
        return len(self._item(Message("system", words.memory_text(trajectory), "memory")))

    def block(self, trajectory: Trajectory) -> list[int]:
        """Ids of a trajectory where it stands apart; they are the same in every prompt, after `prefix`."""
        return self._item(Message("system", words.block_text(trajectory), "memory"))

    @property
    def headers_cost(self) -> int:
        """Tokens that the memory's own headings can take at most, where they are no part of a trajectory's cost."""
        if self.layout == "apart":
            return 0
        return len(self.tokenizer.encode(words.SUCCEEDED)) + len(self.tokenizer.encode(words.FAILED))

    def _item(self, message: Message) -> list[int]:
        """Ids of a later stretch of the system turn. Remembered: the same past episodes come up again and again."""
        ids = self._items.get(message.text)
        if ids is None:
            if len(self._items) > 2_000:
                self._items.clear()
            ids = self._items[message.text] = self._spelling.more(message.text)
        return ids

    def _first(self, text: str) -> list[int]:
        """Ids of the text that the system turn begins with."""
        return self._spelling.content(self.template.before, self.template.leads.system + text)


class Answers:
    """A renderer's tokenizer for what a model says: texts are spelt as they stand in an answer, and the template's own end ends one."""

    def __init__(self, renderer: Renderer):
        self._renderer = renderer
        self.control, self.decode, self.is_control = renderer.tokenizer.control, renderer.tokenizer.decode, renderer.tokenizer.is_control

    def encode(self, text: str) -> list[int]:
        """Ids of an answer."""
        return self._renderer.answer(text)

    def piece(self, token: int) -> bytes:
        """The bytes of a token; its text's where the tokenizer tells of texts only."""
        piece = getattr(self._renderer.tokenizer, "piece", None)
        return bytes(piece(token)) if piece else self.decode([token]).encode()

    def is_end(self, token: int) -> bool:
        """Whether a model that says the token has finished."""
        return token == self._renderer.template.stop or self._renderer.tokenizer.is_end(token)


def learn_template(vocabulary: Vocabulary, template: str | None) -> Template:
    """The template of a model by its Jinja text, or by the name of a built-in one; ChatML where the model has none.

    Raises EdgexpError for a template that cannot be used.
    """
    bos, eos = (vocabulary.decode([token]) if token >= 0 else "" for token in (vocabulary.bos, vocabulary.eos))
    return learn(template or "chatml", vocabulary, bos=bos, eos=eos)


def block_positions(length: int, blocks: Sequence[tuple[int, int]]) -> list[int]:
    """The positions of `length` ids of which the half-open spans `blocks`, one behind the other, stand apart."""
    if not blocks:
        return list(range(length))
    start, end = blocks[0][0], blocks[-1][1]
    after = start + max(last - first for first, last in blocks)
    inner = (position for first, last in blocks for position in range(start, start + last - first))
    return [*range(start), *inner, *range(after, after + length - end)]


def make_renderer(vocabulary: Vocabulary, template: str | None, instructions: str, layout: Layout = "chained") -> Renderer:
    """The renderer of a model, by its vocabulary and template (see `learn_template`), for an environment, by its instructions."""
    return Renderer(vocabulary, learn_template(vocabulary, template), instructions, layout)
