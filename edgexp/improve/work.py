"""What a round does: play with takeovers and hindsight, train on all of it, export, and play dev tasks with both models.

Everything is made in the round's folder and passed over when it is there. While a round plays, the bank stays as it is: what is remembered
does not depend on what was played before in the same round, nor on interruptions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from edgexp.bank import Bank
from edgexp.embedding import open_encoder
from edgexp.environments import registry
from edgexp.environments.base import Environment, FollowsOthers, expert_of
from edgexp.errors import EdgexpError, UsageError
from edgexp.evaluation.selection import DevEpisodes
from edgexp.evaluation.statistics import compare_outcomes
from edgexp.export.adapter import find_base
from edgexp.export.job import Request, export
from edgexp.files import append_lines, write_atomic
from edgexp.improve.generations import Check
from edgexp.play.acting import Actions
from edgexp.play.collecting import spread
from edgexp.play.hindsight import in_hindsight
from edgexp.play.rollout import Finished
from edgexp.play.session import Settings, open_session
from edgexp.play.takeover import Patience
from edgexp.training.recipe import Data, Recipe, show
from edgexp.training.train import Watchers, train
from edgexp.training.train import find_base as base_of
from edgexp.trajectory import Task, Trajectory

EPISODES, RUN = "episodes.jsonl", "run"


class Ways(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How rounds are played; a part of what decides what comes of them."""

    tasks: int = 120
    """Training tasks a round."""
    dev: int = 60
    """Tasks of a check."""
    steps: int = 0
    """Most actions of an episode; 0: the environment's own number."""
    temperature: float = 0.7
    """Of every second episode; the others take the likeliest action."""
    actions: Actions = "free"
    expert: bool = True
    """Whether experts take over, and their episodes are in the bank at the start."""
    hindsight: bool = True
    go_on: bool = False
    """Whether a round trains on from the best generation's adapter; else from where the recipe begins."""


def settings_text(recipe: Recipe, ways: Ways, first: str) -> str:
    """Everything that decides what comes of rounds, as text."""
    return f"{show(recipe)}\n{msgspec.json.encode(ways).decode()}\n{first}"


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of what a round plays: an episode, and what it is in hindsight."""

    task: str
    episodes: tuple[Trajectory, ...]


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a check."""

    task: str
    success: bool


Line = TypeVar("Line", Kept, Outcome)


class Playing(Protocol):
    """What a round needs of a session."""

    def play(self, tasks: Iterable[Task], *, steps: int | None = None) -> Iterator[Finished]:
        """Play tasks; each is told of when it is over."""


Sessions = Callable[[Settings, Callable[[str], None]], AbstractContextManager[Playing]]


