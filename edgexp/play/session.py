"""Everything that playing needs, opened together from settings: environments, a model or another policy, bank, encoder, retriever.

`edgexp run`, `edgexp collect`, evaluations and the choice of checkpoints all play by a `Session`, so that a name means the same everywhere.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edgexp.bank import Bank, Filters, default_path
from edgexp.embedding import open_encoder
from edgexp.engine.vault import DEFAULT_LIMIT
from edgexp.environments import plain, registry
from edgexp.environments.base import Environment, action_tokens_of, tools_of, valid_actions_of
from edgexp.environments.registry import DEFAULT_ENVIRONMENT
from edgexp.errors import EdgexpError, UsageError
from edgexp.files import shown
from edgexp.models import DEFAULT_EMBEDDER, DEFAULT_POLICY, Ready, resolve
from edgexp.play.acting import Acting
from edgexp.play.chat_client import SECONDS, Terms, is_address
from edgexp.play.episode import Episode, Policy, Watcher, play
from edgexp.play.fleet import Environments, Fleet, Say
from edgexp.play.local import LocalPolicy
from edgexp.play.remote import ChatModel, RemotePolicy, check_settings, open_chat_model, settle_actions
from edgexp.play.rollout import Evaluator, Finished, run_many
from edgexp.play.takeover import Learner, Patience, TakeoverPolicy
from edgexp.prompt import messages
from edgexp.prompt.bounded import Bounded
from edgexp.prompt.render import Renderer, make_renderer
from edgexp.prompt.template import choose_template
from edgexp.retrieval import Layout, Retriever, retriever_for
from edgexp.trajectory import Task

PolicyMaker = Callable[[Environment, Retriever | None, Acting], Policy]
"""What `--policy module:attribute` names: makes whoever acts in an environment, with what recalls for it (None without memory)."""


class Settings(Acting, frozen=True, kw_only=True):
    """How to play. The defaults are those of `edgexp run`."""

    environment: str = DEFAULT_ENVIRONMENT
    model: str = DEFAULT_POLICY
    """A name or a file, or the address of a server: `http://host:port/v1#name`."""
    api_key_env: str = ""
    """The environment variable that holds a server's key; empty for `EDGEXP_API_KEY`, where that is set."""
    answer_seconds: Annotated[float, Meta(gt=0)] = SECONDS
    """For one answer of a server, everything that is tried for it included."""
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
    vault: Annotated[int, Meta(ge=0)] = DEFAULT_LIMIT
    """Bytes of disk for what a model has evaluated of past episodes, where memory stands apart; 0 for none."""
    parallel: Annotated[int, Meta(ge=1)] = 1
    """Episodes at once."""
    takeover: Patience | None = None
    """When the environment's expert takes over from the model, where it may."""
    insist: bool = False
    """Whether `actions` is to be kept to: an environment without valid actions is then refused, and not played in free mode."""


