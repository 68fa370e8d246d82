"""What an episode asks of other processes: answers, errors, limits of time; and that nobody waits for who never answers."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mock_engine import MockEngine, make_policy
from toys import Counting

from edgexp.environments.base import Outcome, Start
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.episode import Acted, Asking, Began, CannotGoOn, Ended, EnvironmentFailed, Playing, PolicyFailed, ask, elsewhere, play
from edgexp.play.rollout import Finished, run, run_many
from edgexp.trajectory import Decision, Played, Provenance, Task

TASK = Counting().tasks("train")[0]


class Asks:
    """A policy that takes whatever `answer` gives for the observation, asked on a thread."""

    def __init__(self, answer: Callable[[str], Any], limit: float | None = None):
        self.answer, self.limit, self.threads = answer, limit, list[int]()

    def begin(self, episode: Playing) -> None:
        self.threads.clear()

    def decide(self, episode: Playing) -> Asking[Decision | None]:
        answer = yield from elsewhere(partial(self._asked, episode.observation), self.limit, "the oracle")
        return None if answer is None else Decision(answer)

    def provenance(self, environment: Any) -> Provenance:
        return Provenance("agent", environment.version, created="then")

    def _asked(self, observation: str) -> Any:
        self.threads.append(threading.get_ident())
        return self.answer(observation)


def raising(error: BaseException) -> Callable[..., Any]:
    def work(*_: object) -> Any:
        raise error

    return work


def answered(asking: Asking[Any], answer: Any) -> Any:
    """What a generator returns when its first question is answered so; an error is thrown into it."""
    next(asking)
    try:
        asking.throw(answer) if isinstance(answer, BaseException) else asking.send(answer)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it asked again")


def test_the_answer_of_another_process_is_the_answer() -> None:
    work = partial(int, "7")
    asking = elsewhere(work, 3.0)
    request = next(asking)
    assert (request.work, request.limit) == (work, 3.0)
    for answer in (7, None, "", [1]):
        assert answered(elsewhere(work), answer) == answer


@pytest.mark.parametrize(("error", "words"), [
    (ValueError("no number"), "it: ValueError: no number"),
    (EdgexpError("the server answered 500"), "it: the server answered 500"),
    (EdgexpError("one\n  two\r\nthree\u2028four"), "it: one two three four"),
    (KeyError("choices"), "it: KeyError: 'choices'"),
    (TimeoutError(), "it: no answer within 2.5 seconds"),
    (TimeoutError("timed out"), "it: no answer within 2.5 seconds"),
    (OSError(111, "Connection refused"), "it: ConnectionRefusedError: [Errno 111] Connection refused"),
])
def test_an_error_of_another_process_is_one_line(error: Exception, words: str) -> None:
    with pytest.raises(PolicyFailed) as failed:
        answered(elsewhere(int, 2.5, "it"), error)
    assert str(failed.value) == words and failed.value.__cause__ is error


def test_a_time_out_of_its_own_says_what_it_says() -> None:
    with pytest.raises(PolicyFailed, match=r"^the policy: TimeoutError: read timed out$"):
        answered(elsewhere(int), TimeoutError("read timed out"))


def test_what_cannot_go_on_and_what_interrupts_is_passed_on() -> None:
    for passed in (CannotGoOn("context_full"), KeyboardInterrupt(), GeneratorExit()):
        with pytest.raises(type(passed)) as raised:
            answered(elsewhere(int), passed)
        assert raised.value is passed


def test_a_local_environment_is_asked_at_once_and_a_remote_one_elsewhere() -> None:
    world = Counting()
    with pytest.raises(StopIteration) as stop:
        next(ask(world, lambda: 5))
    assert stop.value.value == 5
    world.remote = True  # type: ignore[attr-defined]
    request = next(ask(world, partial(int, "6")))
    assert request.work() == 6 and request.limit is None
    assert answered(ask(world, int), 7) == 7


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize(("error", "words"), [
    (EdgexpError("the server has died"), "the server has died"),
    (RuntimeError("a\nb"), "RuntimeError: a b"),
    (TimeoutError("30 s"), "TimeoutError: 30 s"),
])
def test_whatever_an_environment_raises_has_failed_it(remote: bool, error: Exception, words: str) -> None:
    world = Counting()
    world.remote = remote  # type: ignore[attr-defined]
    asking = ask(world, raising(error))
    with pytest.raises(EnvironmentFailed) as failed:
        asking.throw(error) if remote and next(asking) else next(asking)
    assert str(failed.value) == words and failed.value.__cause__ is error


def test_a_policy_is_asked_on_another_thread() -> None:
    policy = Asks(lambda _: "add one")
    played = run(play(Counting(), TASK, policy))
    assert played.trajectory.end == "done" and len(policy.threads) == 3
    assert threading.get_ident() not in policy.threads


@pytest.mark.parametrize(("answer", "end", "steps"), [
    (lambda seen: "add one" if seen == "The count is 0." else None, "gave_up", 1),
    (raising(CannotGoOn("context_full")), "context_full", 0),
    (raising(ValueError("no idea")), "error: the oracle: ValueError: no idea", 0),
    (raising(UsageError("no such model")), "error: the oracle: no such model", 0),
])
def test_an_episode_ends_as_its_policy_does(answer: Callable[[str], Any], end: str, steps: int) -> None:
    events: list[Any] = []
    played = run(play(Counting(), TASK, Asks(answer), watch=events.append))
    assert (played.trajectory.end, len(played.trajectory.steps), len(played.decisions)) == (end, steps, steps)
    assert [type(event) for event in events] == [Began, *[Acted] * steps, Ended] and events[-1].played is played
    assert not played.trajectory.success


def test_a_request_that_is_wrong_in_itself_is_no_episode() -> None:
    """The policy says so before it asks anybody: whoever plays is told, and the others are played."""

    class Mute(Counting):
        admissible = None  # type: ignore[assignment]

        def __getattribute__(self, name: str) -> Any:
            if name == "admissible":
                raise AttributeError(name)
            return super().__getattribute__(name)

    worlds, engine = [Mute(), Counting()], MockEngine()
    starts = [lambda _, w=world: play(w, TASK, make_policy(w), max_steps=2) for world in worlds]
    finished = {one.number: one for one in run_many(starts, 2, [engine])}  # type: ignore[arg-type]
    assert isinstance(finished[0].error, UsageError) and "does not list valid actions" in str(finished[0].error)
    assert finished[0].played is None and finished[1].played is not None
    with pytest.raises(UsageError, match="--actions free"):
        run(play(Mute(), TASK, make_policy(Mute())), engine)


class Unborn(Counting):
    """Cannot begin."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def reset(self, task: Task) -> Start:
        raise self.error


