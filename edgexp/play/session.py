"""Everything that playing needs, opened together from settings: environments, a model or another policy, bank, encoder, retriever.

`edgexp run`, `edgexp collect`, evaluations and the choice of checkpoints all play by a `Session`, so that a name means the same everywhere.
"""

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from edgexp.bank import Bank, Filters, default_path
from edgexp.embedding import open_encoder
from edgexp.environments.base import Environment
from edgexp.environments.registry import DEFAULT_ENVIRONMENT
from edgexp.errors import EdgexpError, UsageError
from edgexp.models import DEFAULT_EMBEDDER, DEFAULT_POLICY, Ready, resolve
from edgexp.play.acting import Acting
from edgexp.play.episode import Episode, Policy, Watcher, play
from edgexp.play.fleet import Environments, Fleet, Say
from edgexp.play.local import LocalPolicy
from edgexp.play.rollout import Evaluator, Finished, run_many
from edgexp.prompt import messages
from edgexp.prompt.render import Renderer, make_renderer
from edgexp.prompt.template import choose_template
from edgexp.retrieval import Retriever, retriever_for
from edgexp.trajectory import Task

PolicyMaker = Callable[[Environment, Retriever | None, Acting], Policy]
"""What `--policy module:attribute` names: makes whoever acts in an environment, with what recalls for it (None without memory)."""


class Settings(Acting, frozen=True, kw_only=True):
    """How to play. The defaults are those of `edgexp run`."""

    environment: str = DEFAULT_ENVIRONMENT
    model: str = DEFAULT_POLICY
    policy: str = ""
    """`module:attribute` of a `PolicyMaker` that acts in place of a model; empty for the model."""
    encoder: str = DEFAULT_EMBEDDER
    bank: Path | None = None
    """None: the default bank of the home folder."""
    context: Annotated[int, Meta(ge=0)] = 0
    """Tokens; 0 takes what the model was made for, at most 8192."""
    template: str | None = None
    """A chat template instead of the model's own: the name of a built-in one or of another in the model's file, or Jinja text."""
    gpu_layers: int = 0
    parallel: Annotated[int, Meta(ge=1)] = 1
    """Episodes at once."""


