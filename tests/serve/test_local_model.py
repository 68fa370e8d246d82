"""The model of this process behind the server, over a mock engine: what is evaluated, what is kept, stops, tools, and many at once.

The mock model is a function of all ids before, so an answer is right only if every id of its prompt is.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from bank_samples import trajectory
from hypothesis import given, settings
from hypothesis import strategies as st
from mock_engine import VOCABULARY, Logits, MockEngine, MockVocabulary, by_chance, saying, whole
from serve_toys import serving

from edgexp.engine.engine import TokenSequence
from edgexp.errors import EdgexpError
from edgexp.prompt.messages import Message
from edgexp.prompt.render import Renderer, learn_template
from edgexp.serve.answering import Question, TooLong
from edgexp.serve.conversation import Said
from edgexp.serve.local_model import LocalModel
from edgexp.serve.protocol import Sampling, Tool, Written
from edgexp.serve.sessions import Sessions, stays

TEMPLATE = learn_template(VOCABULARY, "chatml")
SYSTEM = Said("system", "You help.")


class SlottedEngine(MockEngine):
    """A mock engine that gives out sequences, as many as there are slots."""

    def __init__(self, think: Callable[[Sequence[int]], Logits] = by_chance, slots: int = 2, room: int = 4096) -> None:
        super().__init__(think)
        self._free, self.room, self.most = list(range(slots)), room, 0

    def new(self) -> TokenSequence:
        return TokenSequence(self._free.pop())

    def fork(self, source: TokenSequence) -> TokenSequence:
        copy = self.new()
        copy.ids, copy.evaluated, copy.logits = list(source.ids), source.evaluated, source.logits
        return copy

    def free(self, sequence: TokenSequence) -> None:
        self._free.append(sequence.slot)
        sequence.ids, sequence.evaluated, sequence.logits = [], 0, None

    def evaluate(self, sequences: Sequence[TokenSequence]) -> None:
        self.most = max(self.most, len(sequences))
        assert all(len(s.ids) <= self.room for s in sequences)
        super().evaluate(sequences)


class Chat:
    """A client, its sessions and its model."""

    def __init__(self, think: Callable[[Sequence[int]], Logits] = by_chance, slots: int = 2, room: int = 4096, longest: int = 24) -> None:
        self.engine = SlottedEngine(think, slots, room)
        self.model = LocalModel(self.engine, VOCABULARY, TEMPLATE, "mock", slots=slots, room=room, longest=longest)  # type: ignore[arg-type]
        self.sessions = Sessions()

    async def ask(self, messages: Sequence[Said], **more: object) -> tuple[Written, str]:
        """The answer, and the session's id."""
        match = self.sessions.match(messages)
        session = self.sessions.begin(match)
        origin = match.origin.id if match.origin else session.id
        sampling = more.pop("sampling", Sampling())
        question = Question(session.id, messages, sampling, known=match.known, origin=origin, **more)  # type: ignore[arg-type]
        told = ""
        try:
            async for piece in self.model.answer(question):
                if isinstance(piece, Written):
                    self.sessions.finish(session, match, piece.said, [*messages[stays(session, match) :], piece.said])
                    assert piece.text.startswith(told) or piece.calls
                    return piece, session.id
                told += piece
        finally:
            self.sessions.release(session)
        raise AssertionError("no answer")

    def alone(self, messages: Sequence[Said], **more: object) -> Written:
        """What a model without any memory of before answers."""
        chat = Chat(self.engine.think, 1, self.engine.room, self.model._longest)
        try:
            return asyncio.run(chat.ask(messages, **more))[0]
        finally:
            chat.model.close()