@pytest.mark.parametrize("remote", [False, True])
def test_an_error_of_ours_at_the_beginning_stays_what_it_is(remote: bool) -> None:
    ours = UsageError("no such level")
    for error, words in ((ours, "no such level"), (OSError("gone"), f"{TASK.id}: counting cannot begin it: OSError: gone")):
        world = Unborn(error)
        world.remote = remote  # type: ignore[attr-defined]
        with pytest.raises(EdgexpError, match=words) as raised:
            run(play(world, TASK, Asks(lambda _: None)))
        assert (raised.value is ours) == (error is ours)


def never() -> tuple[Callable[[str], Any], threading.Event]:
    """An answer that does not come until the test is over."""
    over = threading.Event()
    return lambda _: over.wait(60), over


def starts_of(policies: list[Any]) -> list[Any]:
    return [lambda _, p=policy: play(Counting(), TASK, p) for policy in policies]


@pytest.mark.parametrize("places", [1, 2, 4])
def test_who_is_not_answered_in_time_ends_alone(places: int) -> None:
    answer, over = never()
    policies = [Asks(answer, 0.2), Asks(lambda _: "add one"), Asks(answer, 0.1), Asks(lambda _: "add one", 60.0)]
    ends = {one.number: one.trajectory and one.trajectory.end for one in run_many(starts_of(policies), places)}
    assert not over.is_set(), "nobody waited for it"
    over.set()
    late = "error: the oracle: no answer within {} seconds"
    assert ends == {0: late.format(0.2), 1: "done", 2: late.format(0.1), 3: "done"}


