"""What to evaluate, read from TOML into strict Structs: tasks, the experience they may be helped by, and conditions. Plays nothing."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edgexp import settings
from edgexp.environments.registry import DEFAULT_ENVIRONMENT
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.acting import Acting, Actions
from edgexp.play.chat_client import is_address, parse_address

Count = Annotated[int, Meta(ge=1)]
Whole = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Text = Annotated[str, Meta(min_length=1)]
Name = Annotated[str, Meta(pattern=r"^\S([^\n]*\S)?$")]

KINDS = ("matched", "mismatched", "all", "empty")
"""What a bank holds for a task; see `Condition.bank`. Anything else is a folder."""


class Experience(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """The bank that conditions with memory draw from."""

    bank: str = ""
    """A folder, only read; empty for a bank of the suite's own, which an expert fills first where it lacks something."""
    split: Text = "train"
    """Only episodes of this split are remembered."""
    mismatched: str = ""
    """Split of the episodes that mislead, for environments whose tasks have no groups; the suite's own bank gets as many of them."""
    number: Whole = 120
    """Expert episodes of each group in the suite's own bank."""
    same_places: bool = False
    """Instead of `number` episodes of anything, all those of the places that the tasks are in (the families of
    tasks, by the environment's word)."""


class Tasks(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """What is played, in every condition the same."""

    environment: Text = DEFAULT_ENVIRONMENT
    splits: Annotated[tuple[Text, ...], Meta(min_length=1)] = ("dev",)
    groups: tuple[str, ...] = ()
    """Sides of the paper's split; empty for all tasks together."""
    types: tuple[str, ...] = ()
    """Task types; empty for all."""
    number: Count = 20
    """Tasks of each split and group, their types in turn; a larger number keeps those of a smaller one."""
    seed: Whole = 0
    """Which tasks are drawn."""
    steps: Whole = 0
    """Actions an episode may take; 0 for the environment's own limit."""
    experience: Experience = Experience()


class Condition(Acting, frozen=True, kw_only=True):
    """One way to play the tasks."""

    name: Name
    model: str = ""
    """A name of `edgexp models ls`, a GGUF, or a server (`http://host:port/v1#name`); empty for edgexp's own. Where it is not there, the
    condition is left out for now; a server that cannot be asked ends the evaluation."""
    k: Annotated[int, Meta(ge=0, le=64)] = 0
    actions: Actions = "free"
    repeats: Whole = 0
    bank: Text = "matched"
    """`matched`: episodes of the task's own group; `mismatched`: of the other one; `all`; `empty`: nothing; or a folder."""

    @property
    def remembers(self) -> bool:
        """Whether this condition has anything in its memory."""
        return super().remembers and self.bank != "empty"


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """Everything that decides an evaluation."""

    conditions: Annotated[tuple[Condition, ...], Meta(min_length=1)]
    description: str = ""
    baseline: str = ""
    """The condition the others are compared with; empty for the first."""
    context: Annotated[int, Meta(ge=256)] = 4096
    """Room of an episode in tokens, memory included; never more than the model was made for."""
    tasks: Annotated[tuple[Tasks, ...], Meta(min_length=1)] = (Tasks(),)

    @property
    def against(self) -> str:
        """The baseline's name."""
        return self.baseline or self.conditions[0].name


def load(name_or_path: str, changes: Sequence[str] = ()) -> tuple[str, Suite]:
    """A suite by name or file, and its name. `changes` are `section.key=value` in TOML, made before checking.

    Raises EdgexpError naming the file and the key that is wrong, UsageError for an unknown name.
    """
    path = _find(name_or_path)
    return path.stem.removeprefix(settings.SUITES), parse(settings.read(path), str(path), changes)


def parse(text: str, where: str, changes: Sequence[str] = ()) -> Suite:
    """A suite from TOML text; `where` names it in errors."""
    table = settings.decode(text, where)
    for change in changes:
        settings.change(table, change, ("tasks", "conditions"))
    for condition in table.get("conditions", ()):
        if isinstance(condition, dict) and condition.get("actions") == "weighed":
            condition["actions"] = "scored"  # its name until 0.1
    suite = settings.convert(table, Suite, where)
    problem = next(_problems(suite), None)
    if problem:
        raise EdgexpError(f"{where}: {problem}")
    return suite


def files() -> dict[str, Path]:
    """The suites that come with edgexp, by name."""
    found = settings.shipped(lambda name: name.startswith(settings.SUITES))
    return {name.removeprefix(settings.SUITES): path for name, path in found.items()}


def show(suite: Suite) -> str:
    """Every setting as TOML, which reads back as the same suite."""
    return settings.show(suite)


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    known = files()
    if name_or_path.removeprefix(settings.SUITES) in known:
        return known[name_or_path.removeprefix(settings.SUITES)]
    raise UsageError(f"no suite is called {name_or_path!r} and there is no such file; there are: {', '.join(known)}")


def _problems(suite: Suite) -> Iterator[str]:
    """What the types cannot say."""
    names = [condition.name for condition in suite.conditions]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield f"conditions[{number}].name: {name!r} is the name of two conditions"
    for number, condition in enumerate(suite.conditions):
        if problem := _problem_of_address(condition.model):
            yield f"conditions[{number}].model: {problem}"
    if suite.baseline and suite.baseline not in names:
        yield f"baseline: no condition is called {suite.baseline!r}; there are: {', '.join(names)}"
    for number, tasks in enumerate(suite.tasks):
        if any(tasks.environment == other.environment for other in suite.tasks[:number]):
            yield f"tasks[{number}].environment: {tasks.environment} is in two entries; put its splits, groups and types into one"
        if len(set(tasks.groups)) < len(tasks.groups):
            yield f"tasks[{number}].groups: a group is named twice"


def _problem_of_address(model: str) -> str:
    """What is wrong with a server as a suite names it; empty for nothing, and for other models."""
    if not is_address(model):
        return ""
    try:
        secret = parse_address(model).login
    except UsageError as error:
        return str(error)
    return "a suite is kept with its results, so it must hold no password; name the server with: edgexp eval --model NAME=http://…" \
        if secret else ""
