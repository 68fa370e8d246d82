"""The policy that is a model behind a server: the prompt in words as chat messages, and actions in the server's words or of its choice.

A `ChatModel` is a server that was asked once and has answered: which model it has, which settings it takes, and whether it can be made to
choose among valid actions. Nothing is known of the model's tokens: what fits its context is estimated. How a question gets to the server
and back is `edgexp.play.chat_client`'s affair.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, get_args
from urllib.parse import urlsplit

import msgspec

from edgexp.engine.decide import Reading
from edgexp.environments import plain
from edgexp.environments.base import Environment, valid_actions_of
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.acting import Acting, now
from edgexp.play.chat_client import KEY_VARIABLE, Address, Answer, ChatClient, ServerFailed, Terms, is_here, parse_address, read_key
from edgexp.play.choosing import PROBE, Method, chosen, cleaned, first_line, reading_of, restrict
from edgexp.play.circles import drop_repeated_actions
from edgexp.play.episode import Asking, CannotGoOn, Playing, PolicyFailed, ask, elsewhere
from edgexp.play.local import ACTION_TOKENS
from edgexp.prompt.messages import FAILED, SUCCEEDED, chat, history, memory_text
from edgexp.retrieval import Memory, Retriever, fit
from edgexp.trajectory import Decision, Provenance, Trajectory

Some = TypeVar("Some", bound=Acting)
Say = Callable[[str], None]
Turns = Sequence[dict[str, str]]

LONGEST = 8192
"""Tokens of room where nobody asks for a number, as for a model of this process."""
THOUGHT_TOKENS = 4096
"""The most that an action may have together with the thoughts before it."""
_FULL = re.compile(r"context[ _](length|size|window)|exceed_context|too many tokens|prompt is too long", re.IGNORECASE)


@dataclass
class Taken:
    """What a server takes of a question; found out when it is asked first."""

    limit: str = "max_tokens"
    """What it calls the limit on an answer's tokens."""
    without: tuple[str, ...] = ()
    """Settings that it refuses."""
    system: bool = True
    """Whether it knows system turns; else they stand at the beginning of the first user turn."""


