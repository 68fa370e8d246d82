"""What playing needs, opened together from plain names: environment, model, engine, encoder, bank, retriever, policy.

The command line, evaluation and tests all come in by this door, so that a name means the same everywhere.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgexp.bank import Bank
from edgexp.embedding import open_encoder
from edgexp.engine import decide, tuning
from edgexp.engine.engine import Engine
from edgexp.engine.model import Model
from edgexp.environments.base import Environment
from edgexp.environments.registry import make
from edgexp.home import default_bank
from edgexp.models import DEFAULT_EMBEDDER, DEFAULT_POLICY, Ready, resolve
from edgexp.play.policies import Mode, ModelPolicy
from edgexp.prompt.render import Renderer
from edgexp.prompt.template import learn
from edgexp.retrieval import Filters, Retriever

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How to play. The defaults are those of `edgexp run`."""

    environment: str = "household"
    model: str = DEFAULT_POLICY
    encoder: str = DEFAULT_EMBEDDER
    bank: Path | None = None
    """None: the default bank of the home folder."""
    k: int = 2
    memory: Literal["static", "dynamic", "off"] = "static"
    every: int = 1
    diversity: float | None = None
    mode: Mode = "admissible"
    context: int = 0
    """Tokens; 0 takes what the model was made for, at most 8192."""
    repeats: int = 1
    """Times an action may be taken when the same is to be seen, where it is chosen among the valid ones; 0 for any number."""
    temperature: float = 0.0
    seed: int = 0
    template: str | None = None
    """A built-in chat template's name, or Jinja text, instead of the model's own."""
    gpu_layers: int = 0


@dataclass(frozen=True)
class Stack:
    """Everything opened."""

    settings: Settings
    environment: Environment
    ready: Ready
    model: Model
    engine: Engine
    renderer: Renderer
    bank: Bank | None
    retriever: Retriever | None
    policy: ModelPolicy


@contextmanager
def open_bank(path: Path | None = None, encoder: str = DEFAULT_EMBEDDER, say: Say = lambda _: None) -> Iterator[Bank]:
    """A bank with its encoder, made if it is not there."""
    with Bank.open(path or default_bank(), open_encoder(encoder, say)) as bank:
        yield bank


@contextmanager
def open_stack(settings: Settings, say: Say = lambda _: None) -> Iterator[Stack]:
    """Open everything; all of it is closed at the end, also after an error. `say` is told what takes time or needs knowing."""
    with ExitStack() as stack:
        environment = make(settings.environment)
        stack.callback(environment.close)
        ready = resolve(settings.model, role="policy", say=say)
        model = stack.enter_context(Model(ready.path, tuning.for_model(ready.path, say), settings.gpu_layers))
        engine = stack.enter_context(Engine(model, _context(settings, model)))
        renderer = renderer_for(model, environment, settings.template)
        bank = retriever = None
        if settings.memory != "off" and settings.k > 0:
            bank = stack.enter_context(open_bank(settings.bank, settings.encoder, say))
            filters = Filters(environment=environment.name)
            mode, k = settings.memory, settings.k
            retriever = Retriever(bank, k=k, mode=mode, every=settings.every, filters=filters, diversity=settings.diversity)
        policy = ModelPolicy(
            engine.new(),
            renderer,
            retriever,
            mode=settings.mode,
            context=engine.context,
            reserve=min(engine.context // 2, 40 * environment.max_steps),
            choose=decide.sampler(settings.temperature, settings.seed) if settings.temperature > 0 else decide.greedy,
            repeats=settings.repeats,
            model=ready.name,
            model_sha256=ready.sha256,
            seed=settings.seed,
        )
        yield Stack(settings, environment, ready, model, engine, renderer, bank, retriever, policy)


def renderer_for(model: Model, environment: Environment, template: str | None = None) -> Renderer:
    """The renderer of a model and an environment. Raises EdgexpError for a template that cannot be used."""
    vocabulary = model.vocabulary
    bos, eos = (vocabulary.piece(i).decode("utf-8", "replace") if i >= 0 else "" for i in (vocabulary.bos, vocabulary.eos))
    learned = learn(template or model.template or "chatml", vocabulary, bos=bos, eos=eos)
    return Renderer(vocabulary, learned, environment.instructions())


def _context(settings: Settings, model: Model) -> int:
    return settings.context or min(model.trained_context, 8192)
