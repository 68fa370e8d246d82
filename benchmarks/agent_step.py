"""What an action costs: our engine against llama-cpp-python's `Llama.create_chat_completion`, and against what cannot be avoided.

All see the same expert episodes with the same memory in the prompt: at every step each decides on its own, its answer is thrown away,
and the expert's action goes on. What differs is only the way to the answer. The floor is made of rates measured in the same run: the
tokens that are new at a step, as one batch at that depth, and one single-token evaluation for every further decision.
"""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import click
from rich.console import Console
from rich.table import Table

from edgexp.engine import decide, native
from edgexp.engine.decide import Deciding
from edgexp.engine.engine import Engine, TokenSequence
from edgexp.environments.registry import make
from edgexp.models import BASE_POLICY, resolve
from edgexp.play.collecting import expert_episode, spread
from edgexp.play.rollout import run
from edgexp.play.session import Settings, open_session
from edgexp.prompt.messages import first_turn, memory_text
from edgexp.prompt.render import Renderer
from edgexp.trajectory import Decision, Trajectory

LIMIT = 24
"""Tokens an answer may take in free mode, for all."""


class Timed:
    """Seconds of every decision, and how many tokens were decided."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.decided: list[int] = []

    @contextmanager
    def step(self) -> Iterator[None]:
        started = perf_counter()
        yield
        self.seconds.append(perf_counter() - started)


def answer(engine: Engine, deciding: Deciding) -> Decision:
    """Drive one decision."""
    try:
        request = next(deciding)
        while True:
            assert isinstance(request, TokenSequence)
            engine.evaluate([request])
            request = deciding.send(None)
    except StopIteration as stop:
        decision: Decision = stop.value
        return decision


def ours(engine: Engine, renderer: Renderer, played: Trajectory, memory: list[Trajectory], valid: list[list[str]], mode: str) -> Timed:
    """Our engine through one episode. The first step (the whole prompt) is not counted: all evaluate the same prompt once."""
    timed, sequence = Timed(), engine.new()
    sequence.append(renderer.opening(played.goal, played.observation, memory).ids)
    for number, step in enumerate(played.steps):
        mark = len(sequence.ids)
        if number == 0:
            engine.evaluate([sequence])
        with timed.step():
            if number:
                sequence.append(renderer.reply(played.steps[number - 1].observation))
                mark = len(sequence.ids)
            if mode == "free":
                decision = answer(engine, decide.free(sequence, renderer.tokenizer, renderer.template.end, limit=LIMIT))
            else:
                actions = {action: renderer.action(action) for action in valid[number]}
                decision = answer(engine, decide.admissible(sequence, actions))
        timed.decided.append(decision.generated)
        sequence.replace(renderer.action(step.action), mark)
    engine.free(sequence)
    return timed


def rival(llama: object, renderer: Renderer, played: Trajectory, memory: list[Trajectory], valid: list[list[str]] | None) -> Timed:
    """`create_chat_completion` with the same messages; it keeps the longest common prefix of its last prompt by itself.

    With `valid`, a grammar of the valid actions holds it to them, which is how its users get an action that is always valid.
    """
    from llama_cpp import Llama, LlamaGrammar

    assert isinstance(llama, Llama)
    timed = Timed()
    system = renderer.instructions + "\n\nPast episodes that succeeded:" + "".join(memory_text(t) for t in reversed(memory))
    messages = [{"role": "system", "content": system}, {"role": "user", "content": first_turn(played.goal, played.observation)}]
    llama.create_chat_completion(messages, max_tokens=1, temperature=0.0)
    for number, step in enumerate(played.steps):
        with timed.step():
            grammar = LlamaGrammar.from_string("root ::= " + " | ".join(f'"{a}"' for a in valid[number]), verbose=False) if valid else None
            reply = llama.create_chat_completion(messages, max_tokens=LIMIT, temperature=0.0, stop=["\n"], grammar=grammar)
        timed.decided.append(reply["usage"]["completion_tokens"])
        messages += [{"role": "assistant", "content": step.action}, {"role": "user", "content": step.observation}]
    return timed


def floor(engine: Engine, renderer: Renderer, played: Trajectory, memory: list[Trajectory], decided: list[int]) -> list[float]:
    """Seconds that each step's evaluations take when nothing else is done: one batch of what is new, then single tokens."""
    sequence, seconds = engine.new(), []
    sequence.append(renderer.opening(played.goal, played.observation, memory).ids)
    engine.evaluate([sequence])
    for number, step in enumerate(played.steps):
        spent = 0.0
        if number:
            sequence.append(renderer.reply(played.steps[number - 1].observation))
            spent += _evaluate(engine, sequence)
        mark = len(sequence.ids)
        for token in range(max(0, decided[number] - 1)):
            sequence.append([500 + token])
            spent += _evaluate(engine, sequence)
        seconds.append(spent)
        sequence.replace(renderer.action(step.action), mark)
    engine.free(sequence)
    return seconds