class Session:
    """Places at which episodes are played by one model, here or behind a server, or by a policy of somebody's own.

    `whole`: an episode in which a server fails is an error, and has no record of what came before.
    """

    def __init__(self, environments: Environments, places: int, fleet: Fleet | None = None, ready: Ready | None = None, *,
                 template: str | None = None, policy: PolicyMaker | None = None, takeover: Patience | None = None,
                 server: ChatModel | None = None, whole: bool = False):
        self.environments, self.places, self.fleet, self.ready, self.server = environments, places, fleet, ready, server
        self._whole = whole
        self._template, self._policy, self._takeover = template, policy, takeover
        self._renderers: dict[tuple[str, str], Renderer] = {}

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

    def renderer(self, environment: str, wanted: Layout = "auto") -> Renderer:
        """The renderer for an environment and a layout. Raises EdgexpError for a template that cannot be used, or instructions that do not
        fit."""
        assert self.fleet is not None
        layout = self.fleet.layout(wanted)
        if (environment, layout) not in self._renderers:
            model, instructions = self.fleet.model, self.environments.at(environment).instructions()
            template = choose_template(self._template, model.template, model.templates)
            made = make_renderer(Bounded(model.vocabulary, self.fleet.room), template, instructions, layout)
            if len(made.prefix()) >= self.fleet.room:  # at several places they would be evaluated before any prompt is looked at
                raise EdgexpError(f"the instructions of {environment} ({len(instructions):,} characters) do not fit a context of "
                                  f"{self.fleet.room} tokens; ask for more with: --context")
            self._renderers[environment, layout] = made
        return self._renderers[environment, layout]

    def _make_policy(self, place: int, name: str, retriever: Retriever | None, acting: Acting, steps: int | None) -> Policy:
        if self._policy is not None:
            return _own_policy(self._policy, self.environments.at(name, place), retriever, acting)
        model = self._make_model(place, name, retriever, acting, steps)
        return model if self._takeover is None else TakeoverPolicy(self.environments.at(name, place), model, self._takeover, steps)

    def _make_model(self, place: int, name: str, retriever: Retriever | None, acting: Acting, steps: int | None) -> Learner:
        wanted = 40 * (steps or self.environments.limit(name))
        tokens = action_tokens_of(self.environments.at(name, place))
        if self.server is not None:
            self.server.limit = max(self.server.limit, tokens + acting.think)
            instructions, room = self.environments.at(name, place).instructions(), self.server.room
            return RemotePolicy(self.server, instructions, retriever, acting, reserve=min(room // 2, wanted), whole=self._whole)
        assert self.fleet is not None and self.ready is not None
        renderer, room = self.renderer(name, acting.layout), self.fleet.room
        return LocalPolicy(
            self.fleet.sequence(place, renderer.prefix()), renderer, retriever, acting,
            context=room, reserve=min(room // 2, wanted), action_tokens=tokens,
            model=self.ready.name, model_sha256=self.ready.sha256,
        )  # fmt: skip


def _own_policy(maker: PolicyMaker, environment: Environment, retriever: Retriever | None, acting: Acting) -> Policy:
    """A policy of somebody's own. Raises EdgexpError in place of whatever its maker raises."""
    try:
        return maker(environment, retriever, acting)
    except (EdgexpError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise EdgexpError(f"the policy cannot be made: {plain.explain(error)}") from error


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


def _bank_to_play_with(stack: ExitStack, settings: "Settings", say: Say) -> Bank | None:
    """The bank, as far as its place allows: without its log where that cannot be written, none where none is there and none can be made."""
    path = settings.bank or default_path()
    bank = Bank.open_to_play(path, open_encoder(settings.encoder, say))
    if bank is None:
        say(f"there is no bank at {shown(path)} and none can be made there: nothing is remembered")
        return None
    if bank.readonly:
        say(f"the bank {shown(path)} can only be read here: what is recalled is not logged")
    return stack.enter_context(bank)


@contextmanager
def open_session(settings: Settings, say: Say = lambda _: None, *, keep: bool = False, in_use: bool = False,
                 copied: bool = False) -> Iterator[OpenSession]:
    """Open everything; all of it is closed at the end, also after an error. `say` is told what takes time or needs knowing.

    A bank is opened where something is remembered, or where `keep` says that episodes will be kept. `in_use` says that nothing is trained
    or measured: then whoever tries a task again may remember its own episodes of it. `copied`: the bank is a copy, which is only read.
    """
    with ExitStack() as stack:
        environments = stack.enter_context(Environments())
        environment = environments.at(settings.environment)
        settings = with_actions(settings, environment)
        if settings.policy:
            session = OpenSession(environments, settings.parallel, policy=load_policy(settings.policy))
        elif is_address(settings.model):
            server = stack.enter_context(open_server(settings, say))
            settings = msgspec.structs.replace(settle_actions(settings, server, settings.insist), model=f"{server.url}#{server.name}")
            session = OpenSession(environments, settings.parallel, server=server, takeover=settings.takeover)
        else:
            ready = resolve(settings.model, role="policy", say=say)
            fleet = stack.enter_context(open_fleet(ready, settings, say))
            check_prompt(fleet, ready, say)
            session = OpenSession(environments, settings.parallel, fleet, ready, template=settings.template, takeover=settings.takeover)
            session.renderer(settings.environment)  # a template that cannot be used is told before anything is played
        session.settings, session.environment = settings, environment
        session.bank = None
        if keep:
            session.bank = stack.enter_context(open_bank(settings.bank, settings.encoder, say))
        elif settings.remembers and copied and settings.bank:
            session.bank = stack.enter_context(Bank.open(settings.bank, open_encoder(settings.encoder, say), readonly=True))
        elif settings.remembers:
            session.bank = _bank_to_play_with(stack, settings, say)
        session.retriever = retriever_for(session.bank, settings, Filters(environment=environment.name), exclude_self=not in_use)
        yield session


def with_actions(settings: Settings, environment: Environment) -> Settings:
    """The settings, with free actions where the environment lists neither valid ones nor tools.

    Raises UsageError where they insist on others.
    """
    if settings.actions == "free" or valid_actions_of(environment) is not None or tools_of(environment) is not None:
        return settings
    if settings.insist:
        raise UsageError(f"the environment {environment.name} does not list valid actions, so --actions {settings.actions} cannot be; "
                         "leave the option out, or play it with: --actions free")
    return msgspec.structs.replace(settings, actions="free")


def open_server(settings: Settings, say: Say) -> ChatModel:
    """The server that settings name as the model. Raises UsageError where they ask for what servers do not have."""
    check_settings(settings, settings.template, settings.gpu_layers)
    terms = Terms(settings.api_key_env, settings.answer_seconds)
    return open_chat_model(settings.model, terms, context=settings.context, choose=settings.actions != "free", say=say)


def open_fleet(ready: Ready, settings: Settings, say: Say) -> Fleet:
    """The places that settings ask for."""
    return Fleet(ready.path, settings.parallel, context=settings.context, trees=settings.actions == "scored",
                 gpu_layers=settings.gpu_layers, layout=settings.layout, memories=settings.k if settings.remembers else 0,
                 vault=settings.vault, say=say)  # fmt: skip


def check_prompt(fleet: Fleet, ready: Ready, say: Say) -> None:
    """Say where a model was trained with other words around its episodes than it is given now: it will play worse than it could."""
    trained = fleet.model.prompt
    if trained is not None and trained != messages.VERSION:
        say(f"{ready.name} was trained with version {trained} of edgexp's prompt, and this edgexp writes version {messages.VERSION}: "
            "train it anew, or play it with the edgexp that trained it")


def load_policy(name: str) -> PolicyMaker:
    """The policy maker at `module:attribute` or `file.py:attribute`; see `registry.load`. Raises UsageError where there is none."""
    maker: PolicyMaker = registry.load(name, f"--policy {name}", "my_agent:make or ./my_agent.py:make")
    if not callable(maker):
        raise UsageError(f"--policy {name}: it is no function that makes a policy")
    return maker