class ChatModel:
    """A model behind a server, ready to be asked. Close it, or use it as a context manager."""

    def __init__(self, client: ChatClient, room: int, say: Say = lambda _: None):
        self._client, self._say = client, say
        self.url, self.name, self.room = client.address.url, client.address.model, room
        self.method: Method | None = None
        """How it can be made to choose; None where it cannot, or where nobody wants it to."""
        self.taken = Taken()
        self.limit = ACTION_TOKENS
        """Tokens that an answer may have."""
        self._told = set[str]()

    def __enter__(self) -> "ChatModel":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def patience(self) -> float:
        """Seconds after which nobody waits any more; the client gives up before."""
        return self._client.seconds + 5

    def ask(self, turns: Turns, acting: Acting, choices: Sequence[str] = ()) -> Answer:
        """What the server says to an episode so far. Raises ServerFailed, and CannotGoOn where its context is full."""
        try:
            return self._client.ask(self.question(turns, acting, choices))
        except ServerFailed as error:
            if error.status in (400, 413, 422, 500) and _FULL.search(str(error)):
                raise CannotGoOn("context_full") from error
            raise

    def question(self, turns: Turns, acting: Acting, choices: Sequence[str] = ()) -> dict[str, Any]:
        """The body of a question."""
        longest = max((len(choice.encode()) for choice in choices), default=0)
        asked: dict[str, Any] = {
            "model": self._client.address.model or "default",
            "messages": list(turns) if self.taken.system else fold(turns),
            self.taken.limit: max(self.limit, longest + 32),
            "temperature": acting.temperature,
            "seed": acting.seed,
            **(restrict(self.method, choices) if self.method and choices else {}),
        }
        return {name: value for name, value in asked.items() if name not in self.taken.without}

    def meet(self) -> None:
        """Ask the server something small, to learn what it takes and who answers. Raises ServerFailed where it answers nothing."""
        turns = [{"role": "system", "content": "You answer with one word."}, {"role": "user", "content": "Say yes."}]
        while True:
            try:
                self.name = self._client.ask(self.question(turns, Acting()), 3).model or self.name
                return
            except ServerFailed as error:
                if error.status not in (400, 422) or not self._give_way(str(error).lower()):
                    raise

    def find_method(self) -> None:
        """Try whether the server can be made to choose, in each way once."""
        turns = [{"role": "user", "content": "Say yes or no."}]
        for method in get_args(Method):
            self.method, limit = method, self.limit
            try:
                answer = self._client.ask(self.question(turns, Acting(), PROBE), 1)
                if self.think(answer, limit):
                    answer = self._client.ask(self.question(turns, Acting(), PROBE), 1)
            except ServerFailed as error:
                if error.status in (0, 401, 403, 404, 429):
                    raise
                continue
            if chosen(answer.text, method) in PROBE:
                return
        self.method = None

    def think(self, answer: Answer, limit: int) -> bool:
        """Leave more room from now on, where an answer of at most `limit` tokens is the beginning of a thought and nothing else.

        Whether it is, and the question is worth asking again.
        """
        if not answer.cut or first_line(answer.text) or limit >= THOUGHT_TOKENS:
            return False
        self.limit = THOUGHT_TOKENS
        self.tell_once(f"it thinks before it acts; an answer may have {THOUGHT_TOKENS:,} tokens from now on")
        return True

    def tell_once(self, line: str) -> None:
        """Say something, the first time that it is so."""
        if line not in self._told:
            self._told.add(line)
            self._say(f"{self.url}: {line}")

    def describe(self, acting: Acting) -> str:
        """How it is asked, in one line, for an episode's record."""
        by = f" by {self.method}" if acting.actions != "free" and self.method else ""
        without = f", without {' and '.join(self.taken.without)}" if self.taken.without else ""
        return f"actions {acting.actions}{by}, temperature {acting.temperature:g}, context {self.room}{without}"

    def _give_way(self, words: str) -> bool:
        """Ask otherwise from now on, where a server says that it does not take what it was asked; whether there was anything to change."""
        taken = self.taken
        if "max_completion_tokens" in words and taken.limit == "max_tokens":
            taken.limit = "max_completion_tokens"
            return True
        for name in ("seed", "temperature"):
            if name in words and name not in taken.without:
                taken.without = (*taken.without, name)
                self.tell_once(f"it takes no {name}, so it is asked without one")
                return True
        if "system" in words and taken.system:
            taken.system = False
            self.tell_once("it takes no system turn, so instructions stand in the first user turn")
            return True
        return False


def open_chat_model(name: str, terms: Terms, *, context: int = 0, choose: bool = False, say: Say = lambda _: None) -> ChatModel:
    """The model at an address, met. `choose`: find out whether it can be made to choose among valid actions; it says so.

    Raises UsageError for what is no address or names no model, EdgexpError where the server cannot be asked.
    """
    address, key = parse_address(name), read_key(terms.key_variable)
    if (key or address.login) and address.url.startswith("http://") and not is_here(urlsplit(address.url).hostname or ""):
        say(f"{address.url}: the key goes there unencrypted; https:// would hide it")
    client = ChatClient(address, key, terms.seconds)
    try:
        return _meet(client, context, choose, say)
    except ServerFailed as error:
        client.close()
        raise EdgexpError(f"{address.url}: {error}{_hint(error, client, terms)}") from error
    except BaseException:
        client.close()
        raise


