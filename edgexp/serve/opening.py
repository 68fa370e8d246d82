"""Everything that serving needs, opened together from settings: the model or the server behind it, the bank, the log of sessions."""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edgexp.bank import default_path
from edgexp.engine import tuning
from edgexp.engine.engine import Engine
from edgexp.engine.model import Model
from edgexp.errors import UsageError
from edgexp.files import hold_folder, shown
from edgexp.models import DEFAULT_EMBEDDER, resolve
from edgexp.models.model_files import digest_of
from edgexp.play.chat_client import Terms
from edgexp.play.fleet import LONGEST
from edgexp.prompt.bounded import Bounded
from edgexp.prompt.render import learn_template
from edgexp.prompt.template import choose_template
from edgexp.retrieval import Retrieval
from edgexp.serve.answering import Answerer
from edgexp.serve.cleaning import Redaction, compile_patterns
from edgexp.serve.journal import Journal
from edgexp.serve.keeping import Keeper
from edgexp.serve.local_model import LocalModel
from edgexp.serve.service import ChatService, Limits
from edgexp.serve.upstream import open_upstream

Say = Callable[[str], None]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
CHAINED_POLICY = "smollm2-135m-exprag"
"""The model where nobody names one: its past episodes stand one after the other, as they do in a server's prompts."""
_CELLS = 256
"""llama.cpp hands cells out in multiples of this."""


class ServeSettings(Retrieval, frozen=True, kw_only=True):
    """What is served, and how. The defaults are those of `edgexp serve`."""

    model: str = CHAINED_POLICY
    upstream: str = ""
    """The address of another server that has the model."""
    api_key_env: str = ""
    answer_seconds: Annotated[float, Meta(gt=0)] = 180.0
    environment: str = "chat"
    """The name under which sessions are kept, and whose episodes are recalled."""
    bank: Path | None = None
    encoder: str = DEFAULT_EMBEDDER
    record: bool = True
    """Whether sessions are kept at all."""
    redact: tuple[str, ...] = ()
    """Patterns of secrets beside those that are known."""
    redaction: bool = True
    context: Annotated[int, Meta(ge=0)] = 0
    """Tokens of a conversation; 0 takes what the model was made for, at most 8192."""
    slots: Annotated[int, Meta(ge=1)] = 4
    """Answers at once, and sessions of which the model remembers what it has seen."""
    max_tokens: Annotated[int, Meta(ge=1)] = 1024
    temperature: Annotated[float, Meta(ge=0)] = 0.0
    template: str | None = None
    gpu_layers: int = 0
    limits: Limits = msgspec.field(default_factory=Limits)


@contextmanager
def open_service(settings: ServeSettings, say: Say) -> Iterator[ChatService]:
    """The service, ready for an application, which closes it when it ends. `say` is told what takes time or needs knowing."""
    with ExitStack() as stack:
        _check(settings)
        own = compile_patterns(settings.redact)
        redaction = Redaction(own, known=settings.redaction)
        path = settings.bank or default_path()
        journal = None
        if settings.record:
            folder = path / "served"
            stack.enter_context(hold_folder(folder, f"another edgexp serve keeps its sessions in {shown(folder)}; name another --bank"))
            journal = Journal(folder)
        model = _open_model(settings, say)
        undo = stack.enter_context(ExitStack())
        undo.callback(model.close)
        keeper = None
        if settings.record or settings.remembers:
            keeper = Keeper(path, settings.encoder, settings.retrieval, settings.environment, secrets.token_hex(4), say)
            undo.callback(keeper.close)
        service = ChatService(model, keeper, journal, redaction, settings.limits, say)
        try:
            yield service
        finally:
            if service.closed:
                undo.pop_all()


def _check(settings: ServeSettings) -> None:
    """Raise UsageError for what cannot be."""
    if not _NAME.fullmatch(settings.environment):
        raise UsageError("--environment: a name has up to 64 letters, digits, dots, dashes and underscores")
    if settings.memory == "dynamic":
        raise UsageError("--memory dynamic: a server recalls once, for the first message of a session; take --memory static")
    if settings.layout == "apart":
        raise UsageError("--layout apart: in a server's prompts memory stands one after the other; take --layout chained")


def _open_model(settings: ServeSettings, say: Say) -> Answerer:
    if not settings.upstream:
        return open_local(settings, say)
    if settings.template or settings.gpu_layers:
        raise UsageError("--template and --gpu-layers are for a model of this process; a server has its own")
    return open_upstream(settings.upstream, Terms(settings.api_key_env, settings.answer_seconds), settings.context, settings.limits.waiting)


def open_local(settings: ServeSettings, say: Say) -> Answerer:
    """A model of this process. Raises EdgexpError where it cannot be loaded or has no template that can be used."""
    ready = resolve(settings.model, role="policy", say=say)
    digest = digest_of(ready.path)
    with ExitStack() as stack:
        model = stack.enter_context(Model(ready.path, tuning.for_model(ready.path, say, digest), settings.gpu_layers))
        room = settings.context or min(model.trained_context, LONGEST)
        room = -(-room // _CELLS) * _CELLS
        engine = stack.enter_context(Engine(model, settings.slots * room, slots=settings.slots, own_cells=settings.slots > 1))
        if model.layout == "apart" and settings.remembers:
            say(f"{ready.name} was trained with memory apart; here its past episodes stand one after the other, which it knows less well")
        vocabulary = Bounded(model.vocabulary, room)
        template = learn_template(vocabulary, choose_template(settings.template, model.template, model.templates))
        close = stack.pop_all().close
        return LocalModel(engine, vocabulary, template, ready.name, slots=settings.slots, room=room, longest=settings.max_tokens,
                          temperature=settings.temperature, sha256=ready.sha256, close=close)  # fmt: skip