class Session:
    """Places at which episodes are played by one model, or by a policy of somebody's own."""

    def __init__(self, environments: Environments, places: int, fleet: Fleet | None = None, ready: Ready | None = None, *,
                 template: str | None = None, policy: PolicyMaker | None = None):
        self.environments, self.places, self.fleet, self.ready = environments, places, fleet, ready
        self._template, self._policy = template, policy
        self._renderers: dict[str, Renderer] = {}

    @property
    def engines(self) -> list[Evaluator]:
        """What answers the episodes; none where no model of this process acts."""
        return list(self.fleet.engines) if self.fleet else []

    def episode(self, place: int, task: Task, retriever: Retriever | None, acting: Acting, *, steps: int | None = None,
                watch: Watcher = lambda _: None, environment: str = "") -> Episode:
        """An episode to be played at a place, with the place's environment (the task's, unless it is found by another name)."""
        name = environment or task.environment
        policy = self._make_policy(place, name, retriever, acting, steps)
        return play(self.environments.at(name, place), task, policy, max_steps=steps, watch=watch)

    def renderer(self, environment: str) -> Renderer:
        """The renderer for an environment. Raises EdgexpError for a template that cannot be used."""
        assert self.fleet is not None
        if environment not in self._renderers:
            model, instructions = self.fleet.model, self.environments.at(environment).instructions()
            template = choose_template(self._template, model.template, model.templates)
            self._renderers[environment] = make_renderer(model.vocabulary, template, instructions)
        return self._renderers[environment]

    def _make_policy(self, place: int, name: str, retriever: Retriever | None, acting: Acting, steps: int | None) -> Policy:
        if self._policy is not None:
            return self._policy(self.environments.at(name, place), retriever, acting)
        assert self.fleet is not None and self.ready is not None
        renderer, room = self.renderer(name), self.fleet.room
        return LocalPolicy(
            self.fleet.sequence(place, renderer.prefix()), renderer, retriever, acting,
            context=room, reserve=min(room // 2, 40 * (steps or self.environments.limit(name))),
            model=self.ready.name, model_sha256=self.ready.sha256,
        )  # fmt: skip


class OpenSession(Session):
    """A session with the environment, bank and memory that its settings name."""

    settings: Settings
    environment: Environment
    """That of the first place."""
    bank: Bank | None
    """None where nothing is remembered and no bank was asked for."""
    retriever: Retriever | None

    def play(self, tasks: Iterable[Task], *, steps: int | None = None,
             watch: Callable[[Task], Watcher] | None = None) -> Iterator[Finished]:
        """Play tasks at the session's places, and tell of each when it is over. `watch` makes an episode's watcher."""
        watching = watch or (lambda _: lambda _: None)

        def start(task: Task) -> Callable[[int], Episode]:
            return lambda place: self.episode(
                place, task, self.retriever, self.settings, steps=steps, watch=watching(task), environment=self.settings.environment
            )

        return run_many(map(start, tasks), self.places, self.engines)


@contextmanager
def open_bank(path: Path | None = None, encoder: str = DEFAULT_EMBEDDER, say: Say = lambda _: None) -> Iterator[Bank]:
    """A bank with its encoder, made if it is not there."""
    with Bank.open(path or default_path(), open_encoder(encoder, say)) as bank:
        yield bank


@contextmanager
def open_session(settings: Settings, say: Say = lambda _: None, *, keep: bool = False) -> Iterator[OpenSession]:
    """Open everything; all of it is closed at the end, also after an error. `say` is told what takes time or needs knowing.

    A bank is opened where something is remembered, or where `keep` says that episodes will be kept.
    """
    with ExitStack() as stack:
        environments = stack.enter_context(Environments())
        environment = environments.at(settings.environment)
        if settings.policy:
            session = OpenSession(environments, settings.parallel, policy=load_policy(settings.policy))
        else:
            ready = resolve(settings.model, role="policy", say=say)
            fleet = stack.enter_context(open_fleet(ready, settings, say))
            check_prompt(fleet, ready, say)
            session = OpenSession(environments, settings.parallel, fleet, ready, template=settings.template)
            session.renderer(settings.environment)  # a template that cannot be used is told before anything is played
        session.settings, session.environment = settings, environment
        session.bank = stack.enter_context(open_bank(settings.bank, settings.encoder, say)) if settings.remembers or keep else None
        session.retriever = retriever_for(session.bank, settings, Filters(environment=environment.name))
        yield session


def open_fleet(ready: Ready, settings: Settings, say: Say) -> Fleet:
    """The places that settings ask for."""
    return Fleet(ready.path, settings.parallel, context=settings.context, trees=settings.actions == "scored",
                 gpu_layers=settings.gpu_layers, say=say)  # fmt: skip


def check_prompt(fleet: Fleet, ready: Ready, say: Say) -> None:
    """Say where a model was trained with other words around its episodes than it is given now: it will play worse than it could."""
    trained = fleet.model.prompt
    if trained is not None and trained != messages.VERSION:
        say(f"{ready.name} was trained with version {trained} of edgexp's prompt, and this edgexp writes version {messages.VERSION}: "
            "train it anew, or play it with the edgexp that trained it")


def load_policy(name: str) -> PolicyMaker:
    """The policy maker at `module:attribute`; the module is installed, or in the current folder. Raises UsageError where there is none."""
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise UsageError(f"--policy {name}: write it as module:attribute, for example my_agent:make")
    if (here := str(Path.cwd())) not in sys.path:  # `python -m edgexp` looks there, the installed command does not
        sys.path.append(here)  # last, so that nothing there hides a library
    try:
        maker: PolicyMaker = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise UsageError(f"--policy {name}: {error}; is the module installed, or in the current folder?") from error
    except AttributeError as error:
        raise UsageError(f"--policy {name}: {error}") from error
    except Exception as error:  # somebody's own module may raise anything while it is imported
        raise EdgexpError(f"--policy {name}: it cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(maker):
        raise UsageError(f"--policy {name}: it is no function that makes a policy")
    return maker