def test_others_are_told_of_while_one_is_waited_for() -> None:
    """The first has a minute; it answers only after the test saw the last of the others."""
    told, others = threading.Event(), list[Finished]()
    policies = [Asks(lambda _: told.wait(60) and None, 120.0), *(Asks(lambda _: "add one", 60.0) for _ in range(5))]
    for finished in run_many(starts_of(policies), 2):
        others.append(finished)
        if len(others) == 5:
            told.set()
    assert [one.number for one in others] == [1, 2, 3, 4, 5, 0]


def test_a_limit_runs_while_an_engine_works() -> None:
    """Beside one engine nothing waits: the time that has passed is seen between its rounds."""
    answer, over = never()
    world, engine = Counting(50), MockEngine()
    model = play(world, TASK, make_policy(world, actions="free", action_tokens=4), max_steps=40)
    starts = [*starts_of([Asks(answer, 0.01)]), lambda _: model]
    ends = {one.number: one.trajectory and one.trajectory.end for one in run_many(starts, 2, [engine])}
    over.set()
    assert ends == {0: "error: the oracle: no answer within 0.01 seconds", 1: "max_steps"}


def test_an_answer_that_comes_too_late_goes_nowhere() -> None:
    """The next episode at the place is not given the answer to the question of the last one."""
    gate, late = threading.Event(), list[str]()

    def slow(_: str) -> str:
        gate.wait(60)
        late.append("came")
        return "nonsense"

    def quick(_: str) -> str:
        gate.set()
        while not late:
            pass
        return "add one"

    ends = [one.played for one in run_many(starts_of([Asks(slow, 0.05), Asks(quick)]), 1)]
    assert [step.action for one in ends if isinstance(one, Played) for step in one.trajectory.steps] == ["add one"] * 3


def test_an_interruption_inside_an_answer_ends_the_run() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(play(Counting(), TASK, Asks(raising(KeyboardInterrupt()))))


def test_a_remote_environment_that_steps_into_an_error_has_a_record(counting: Counting) -> None:
    class Remote(Counting):
        remote = True

        def step(self, action: str) -> Outcome:
            if self.count == 2:
                raise ConnectionResetError(104, "reset by peer")
            return super().step(action)

    played = run(play(Remote(), TASK, Asks(lambda _: "add one")))
    assert played.trajectory.end == "error: ConnectionResetError: [Errno 104] reset by peer"
    assert len(played.trajectory.steps) == len(played.decisions) == 2, "the action that led nowhere is no step"


SLEEPING = """
import time
from test_elsewhere import Asks, TASK, starts_of
from edgexp.play.rollout import run_many
policies = [Asks(lambda _: time.sleep(100), 0.2), Asks(lambda _: "add one")]
print(sorted(one.trajectory.end for one in run_many(starts_of(policies), 2)), flush=True)
"""

HANGING = """
import time
from test_elsewhere import Asks, TASK, starts_of
from edgexp.play.rollout import run_many
def wait(_):
    print("asked", flush=True)
    time.sleep(100)
list(run_many(starts_of([Asks(wait)]), 2))
"""


def child(code: str) -> "subprocess.Popen[str]":
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


@pytest.mark.slow
def test_a_process_ends_although_a_server_holds_one_of_its_threads() -> None:
    process = child(SLEEPING)
    try:
        out, err = process.communicate(timeout=50)
    finally:
        process.kill()
    assert out.strip() == "['done', 'error: the oracle: no answer within 0.2 seconds']", err
    assert process.returncode == 0


@pytest.mark.slow
def test_ctrl_c_ends_a_process_that_waits_for_a_server() -> None:
    process = child(HANGING)
    assert process.stdout is not None and process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=50)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT or process.returncode == 130
