"""The things an evaluation is played with, opened: environments, banks, models' files, and the setup that each job has by them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

from edgexp.bank import Bank
from edgexp.embedding import Encoder, open_encoder
from edgexp.errors import EdgexpError
from edgexp.evaluation import experience
from edgexp.evaluation.playing import Job, code
from edgexp.evaluation.results import Setup
from edgexp.evaluation.suite import Condition, Suite, Tasks
from edgexp.models import DEFAULT_EMBEDDER, DEFAULT_POLICY, Ready, manifest, resolve
from edgexp.models.playable import layout_of
from edgexp.models.ready import state
from edgexp.play.chat_client import Terms, is_address
from edgexp.play.episode import Episode
from edgexp.play.fleet import Environments, Fleet, Say
from edgexp.play.remote import ChatModel, check_settings, open_chat_model, settle_actions
from edgexp.play.rollout import Evaluator
from edgexp.play.session import Session, check_prompt, open_bank
from edgexp.prompt import messages
from edgexp.retrieval import Layout, Retriever, retriever_for
from edgexp.trajectory import Task

Filling = Callable[[str, int, int], None]
"""Told of which environment, how many expert episodes are played, and of how many."""


class Field:
    """Everything that is the same for all models. Close it, or use it as a context manager."""

    def __init__(self, name: str, suite: Suite, models: Mapping[str, str], say: Say, terms: Terms | None = None):
        """`models` says by which file or name a model of the suite is to be found, where it is not its own; `terms`, how servers are
        asked."""
        self.name, self.suite = name, suite
        self._models, self._say, self._terms = models, say, terms or Terms()
        self._servers: dict[str, ChatModel] = {}
        self._stack = ExitStack()
        self.environments = self._stack.enter_context(Environments())
        self._banks: dict[Path, tuple[Bank, str]] = {}
        self._ready: dict[str, Ready] = {}
        self._setups: dict[tuple[str, str], Setup] = {}
        self._drawn: dict[Tasks, list[Task]] = {}
        self._retrievers: dict[tuple[str, str, str], Retriever | None] = {}
        self._layouts: dict[Path, Layout] = {}
        self._encoder: Encoder | None = None

    def __enter__(self) -> "Field":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def steps(self, tasks: Tasks) -> int:
        """The most actions an episode may take. Where the suite sets no limit, a task may have a lower one of its own."""
        return tasks.steps or self.environments.limit(tasks.environment)

    def jobs(self, conditions: Sequence[Condition]) -> list[Job]:
        """All episodes of some conditions."""
        drawn = [(entry, task) for entry, tasks in self.drawn().items() for task in tasks]
        return [Job(condition, entry, task) for condition in conditions for entry, task in drawn]

    def drawn(self) -> dict[Tasks, list[Task]]:
        """The tasks of each entry of the suite."""
        if not self._drawn:
            self._drawn = {entry: experience.draw(self.environments.at(entry.environment), entry) for entry in self.suite.tasks}
        return self._drawn

    def fill(self, conditions: Sequence[Condition], progress: Filling = lambda *_: None) -> list[str]:
        """Fill the suite's own bank where conditions with memory need it and it lacks something; a line for each episode that failed."""
        lacking = list[str]()
        for entry, tasks in self.drawn().items():
            own = experience.folder(self.name, entry)
            if entry.experience.bank or not any(experience.banks(self.name, c, entry) == own for c in conditions):
                continue
            with open_bank(own, DEFAULT_EMBEDDER, self._say) as bank:
                told = _naming(progress, self.environments.at(entry.environment).name)
                lacking += experience.fill(bank, self.environments, entry, tasks, told)
        return lacking

    def missing(self, condition: Condition) -> str | None:
        """Why a condition's model is not here; None where it is. A model that was named for it has to be here."""
        if condition.model in self._models or is_address(condition.model):
            return None
        name = condition.model or DEFAULT_POLICY
        known = manifest.find(name)
        if known is None:
            return None if Path(name).expanduser().is_file() else f"no model is called {name}"
        return f"the weights of {name} are not here" if state(known)[0] == "not here" else None

    def ready(self, condition: Condition) -> Ready:
        """The checked file of a condition's model. Raises EdgexpError where it is not here or damaged."""
        name = self.found(condition)
        if name not in self._ready:
            self._ready[name] = resolve(name, role="policy", say=self._say)
        return self._ready[name]

    def server(self, condition: Condition) -> ChatModel | None:
        """The server that a condition's model is behind, met once; None for a model of this process.

        Raises EdgexpError where it cannot be asked, or not as the condition has it.
        """
        name = self.found(condition)
        if not is_address(name):
            return None
        check_settings(condition)
        if name not in self._servers:
            choose = any(self.found(one) == name and one.actions == "admissible" for one in self.suite.conditions)
            met = open_chat_model(name, self._terms, context=self.suite.context, choose=choose, say=self._say)
            self._servers[name] = self._stack.enter_context(met)
        settle_actions(condition, self._servers[name], insist=True)
        return self._servers[name]

    def found(self, condition: Condition) -> str:
        """By which name, file or address a condition's model is to be found."""
        return self._models.get(condition.model, condition.model or DEFAULT_POLICY)

    def room(self, ready: Ready) -> int:
        """Tokens an episode has with a model."""
        return min(self.suite.context, ready.context or self.suite.context)

    def bank(self, job: Job) -> Bank | None:
        """The bank that a job's memory is of, opened to be read; None without memory."""
        path = experience.banks(self.name, job.condition, job.tasks)
        return None if path is None else self._bank(path)[0]

    def check_memory(self, jobs: Sequence[Job]) -> None:
        """Raise EdgexpError where the bank holds nothing at all that a condition could remember for tasks of a group."""
        seen = set()
        for job in jobs:
            key = job.condition.name, job.tasks.environment, job.task.group
            bank = None if key in seen else self.bank(job)
            seen.add(key)
            if bank and not bank.count(experience.filters(job.condition, job.tasks, job.task)):
                raise EdgexpError(f"the bank {bank.path} holds nothing that {job.condition.name!r} could remember for {job.task.id}; "
                                  f"fill it with: edgexp collect {job.tasks.environment} --bank {bank.path}")

    def setup(self, job: Job) -> Setup:
        """Everything that decides what the job's episode means."""
        key = job.condition.name, job.tasks.environment
        if key not in self._setups:
            self._setups[key] = self._make_setup(job)
        return self._setups[key]

    def retriever(self, job: Job) -> Retriever | None:
        """What a condition remembers by, for tasks of one group: it keeps the vectors of the queries it has seen."""
        key = job.condition.name, job.tasks.environment, job.task.group
        if key not in self._retrievers:
            found = experience.filters(job.condition, job.tasks, job.task)
            self._retrievers[key] = retriever_for(self.bank(job), job.condition, found)
        return self._retrievers[key]

    def check(self, job: Job) -> None:
        """Raise EdgexpError where the job's bank is not as it was when the evaluation began."""
        path = experience.banks(self.name, job.condition, job.tasks)
        if path is not None and self._bank(path)[0].fingerprint() != self._bank(path)[1]:
            raise EdgexpError(f"the bank {path} was changed while it was being evaluated; the episodes before are kept. Evaluate on a bank "
                              f"that rests, or play its conditions again with: --fresh {job.condition.name!r}")

    def _bank(self, path: Path) -> tuple[Bank, str]:
        if path not in self._banks:
            bank = self._stack.enter_context(experience.opened(path, self._embedder()))
            self._banks[path] = bank, bank.fingerprint()
        return self._banks[path]

    def _embedder(self) -> Encoder:
        if self._encoder is None:
            self._encoder = open_encoder(DEFAULT_EMBEDDER, self._say)
        return self._encoder

    def _layout(self, ready: Ready) -> Layout:
        """The layout that a model was trained for."""
        if ready.path not in self._layouts:
            self._layouts[ready.path] = layout_of(ready.path)
        return self._layouts[ready.path]

    def _make_setup(self, job: Job) -> Setup:
        condition, environment = job.condition, self.environments.at(job.tasks.environment)
        server, path = self.server(condition), experience.banks(self.name, condition, job.tasks)
        model = self._server_setup(condition, server) if server else self._model_setup(condition)
        return Setup(
            **model,
            condition=condition.name,
            environment=environment.name,
            environment_version=environment.version,
            steps=self.steps(job.tasks),
            actions=condition.actions,
            k=condition.k,
            memory=condition.memory if condition.k else "off",
            every=condition.every,
            diversity=condition.diversity,
            frame=condition.remembers and condition.frame,
            usefulness=condition.remembers and condition.usefulness,
            failures=condition.failures if condition.remembers else "alike",
            logged=self._bank(path)[0].logged if path and condition.usefulness else 0,
            temperature=condition.temperature,
            seed=condition.seed,
            prompt=messages.VERSION,
            bank=condition.bank if condition.k and condition.memory != "off" else "",
            bank_fingerprint=self._bank(path)[1] if path else "",
            bank_split=found.split or "" if (found := experience.filters(condition, job.tasks, job.task)) else "",
            repeats=condition.repeats,
            encoder=self._embedder().name if path else "",
            code=code(),
        )

    def _model_setup(self, condition: Condition) -> dict[str, Any]:
        """What a setup says of a model of this process."""
        ready = self.ready(condition)
        return {
            "model": condition.model or DEFAULT_POLICY, "model_sha256": ready.sha256, "context": self.room(ready),
            "layout": self._layout(ready) if condition.layout == "auto" else condition.layout,
            "engine": f"llama-cpp-python {version('llama-cpp-python')}",
        }  # fmt: skip

    def _server_setup(self, condition: Condition, server: ChatModel) -> dict[str, Any]:
        """What a setup says of a server's model."""
        return {
            "model": server.name, "model_sha256": "", "context": server.room, "layout": "chained", "engine": "",
            "server": server.url, "asked": server.describe(condition),
        }  # fmt: skip


