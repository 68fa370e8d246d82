"""Players that are language models: engines side by side, one sequence and one environment a place. Plays nothing by itself."""

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

from edgexp.engine import tuning
from edgexp.engine.engine import Engine, TokenSequence
from edgexp.engine.model import Model
from edgexp.evaluation import experience
from edgexp.evaluation.field import Field
from edgexp.evaluation.playing import Job
from edgexp.evaluation.results import Setup
from edgexp.machine import cores
from edgexp.models import Ready
from edgexp.play.episode import Episode, Watcher, play
from edgexp.play.policies import ModelPolicy
from edgexp.play.session import Say, renderer_for
from edgexp.prompt.render import Renderer
from edgexp.retrieval import Retriever
from edgexp.trajectory import Trajectory

_FORKS = 32
"""Sequences beyond the places', for weighing many actions at once."""
_SPARE = 512
"""Cells beyond the episodes' rooms, for what those forks hold."""

_CELLS = 256
"""llama.cpp hands cells out in multiples of this."""


class ModelPlayers:
    """One model at a number of places. Close it, or use it as a context manager."""

    def __init__(self, field: Field, ready: Ready, places: int, *, weighed: bool = False, gpu_layers: int = 0, say: Say = lambda _: None):
        """An engine gets as many cells as all its places can need at once, so that none is ever short of room because of another.

        Each place has its own cells, unless actions are `weighed`: that takes forks, for which all cells have to be in one pool. Where one
        token is generated fastest on some cores only, there are engines enough for all cores, over one copy of the weights.
        """
        self.places = places
        self._field, self._ready, self._room = field, ready, field.room(ready)
        self._stack = ExitStack()
        try:
            tuned = tuning.for_model(ready.path, say)
            self._model = self._stack.enter_context(Model(ready.path, tuned, gpu_layers))
            side_by_side = engines_for(places, cores(), tuned.threads) if gpu_layers == 0 else 1
            self.engines = [self._stack.enter_context(self._make_engine(weighed, number, side_by_side)) for number in range(side_by_side)]
        except BaseException:
            self._stack.close()
            raise
        self._renderers: dict[str, Renderer] = {}
        self._retrievers: dict[tuple[str, str, str], Retriever | None] = {}
        self._sequences: dict[int, TokenSequence] = {}
        self._prefixes: dict[int, TokenSequence] = {}

    def __enter__(self) -> "ModelPlayers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def setup(self, job: Job) -> Setup:
        """See `Field.setup`."""
        return self._field.setup(job)

    def read(self, job: Job, ids: Sequence[str]) -> Sequence[Trajectory]:
        """See `Field.read`."""
        return self._field.read(job, ids)

    def check(self, job: Job) -> None:
        """See `Field.check`."""
        self._field.check(job)

    def episode(self, place: int, job: Job, watch: Watcher) -> Episode:
        """The job's episode, with the place's environment and on its sequence, which keeps what two prompts have in common."""
        environment = self._field.environment(job.tasks.environment, place)
        renderer = self._renderer(job)
        policy = ModelPolicy(
            self._sequence(place, renderer),
            renderer,
            self._retriever(job),
            mode=job.condition.actions,
            context=self._room,
            reserve=min(self._room // 2, 40 * self._field.steps(job.tasks)),
            repeats=job.condition.repeats,
            model=self._ready.name,
            model_sha256=self._ready.sha256,
        )
        return play(environment, job.task, policy, max_steps=job.tasks.steps or None, watch=watch)

    def _make_engine(self, weighed: bool, number: int, of: int) -> Engine:
        """Engine `number` of `of`, which answers the places that `run_many` gives it."""
        places = len(range(number, self.places, of))
        threads = max(1, cores() // of) if of > 1 else None
        if weighed or self.places == 1:
            cells = places * self._room + (_SPARE if self.places > 1 else 0)
            return Engine(self._model, cells, slots=places + 1 + _FORKS, threads=threads)
        slots = places + 1  # one for the instructions
        room = -(-self._room // _CELLS) * _CELLS
        return Engine(self._model, slots * room, slots=slots, threads=threads, apart=True)

    def _renderer(self, job: Job) -> Renderer:
        name = job.tasks.environment
        if name not in self._renderers:
            self._renderers[name] = renderer_for(self._model, self._field.environment(name))
        return self._renderers[name]

    def _retriever(self, job: Job) -> Retriever | None:
        """What a condition remembers by, for tasks of one group: it keeps the vectors of the queries it has seen."""
        key = job.condition.name, job.tasks.environment, job.task.group
        if key not in self._retrievers:
            self._retrievers[key] = self._make_retriever(job)
        return self._retrievers[key]

    def _make_retriever(self, job: Job) -> Retriever | None:
        bank, condition = self._field.bank(job), job.condition
        if bank is None:
            return None
        found = experience.filters(condition, job.tasks, job.task)
        return Retriever(bank, k=condition.k, mode=condition.memory, every=condition.every, filters=found, diversity=condition.diversity)

    def _sequence(self, place: int, renderer: Renderer) -> TokenSequence:
        """The place's sequence. All of an engine begin with the same instructions, which it evaluates and stores once."""
        if place not in self._sequences:
            number = place % len(self.engines)
            engine = self.engines[number]
            self._sequences[place] = engine.fork(self._instructions(number, renderer)) if self.places > 1 else engine.new()
        return self._sequences[place]

    def _instructions(self, number: int, renderer: Renderer) -> TokenSequence:
        if number not in self._prefixes:
            prefix = self._prefixes[number] = self.engines[number].new()
            prefix.append([*renderer.template.before, *renderer.tokenizer.encode(renderer.instructions)])
            self.engines[number].evaluate([prefix])
        return self._prefixes[number]


def engines_for(places: int, cores: int, threads: int) -> int:
    """How many engines of `threads` threads keep `cores` cores busy with the episodes of some places."""
    return max(1, min(places, cores // threads))
