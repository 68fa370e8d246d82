"""Is a sample what it seems to be? Its labels are the trajectory's actions but for slips, each with its end of turn; none of them lies in
the memory; and control tokens stand where the template puts them and nowhere else. Asked of every sample before training.
"""

from collections.abc import Iterator
from functools import lru_cache

from edgexp.engine.tokenizer import Tokenizer
from edgexp.errors import EdgexpError
from edgexp.prompt import Rendered, Renderer
from edgexp.template import Template
from edgexp.trajectory import Trajectory


class Remembering:
    """A tokenizer that remembers: the same instructions, observations and actions come up in sample after sample."""

    def __init__(self, tokenizer: Tokenizer, size: int = 1 << 15):
        self.encode = lru_cache(size)(tokenizer.encode)
        self.is_control = lru_cache(None)(tokenizer.is_control)
        self.is_end = lru_cache(None)(tokenizer.is_end)
        self.control = tokenizer.control
        self._decode = lru_cache(size)(lambda ids: tokenizer.decode(list(ids)))

    def decode(self, ids: list[int]) -> str:
        """Text of ids."""
        return self._decode(tuple(ids))


def check(rendered: Rendered, trajectory: Trajectory, renderer: Renderer) -> None:
    """Raises EdgexpError naming the trajectory: such a sample would teach something else than it seems to."""
    problem = next(problems(rendered, trajectory, renderer), None)
    if problem:
        raise EdgexpError(f"the sample of {trajectory.task.id} ({trajectory.id}) cannot be trained on: {problem}")


def problems(rendered: Rendered, trajectory: Trajectory, renderer: Renderer) -> Iterator[str]:
    """Everything that is wrong with a sample."""
    yield from _labels(rendered, trajectory, renderer)
    yield from _parts(rendered, renderer)


def _labels(rendered: Rendered, trajectory: Trajectory, renderer: Renderer) -> Iterator[str]:
    tokenizer, labels = renderer.tokenizer, rendered.labels
    steps = [step for step in trajectory.steps if not step.slip]
    if not labels or len(labels) != len(steps):
        yield f"it has {len(labels)} labels for {len(steps)} actions"
        return
    end = tokenizer.decode(renderer.template.end)
    for (first, last), step in zip(labels, steps, strict=True):
        said, action = tokenizer.decode(rendered.ids[first:last]), step.action.encode("utf-8", "replace").decode()
        # Some vocabularies put a space before the first word of any text.
        if said.lstrip(" ") != (action + end).lstrip(" "):
            yield f"the label {said!r} is not the action {step.action!r} with its end of turn"
    for part in rendered.parts:
        if part.name.startswith("memory") and any(first < part.end and part.start < last for first, last in labels):
            yield f"a label lies in {part.name}"


def _parts(rendered: Rendered, renderer: Renderer) -> Iterator[str]:
    """Parts follow one another without a gap; what the template writes is what it writes; the rest holds no control token."""
    at, is_control, template = 0, renderer.tokenizer.is_control, renderer.template
    own = (template.before, template.after_system, template.after_user)
    for part in rendered.parts:
        ids = rendered.ids[part.start : part.end]
        if part.start != at:
            yield f"there is something unnamed before {part.name}"
        at = part.end
        if part.name == "template":
            if ids not in own:
                yield "it was not rendered with this template"
            continue
        before, after = _frame(part.name, template)
        inner = ids[len(before) : len(ids) - len(after)]
        if ids != [*before, *inner, *after]:
            yield f"{part.name} does not begin and end as the template wants it"
        elif any(map(is_control, inner)):
            yield f"{part.name} holds a control token"
    if at != len(rendered.ids):
        yield "there is something unnamed at its end"


def _frame(name: str, template: Template) -> tuple[list[int], list[int]]:
    """What the template writes at the beginning and the end of a part."""
    if name.startswith("action "):
        return [], template.end
    if name.startswith("observation "):
        return template.after_action, template.after_user
    return [], []