def _meet(client: ChatClient, context: int, choose: bool, say: Say) -> ChatModel:
    listed = client.models()
    address, names = client.address, [one.name for one in listed]
    if not address.model and len(listed) > 1:
        raise UsageError(f"{address.url}: name one of its models, as in {address.url}#{names[0]}; it has {', '.join(names[:20])}")
    if not address.model and listed:
        address = client.address = Address(address.url, names[0], address.login)
    known = next((one.context for one in listed if one.name == address.model), 0)
    wanted = context or LONGEST
    model = ChatModel(client, min(wanted, known) if known else wanted, say)
    if known and context > known:
        model.tell_once(f"its context is of {known:,} tokens, and no more of --context is used")
    model.meet()
    if choose:
        model.find_method()
        model.tell_once(f"it chooses among the valid actions, by {model.method}" if model.method else
                        "it cannot be made to choose among the valid actions (structured_outputs, guided_choice, grammar and json_schema "
                        "were tried)")  # fmt: skip
    return model


def _hint(error: ServerFailed, client: ChatClient, terms: Terms) -> str:
    """What may help."""
    variable = terms.key_variable or KEY_VARIABLE
    if error.status in (401, 403):
        return f"; the key is that of the environment variable {variable}" if client.has_key else \
            f"; no key was sent: put it into the environment variable {variable}"
    if error.status in (404, 405):
        return "; an address mostly ends in /v1, and the name of a model that is there follows the #"
    return ""


class RemotePolicy:
    """Plays by the answers of a server, with past episodes in its prompt.

    Of the room in tokens, as they are estimated, `reserve` is kept for the episode itself, as with a model of this process. `whole`: an
    episode in which the server fails has no record at all; else the record says that it broke off.
    """

    def __init__(self, model: ChatModel, instructions: str, retriever: Retriever | None, acting: Acting, *, reserve: int = 2048,
                 whole: bool = False):
        self._model, self._instructions, self._retriever, self._acting = model, instructions, retriever, acting
        self._reserve, self._whole = reserve, whole
        self._memory: list[Trajectory] = []

    def begin(self, episode: Playing) -> None:
        """Recall what is relevant. Raises EdgexpError when not even the bare prompt fits the context."""
        self._memory = []
        self._recall(episode)
        need, room = estimate(self._turns(episode)) + ACTION_TOKENS, self._model.room
        if need > room:
            raise EdgexpError(f"{episode.task.id}: about {need} tokens of prompt and action do not fit a context of {room}; ask for more "
                              "with: --context")

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        """The server's choice, or the first line of what it says; None when it says nothing."""
        if episode.steps:
            self._recall(episode)
        turns = self._turns(episode)
        if estimate(turns) + ACTION_TOKENS > self._model.room:
            raise CannotGoOn("context_full")
        choices = yield from self._choices(episode)
        try:
            answer = yield from self._answer(turns, choices)
            text = self._action(answer, choices, reading_of(episode.environment))
        except PolicyFailed as error:
            if self._whole:
                raise EdgexpError(f"{episode.task.id}: {error}") from error
            raise
        self._count(episode, answer)
        return Decision(text, answer.usage.generated or 0, stop="length" if answer.cut else "end") if text else None

    def resume(self, episode: Playing) -> None:
        """Go on after another has acted: every question holds the whole episode."""

    def provenance(self, environment: Environment) -> Provenance:
        """The server, the model by the server's word, and how it was asked."""
        how = self._model.describe(self._acting)
        who, where = self._model.name, self._model.url
        return Provenance("agent", environment.version, self._acting.seed, who, created=now(), server=where, settings=how)

    def _turns(self, episode: Playing) -> list[dict[str, str]]:
        start = episode.start
        return chat(history(self._instructions, start.goal, start.observation, episode.steps, self._memory))

    def _choices(self, episode: Playing) -> Asking[list[str]]:
        """The actions to choose among; none where the server writes its own."""
        list_valid = valid_actions_of(episode.environment)
        if self._acting.actions == "free" or list_valid is None:
            return []
        valid = yield from ask(episode.environment, list_valid)
        return drop_repeated_actions(valid, episode.steps, episode.start.observation, self._acting.repeats)

    def _answer(self, turns: Turns, choices: Sequence[str]) -> Asking[Answer]:
        """An answer that is more than the beginning of a thought."""
        model, limit = self._model, self._model.limit
        answer: Answer = yield from elsewhere(partial(model.ask, turns, self._acting, choices), model.patience, model.url)
        if model.think(answer, limit):
            answer = yield from elsewhere(partial(model.ask, turns, self._acting, choices), model.patience, model.url)
        return answer

    def _action(self, answer: Answer, choices: Sequence[str], read: Reading | None) -> str:
        """The action in an answer; empty for none. Raises PolicyFailed where it is not one of those to choose among."""
        if choices and self._model.method:
            text, offered = chosen(answer.text, self._model.method), {choice.strip(): choice for choice in choices}
            if text not in offered:
                said = plain.shown(text)
                raise PolicyFailed(f"{self._model.url}: it was to choose among the valid actions, and said {said}")
            return offered[text]
        text = first_line(answer.text) if read is None else read(cleaned(answer.text))[0]
        if not text and answer.cut:
            raise PolicyFailed(f"{self._model.url}: it came to no action within {self._model.limit:,} tokens")
        return text

    def _count(self, episode: Playing, answer: Answer) -> None:
        """Take over the server's counts, as far as they can be true."""
        usage, tokens = answer.usage, episode.tokens
        if usage.doubtful:
            self._model.tell_once("its counts of tokens cannot all be true; those that cannot are left out")
        if not episode.steps:
            tokens.prompt = usage.prompt or 0
        if usage.prompt is not None and usage.cached is not None:
            tokens.evaluated += usage.prompt - usage.cached
            tokens.reused += usage.cached
        tokens.generated += usage.generated or 0

    def _recall(self, episode: Playing) -> None:
        """Recall where the retriever says that it is time, as much as there is room for."""
        if self._retriever is None or not self._retriever.due(len(episode.steps)):
            return
        start = episode.start
        found = self._retriever.recall(episode.task, start.goal, start.observation, tuple(episode.steps))
        bare = estimate(chat(history(self._instructions, start.goal, start.observation, episode.steps)))
        room = self._model.room - self._reserve - bare - count_tokens(SUCCEEDED) - count_tokens(FAILED)
        memory: Memory = fit(found, lambda t: count_tokens(memory_text(t)), max(0, room))
        self._memory = [recalled.trajectory for recalled in memory.recalled]
        episode.seconds.retrieval += memory.seconds
        episode.remember(memory)