def _evaluate(engine: Engine, sequence: TokenSequence) -> float:
    started = perf_counter()
    engine.evaluate([sequence])
    return perf_counter() - started


def valid_actions(name: str, played: Trajectory) -> list[list[str]]:
    """The valid actions before every step of an episode."""
    world = make(name)
    world.reset(played.task)
    valid = []
    for step in played.steps:
        valid.append(world.admissible())  # type: ignore[attr-defined]
        world.step(step.action)
    return valid


@click.command()
@click.option("--episodes", default=4, show_default=True)
@click.option("--environment", default="household", show_default=True)
def main(episodes: int, environment: str) -> None:
    """Milliseconds an action, and ratios."""
    with open_session(Settings(environment=environment, memory="off")) as session:
        from llama_cpp import Llama

        assert session.fleet is not None
        world, renderer = session.environment, session.renderer(environment)
        [engine], tuning = session.fleet.engines, session.fleet.model.tuning
        chosen = [run(expert_episode(world, task)).trajectory for task in spread(world.tasks("dev"), episodes)]
        memory = [run(expert_episode(world, task)).trajectory for task in spread(world.tasks("train"), 2)]
        native.load()
        threads = {"n_threads": tuning.threads, "n_threads_batch": tuning.threads_batch}
        llama = Llama(str(resolve(BASE_POLICY).path), n_ctx=8192, verbose=False, **threads)
        rows: dict[str, list[tuple[float, int, float]]] = {}
        for played in chosen:
            valid = valid_actions(environment, played)
            for mode, held in (("free", None), ("admissible", valid)):
                theirs = rival(llama, renderer, played, memory, held)
                mine = ours(engine, renderer, played, memory, valid, mode)
                least = floor(engine, renderer, played, memory, mine.decided)
                rows.setdefault(f"rival {mode}", []).extend(zip(theirs.seconds[1:], theirs.decided[1:], theirs.seconds[1:], strict=True))
                rows.setdefault(mode, []).extend(zip(mine.seconds[1:], mine.decided[1:], least[1:], strict=True))
    _show(rows)


def _show(rows: dict[str, list[tuple[float, int, float]]]) -> None:
    mean = {name: [statistics.fmean(column) for column in zip(*values, strict=True)] for name, values in rows.items()}
    table = Table("an action by", "ms", "tokens decided", "ratio", "to its floor", box=None, padding=(0, 2, 0, 0))
    for mode, name in (("free", "create_chat_completion"), ("admissible", "create_chat_completion, grammar of the valid actions")):
        seconds, decided, _ = mean[f"rival {mode}"]
        table.add_row(name, f"{seconds * 1000:.0f}", f"{decided:.1f}", "1.00x", "")
        mine, decided, least = mean[mode]
        table.add_row(f"edgexp, {mode}", f"{mine * 1000:.0f}", f"{decided:.1f}", f"{seconds / mine:.2f}x faster", f"{mine / least:.2f}x")
    across = mean["rival free"][0] / mean["admissible"][0]
    Console(width=120).print(table)
    Console().print(f"edgexp, admissible, against create_chat_completion without a grammar: {across:.2f}x faster")


if __name__ == "__main__":
    main()