@pytest.fixture
def chatting():
    """A function that makes chats, which are closed in the end."""
    made = list[Chat]()

    def make(*arguments: object, **more: object) -> Chat:
        made.append(Chat(*arguments, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for chat in made:
        chat.model.close()


def said(text: str) -> Said:
    return Said("user", text)


def count(prompt: str) -> str:
    """Says how many turns there are, and the beginning of the last one."""
    turns = prompt.split("<|im_start|>")
    return f"{len(turns)} turns, {turns[-2][5:25].split('<')[0]}"


def test_a_conversation_of_ten_turns_evaluates_each_token_once(chatting):
    chat = chatting(by_chance)
    messages = [SYSTEM]
    for turn in range(10):
        messages.append(said(f"question {turn} " * 5))
        written, _ = asyncio.run(chat.ask(messages))
        messages.append(written.said)
    [sequence] = chat.model._slots._kept.values()
    assert len(chat.sessions) == 1 and sequence.ids[-1] == 257
    assert chat.engine.evaluated == sequence.evaluated, "no token twice"
    assert len(sequence.ids) - sequence.evaluated <= 2, "nothing is left out but the last token and the end of the last turn"
    assert sequence.ids[:40] == chat.model._write(messages[:-1], (), ())[:40]


def test_the_usage_counts_every_token_of_the_prompt(chatting):
    chat = chatting(saying(count))
    messages = [SYSTEM, said("hello")]
    first, _ = asyncio.run(chat.ask(messages))
    assert first.usage.cached == 0
    assert first.usage.prompt == len(chat.model._write(messages, (), ()))
    assert first.usage.generated == len(VOCABULARY.encode(first.text)) + 1
    then = [*messages, first.said, said("more")]
    second, _ = asyncio.run(chat.ask(then))
    assert second.usage.prompt == len(chat.model._write(then, (), ()))
    # What was said is not read again: but for the last token and the end of the turn, which nobody had asked about.
    assert second.usage.cached == first.usage.prompt + len(VOCABULARY.encode(first.text))


TEXTS = st.text(alphabet="ab é\n<|im_end|>", max_size=12)
MOVES = st.tuples(st.sampled_from(["go on", "again", "edit", "branch", "other"]), TEXTS)


@settings(max_examples=30)
@given(st.lists(MOVES, min_size=1, max_size=8), st.integers(1, 3))
def test_whatever_clients_do_to_their_histories_the_answer_is_that_of_a_model_that_knows_nothing(moves, slots):
    """Going on, asking again, editing, branching off and other conversations in between: the mock model hangs on every id."""
    chat = Chat(saying(lambda prompt: f"{len(prompt)} {sum(prompt.encode()) % 997}"), slots)
    histories: list[list[Said]] = [[SYSTEM]]
    try:
        for move, text in moves:
            history = histories[-1]
            if move == "other":
                histories.append(history := [Said("system", text)])
            elif move == "again" and len(history) > 2:
                history = history[:-2]
            elif move == "edit" and len(history) > 2:
                history[1] = said(text + "!")
            elif move == "branch" and len(history) > 4:
                histories.append(history := history[:3])
            asked = [*history, said(text)]
            written, _ = asyncio.run(chat.ask(asked))
            assert written.text == chat.alone(asked).text
            histories[-1] = [*asked, written.said]
    finally:
        chat.model.close()


def test_a_session_whose_cells_were_given_up_goes_on_correctly(chatting):
    chat = chatting(by_chance, 1)
    one, other = [said("one")], [said("other")]
    for _ in range(3):
        for history in (one, other):
            written, _ = asyncio.run(chat.ask(history))
            assert written.text == chat.alone(history).text or len(history) > 1
            history += [written.said, said("on")]
    assert len(chat.sessions) == 2 and len(chat.model._slots._kept) == 1


def test_a_rewritten_history_is_evaluated_from_the_last_answer_that_stayed(chatting):
    chat = chatting(saying(count))
    first, session = asyncio.run(chat.ask([SYSTEM, said("a" * 200)]))
    second, _ = asyncio.run(chat.ask([SYSTEM, said("a" * 200), first.said, said("b" * 100)]))
    again, branch = asyncio.run(chat.ask([SYSTEM, said("a" * 200), first.said, said("c" * 100)]))
    assert branch != session and again.text.endswith("c" * 15) and second.text.endswith("b" * 15)
    assert again.usage.prompt - again.usage.cached < 150, "the first turns are not read again"


def test_many_at_once_are_one_batch_and_each_has_its_answer(chatting):
    chat = chatting(saying(count), 4)

    async def all_of_them() -> list[Written]:
        return [one for one, _ in await asyncio.gather(*(chat.ask([said(f"I am {n}")]) for n in range(12)))]

    answers = asyncio.run(all_of_them())
    assert [answer.text for answer in answers] == [chat.alone([said(f"I am {n}")]).text for n in range(12)]
    assert chat.engine.most == 4


def test_who_goes_stops_the_model_and_gives_the_slot_back(chatting):
    chat = chatting(saying(lambda _: "word " * 500), 1, longest=2000)

    async def go() -> None:
        async for _ in chat.model.answer(Question("gone", [said("hello")], Sampling())):
            return

    asyncio.run(go())
    assert asyncio.run(chat.ask([said("hi")], sampling=Sampling(limit=3)))[0].text == "wor"
    assert chat.engine.evaluated < 1000


@pytest.mark.parametrize(("stop", "text"), [(("two",), "one "), (("three", "ne t"), "o"), (("four",), "one two three"), (("o",), "")])
def test_a_stop_ends_the_answer_before_it(chatting, stop, text):
    chat = chatting(saying(lambda _: "one two three"))
    written, _ = asyncio.run(chat.ask([said("count")], sampling=Sampling(stop=stop)))
    assert (written.text, written.finish) == (text, "stop")
    [sequence] = chat.model._slots._kept.values()
    assert VOCABULARY.decode(sequence.ids).endswith(f"<|im_start|>assistant\n{text}<|im_end|>")


def test_an_answer_that_is_too_long_is_cut_and_says_so(chatting):
    chat = chatting(saying(lambda _: "one two three"))
    written, _ = asyncio.run(chat.ask([said("count")], sampling=Sampling(limit=5)))
    assert (written.text, written.finish, written.usage.generated) == ("one t", "length", 5)


def test_a_character_comes_whole_or_not_at_all(chatting):
    chat = chatting(saying(lambda _: "é😀"))
    pieces = []

    async def ask() -> None:
        async for piece in chat.model.answer(Question("s", [said("say")], Sampling())):
            pieces.append(piece if isinstance(piece, str) else piece.text)

    asyncio.run(ask())
    assert pieces == ["é", "😀", "é😀"]


LOOK = Tool("look", "Look around.", {"type": "object", "properties": {"at": {"type": "string"}}})


def test_tools_stand_in_the_system_turn_and_a_call_is_read(chatting):
    def call(prompt: str) -> str:
        if '"name": "look"' not in prompt.split("<|im_end|>")[0]:
            return "there is no tool"
        return 'I look.\n<tool_call>\n{"name": "look", "arguments": {"at": "é"}}\n</tool_call>'

    chat = chatting(saying(call), longest=200)
    told = []

    async def ask() -> Written:
        async for piece in chat.model.answer(Question("s", [said("go")], Sampling(), (LOOK,))):
            if isinstance(piece, Written):
                return piece
            told.append(piece)
        raise AssertionError

    written = asyncio.run(ask())
    assert (written.text, written.finish) == ("I look.", "tool_calls")
    assert [(c.name, c.arguments) for c in written.calls] == [("look", '{"at": "é"}')]
    assert "".join(told).strip() == "I look.", "nothing of the call is streamed as text"


def test_a_tool_that_must_be_called_is_called(chatting):
    chat = chatting(saying(lambda prompt: '<tool_call>\n{"name": "look", "arguments": {"at": "x"}}\n</tool_call>'), longest=200)
    written, _ = asyncio.run(chat.ask([said("go")], tools=(LOOK,), must_call="look"))
    assert written.calls[0].name == "look" and written.calls[0].arguments == '{"at": "x"}'


def test_tools_that_change_within_a_session_change_the_prompt(chatting):
    chat = chatting(saying(lambda prompt: f"{len(prompt)} characters"))
    first, session = asyncio.run(chat.ask([SYSTEM, said("go")]))
    then = [SYSTEM, said("go"), first.said, said("on")]
    second, same = asyncio.run(chat.ask(then, tools=(LOOK,)))
    assert session == same and second.text == chat.alone(then, tools=(LOOK,)).text


class Joining(MockVocabulary):
    """A vocabulary with a token for `ab` that its tokenizer never spells, as models say what tokenizers would not."""

    def __len__(self) -> int:
        return 259

    def decode(self, ids: Sequence[int]) -> str:
        pieces = (b"ab" if i == 258 else bytes([i]) if i < 256 else self.CONTROL[i - 256].encode() for i in ids)
        return b"".join(pieces).decode("utf-8", "replace")

    def is_control(self, token: int) -> bool:
        return 256 <= token < 258


def test_what_was_sampled_stays_as_it_was_sampled():
    def think(ids: Sequence[int]) -> Logits:
        answered = len(ids) - max(n for n, token in enumerate(ids) if token == 256)
        return 20 * (np.arange(259) == (257 if answered > 15 else 258)).astype(np.float32)

    engine, vocabulary = SlottedEngine(think), Joining()
    model = LocalModel(engine, vocabulary, learn_template(vocabulary, "chatml"), "mock", slots=2, room=4096)  # type: ignore[arg-type]
    chat = Chat.__new__(Chat)
    chat.engine, chat.model, chat.sessions = engine, model, Sessions()
    try:
        messages = [SYSTEM]
        for turn in range(4):
            messages.append(said(f"turn {turn}"))
            written, _ = asyncio.run(chat.ask(messages))
            assert written.text == "ab" * written.usage.generated or written.text.startswith("ab")
            messages.append(written.said)
        [sequence] = model._slots._kept.values()
        assert sequence.ids.count(258) > 8 and engine.evaluated == sequence.evaluated
    finally:
        model.close()


def test_memory_stands_in_the_system_turn(chatting):
    chat, past = chatting(saying(count)), [trajectory(1), trajectory(2)]
    asyncio.run(chat.ask([SYSTEM, said("go")], memory=past))
    [sequence] = chat.model._slots._kept.values()
    system = VOCABULARY.decode(sequence.ids).split("<|im_end|>")[0]
    assert system.startswith("<|im_start|>system\nYou help.\n\nPast episodes that")
    assert all(step.action in system for one in past for step in one.steps)


def test_a_conversation_that_does_not_fit_is_refused(chatting):
    chat = chatting(saying(count), room=256)
    with pytest.raises(TooLong):
        asyncio.run(chat.ask([said("a" * 300)]))
    assert asyncio.run(chat.ask([said("a")]))[0].text


def test_an_answer_never_outgrows_the_context(chatting):
    chat = chatting(saying(lambda _: "word " * 500), room=256, longest=2000)
    written, _ = asyncio.run(chat.ask([said("a" * 100)]))
    assert written.finish == "length" and len(whole(next(iter(chat.model._slots._kept.values())))) <= 256


def test_fifty_clients_of_a_server_and_nothing_is_mixed_up(make_service):
    """Over the socket, with fewer slots than clients: every answer is what a model alone says to that conversation."""
    import httpx

    engine = SlottedEngine(saying(lambda prompt: f"{len(prompt)} {sum(prompt.encode()) % 9973}"), 4, 2048)
    model = LocalModel(engine, VOCABULARY, TEMPLATE, "mock", slots=4, room=2048)  # type: ignore[arg-type]
    rendered = Renderer(VOCABULARY, TEMPLATE, "")

    def expected(messages: Sequence[dict[str, str]]) -> str:
        turns = [Message("system", messages[0]["content"], "instructions")]
        turns += [Message(one["role"], one["content"], "turn") for one in messages[1:]]  # type: ignore[arg-type]
        prompt = VOCABULARY.decode(rendered.render(turns).ids)
        return f"{len(prompt)} {sum(prompt.encode()) % 9973}"

    async def client(http: httpx.AsyncClient, number: int) -> str:
        messages, session = [{"role": "system", "content": "All begin alike."}], ""
        for turn in range(3):
            messages.append({"role": "user", "content": "hello" if not turn else f"{number} says {turn}"})
            told = (await http.post("/v1/chat/completions", json={"messages": messages})).json()
            session, text = told["edgexp"]["session"], told["choices"][0]["message"]["content"]
            assert text == expected(messages)
            messages.append({"role": "assistant", "content": text})
        return session

    async def all_of_them(url: str) -> list[str]:
        async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as http:
            return await asyncio.gather(*(client(http, number) for number in range(50)))

    with serving(make_service(model, k=0)) as server:
        assert len(set(asyncio.run(all_of_them(server.url)))) == 50
        assert engine.most == 4


@pytest.mark.parametrize("kind", [EdgexpError, ValueError, MemoryError])
def test_what_fails_for_one_fails_for_nobody_else(chatting, kind):
    def think(ids: Sequence[int]) -> Logits:
        if b"poison" in bytes(i for i in ids if i < 256):
            raise kind("a poisoned prompt")
        return saying(count)(ids)

    chat = chatting(think, 4)

    async def all_of_them() -> list[object]:
        texts = ["a", "poison", "b", "poison", "c"]
        return list(await asyncio.gather(*(chat.ask([said(text)]) for text in texts), return_exceptions=True))

    found = asyncio.run(all_of_them())
    assert [isinstance(one, kind) for one in found] == [False, True, False, True, False]
    assert asyncio.run(chat.ask([said("after")]))[0].text == chat.alone([said("after")]).text


def test_a_seed_gives_the_same_answer_again(chatting):
    chat = chatting(lambda ids: np.sin(np.arange(258) * len(ids)).astype(np.float32))
    drawn = [asyncio.run(chat.ask([said("x")], sampling=Sampling(1.5, share, seed)))[0].text
             for share in (1.0, 0.5) for seed in (1, 1, 2)]  # fmt: skip
    assert drawn[0] == drawn[1] != drawn[2] and drawn[3] == drawn[4] != drawn[5] and drawn[0] != drawn[3]


def test_closing_tells_those_who_wait():
    chat = Chat(saying(lambda _: "word " * 5000), 1, 100_000, 100_000)

    async def ask() -> None:
        threading.Timer(0.2, chat.model.close).start()
        with pytest.raises(EdgexpError, match="stopping"):
            await chat.ask([said("hello")])

    asyncio.run(ask())