def check_settings(acting: Acting, template: str | None = None, gpu_layers: int = 0) -> None:
    """Raise UsageError for what a server cannot be asked for."""
    if acting.actions == "scored":
        raise UsageError("a server gives no probabilities of actions; play it with: --actions admissible, or --actions free")
    if acting.layout == "apart":
        raise UsageError("a server cannot be given memory apart; play it with: --layout chained")
    if template or gpu_layers:
        raise UsageError(f"--{'template' if template else 'gpu-layers'} is for a model of this process; a server has its own")


def settle_actions(acting: Some, model: ChatModel, insist: bool) -> Some:
    """The settings, with free actions where the server cannot choose. Raises UsageError where they insist on others."""
    if acting.actions == "free" or model.method:
        return acting
    if insist:
        raise UsageError(f"{model.url}: it cannot be made to choose among the valid actions, so --actions {acting.actions} cannot be; "
                         "leave the option out, or play it with: --actions free")
    model.tell_once("it writes its own actions (--actions free)")
    return msgspec.structs.replace(acting, actions="free")


def count_tokens(text: str) -> int:
    """About how many tokens a text has: one for four letters of ASCII, and one for every other letter."""
    ascii = len(text) if text.isascii() else sum(map(str.isascii, text))
    return -(-ascii // 4) + len(text) - ascii


def estimate(turns: Turns) -> int:
    """About how many tokens a prompt has."""
    return sum(count_tokens(turn["content"]) + 4 for turn in turns)


def fold(turns: Turns) -> list[dict[str, str]]:
    """Turns without a system turn: what it says stands at the beginning of the first user turn."""
    if len(turns) < 2 or turns[0]["role"] != "system":
        return list(turns)
    return [{"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}, *turns[2:]]