@dataclass
class RecipeWork:
    """The work of a recipe's rounds. `bank` is the folder's own; it is made when it is missing."""

    name: str
    recipe: Recipe
    ways: Ways
    bank: Path
    parallel: int = 1
    watch: Watchers = field(default_factory=Watchers)
    advance: Callable[[str, int, int], None] = lambda *_: None
    """Told what is being done, how much of it is, and how much there is."""
    sessions: "Sessions | None" = None
    """What opens sessions; None for this process."""

    def begin(self) -> None:
        """Make the bank, and put in the demonstrations that the recipe's banks hold. What is there already is passed over.

        Raises UsageError for a recipe whose models could not be checked after their export.
        """
        if not self.recipe.check.held_out and all(data.use == "train" for data in self.recipe.data):
            raise UsageError("check.held_out is 0: a new model is compared with what was trained on held-out episodes; set it to 2 or more")
        with Bank.open(self.bank, open_encoder(self.recipe.memory.encoder, self.watch.say)) as bank:
            if not self.ways.expert:
                return
            for path in dict.fromkeys(data.bank for data in self.recipe.data):
                with Bank.open(Path(path).expanduser() if path else _default(), None, readonly=True) as given:
                    bank.add([t for t in given.each() if t.provenance.source != "import"])

    def play(self, folder: Path, number: int, model: str) -> int:
        """Play, keep, and put what was kept into the bank; how many episodes that teach."""
        file = folder / EPISODES
        for data in self._sources():
            with closing(registry.make(data.environment)) as environment:
                tasks = spread(environment.tasks(data.split), self._share(self.ways.tasks), number, _wanted(data))
                takeover = Patience() if self.ways.expert and isinstance(expert_of(environment), FollowsOthers) else None
                for part, temperature in ((tasks[::2], 0.0), (tasks[1::2], self.ways.temperature)):
                    known = {line.task for line in _lines(file, Kept)}
                    todo = [task for task in part if task.id not in known]
                    asked = self._settings(data, model, temperature=temperature, seed=number, takeover=takeover)
                    for played in self._episodes(asked, todo, f"round {number}: playing {environment.name}"):
                        append_lines(file, msgspec.json.encode(Kept(played.task.id, tuple(self._kept(environment, played)))))
        kept = [episode for line in _lines(file, Kept) for episode in line.episodes]
        with Bank.open(self.bank, open_encoder(self.recipe.memory.encoder, self.watch.say)) as bank:
            bank.add(kept)
        return sum(t.success for t in kept)

    def learn(self, folder: Path, number: int, parent: int) -> str:
        """Train from where the recipe begins, or on from the adapter of generation `parent`, and export; the model's name."""
        name = f"{self.name}-g{number}"
        own = tuple(msgspec.structs.replace(data, bank=str(self.bank)) for data in self.recipe.data)
        base = self.recipe.base
        if self.ways.go_on and parent:
            base = msgspec.structs.replace(base, adapter=str(folder.parent / f"{parent:03d}" / RUN / "adapter"))
        recipe = msgspec.structs.replace(self.recipe, data=own, base=base)
        plays = recipe.check.select == "rollouts"
        rollouts = DevEpisodes(recipe, base_of(recipe), self.watch.say, self.watch.played) if plays else None
        adapter = train(folder / RUN, name, recipe, self.watch, rollouts=rollouts)
        export(Request(adapter, find_base(adapter), name, folder / "model"), lambda what, done, total: self.advance(what, done, total))
        return name

    def check(self, folder: Path, number: int, candidate: str, best: str) -> Check:
        """Both models on the same dev tasks, with the same memory."""
        ours, theirs = (self._outcomes(folder, number, which, model) for which, model in (("candidate", candidate), ("best", best)))
        change = compare_outcomes(ours, theirs)
        if change is None:
            raise EdgexpError(f"check.split: the split {self.recipe.check.split} has no tasks to check a model by")
        before = sum(theirs[task] for task in ours)
        return Check(change.pairs, sum(ours.values()), before, change.difference, change.low, change.high, change.p)

    def _outcomes(self, folder: Path, number: int, which: str, model: str) -> Mapping[str, bool]:
        """Task → whether it was won; what an earlier call has played is read."""
        file = folder / f"check-{which}.jsonl"
        for data in self._sources():
            with closing(registry.make(data.environment)) as environment:
                if self.recipe.check.split not in environment.splits():
                    continue
                tasks = spread(environment.tasks(self.recipe.check.split), self._share(self.ways.dev), 0, _wanted(data))
            known = {line.task for line in _lines(file, Outcome)}
            todo = [task for task in tasks if task.id not in known]
            for played in self._episodes(self._settings(data, model), todo, f"round {number}: checking {which} in {data.environment}"):
                append_lines(file, msgspec.json.encode(Outcome(played.task.id, played.success)))
        return {line.task: line.success for line in _lines(file, Outcome)}

    def _episodes(self, settings: Settings, tasks: list[Task], what: str) -> Iterator[Trajectory]:
        """Episodes of tasks. Raises EdgexpError for one that cannot be played: a round that left some out would be another round."""
        if not tasks:
            return
        with (self.sessions or open_session)(settings, self.watch.say) as session:
            for done, finished in enumerate(session.play(tasks, steps=self.ways.steps or None), 1):
                yield _trajectory(finished)
                self.advance(what, done, len(tasks))

    def _kept(self, environment: Environment, trajectory: Trajectory) -> Iterable[Trajectory]:
        yield trajectory
        if self.ways.hindsight and (seen := in_hindsight(environment, trajectory)) is not None:
            yield seen

    def _settings(self, data: Data, model: str, **more: object) -> Settings:
        memory = self.recipe.memory
        return Settings(environment=data.environment, model=model, encoder=memory.encoder, bank=self.bank, parallel=self.parallel,
                        actions=self.ways.actions, **msgspec.structs.asdict(memory.retrieval) | more)  # fmt: skip

    def _sources(self) -> list[Data]:
        """What is trained on, one entry an environment."""
        return list({data.environment: data for data in reversed(self.recipe.data) if data.use == "train"}.values())[::-1]

    def _share(self, count: int) -> int:
        return max(1, count // len(self._sources()))


def _default() -> Path:
    from edgexp.bank import default_path

    return default_path()


def _wanted(data: Data) -> Callable[[Task], bool]:
    return lambda task: (not data.types or task.type in data.types) and (not data.groups or task.group in data.groups)


def _trajectory(finished: Finished) -> Trajectory:
    if finished.problem or finished.trajectory is None:
        raise EdgexpError(f"an episode of the round was {finished.problem}")
    return finished.trajectory


def _lines(file: Path, kind: type[Line]) -> list[Line]:
    """What was kept so far. A last line that a crash cut short was never kept, and is cut off."""
    if not file.is_file():
        return []
    whole, end, rest = file.read_bytes().rpartition(b"\n")
    if rest:
        write_atomic(file, whole + end)
    try:
        return [msgspec.json.decode(line, type=kind) for line in whole.split(b"\n") if line]
    except ValueError as error:
        raise EdgexpError(f"{file} cannot be read: {error}") from error