def _layout_wanted(conditions: Sequence[Condition]) -> Layout:
    """What places have to be able to do so that each of some conditions can be played at them."""
    wanted = {condition.layout for condition in conditions}
    return "apart" if "apart" in wanted else "auto" if "auto" in wanted else "chained"


def _naming(progress: Filling, name: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(name, done, total)


class FieldPlayers:
    """One model of an evaluation at a number of places. Close it, or use it as a context manager."""

    def __init__(self, field: Field, conditions: Sequence[Condition], places: int, *, gpu_layers: int = 0, vault: int = 0,
                 say: Say = lambda _: None):
        """The conditions are of one model; `vault` is what the vault may hold, in bytes."""
        self.places, self._field = places, field
        self._fleet: Fleet | None = None
        if server := field.server(conditions[0]):
            self._session = Session(field.environments, places, server=server, whole=True)
            return
        ready = field.ready(conditions[0])
        self._fleet = Fleet(
            ready.path, places, context=field.room(ready), trees=any(c.actions == "scored" for c in conditions), gpu_layers=gpu_layers,
            layout=_layout_wanted(conditions), memories=max(c.k for c in conditions), vault=vault,
            say=say,
        )  # fmt: skip
        check_prompt(self._fleet, ready, say)
        self._session = Session(field.environments, places, self._fleet, ready)

    def __enter__(self) -> "FieldPlayers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._fleet is not None:
            self._fleet.__exit__(kind, error, trace)

    @property
    def engines(self) -> Sequence[Evaluator]:
        """What answers the episodes."""
        return self._session.engines

    def setup(self, job: Job) -> Setup:
        """See `Field.setup`."""
        return self._field.setup(job)

    def check(self, job: Job) -> None:
        """See `Field.check`."""
        self._field.check(job)

    def episode(self, place: int, job: Job) -> Episode:
        """The job's episode, with the place's environment and on its sequence, which keeps what two prompts have in common."""
        return self._session.episode(
            place, job.task, self._field.retriever(job), job.condition, steps=job.tasks.steps or None, environment=job.tasks.environment
        )
