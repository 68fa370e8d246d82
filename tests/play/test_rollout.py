"""Many episodes over one engine: the same episodes as one by one, for no more tokens, and none of them harms another."""

import hashlib
import threading
import time

import numpy as np
import pytest
from toys import Counting

from edgexp.engine.decide import Tree
from edgexp.engine.engine import ContextFull, Engine, TokenSequence
from edgexp.environments.base import Outcome
from edgexp.errors import EdgexpError
from edgexp.play.acting import Acting
from edgexp.play.episode import Ended, play
from edgexp.play.local import LocalPolicy
from edgexp.play.rollout import run, run_many
from edgexp.play.scripted import Scripted
from edgexp.prompt.render import Renderer
from edgexp.trajectory import Decision, Provenance

WORDS = ("add one", "take one", "wait")


class ToyEngine:
    """Answers with scores that hang on a sequence's ids alone, and holds at most `room` ids of all sequences."""

    def __init__(self, room=10**9):
        self.room, self.evaluated, self.batches, self.held, self.most = room, 0, [], {}, 0

    def evaluate(self, sequences):
        pending = [s for s in sequences if s.logits is None]
        held = {**self.held, **{id(s): len(s.ids) for s in pending}}
        if sum(held.values()) > self.room:
            raise ContextFull("the toy is full")
        if pending:
            self.batches.append(len(pending))
        for s in pending:
            self.evaluated += len(s.ids) - s.evaluated
            s.evaluated, s.logits = len(s.ids), scores(s.ids)
        self.held, self.most = held, max(self.most, sum(held.values()))

    def evaluate_tree(self, sequence, parents, tokens):
        self.evaluate([sequence])
        self.evaluated += len(tokens)
        return np.stack([scores([*sequence.ids, parents[n], t]) for n, t in enumerate(tokens)])


def scores(ids):
    digest = hashlib.sha256(str(ids).encode()).digest()
    return np.frombuffer(digest, np.uint8)[:8].astype(np.float32)


class ToyPolicy:
    """Writes every text as its bytes and takes the word that scores highest after all that was written; gives up after `patience`."""

    def __init__(self, engine, tree=False, patience=99):
        self.tree, self.patience, self.engine = tree, patience, engine

    def begin(self, episode):
        self.sequence = TokenSequence(0, list(f"{episode.task.id} {episode.start.goal}".encode()))

    def decide(self, episode):
        if len(episode.steps) >= self.patience:
            return None
        if episode.steps:
            self.sequence.append(episode.observation.encode())
        if self.tree:
            after = yield Tree(self.sequence, [-1, -1, -1], [1, 2, 3])
            word = WORDS[int(np.argmax(after.sum(1)))]
        else:
            yield self.sequence
            word = WORDS[int(np.argmax(self.sequence.logits[:3]))]
        self.sequence.append(word.encode())
        return Decision(word, 1)

    def provenance(self, environment):
        return Provenance("agent", created="then")


def toy_episodes(engine, count, tree=False, environments=None):
    """Starts of `count` episodes of toy policies of unequal patience, each place with an environment of its own."""
    worlds = environments or {}

    def start(number):
        def begin(place):
            world = worlds.setdefault(place, Counting(2 + number % 3))
            world.target = 2 + number % 3
            task = world.tasks("train")[number % 4]
            policy = ToyPolicy(engine, tree, patience=3 + number % 5)

            def watch(event):
                if isinstance(event, Ended):
                    engine.held.pop(id(policy.sequence), None)

            return play(world, task, policy, watch=watch)

        return begin

    return [start(number) for number in range(count)]


def played(places, count=11, room=10**9, tree=False):
    engine = ToyEngine(room)
    finished = list(run_many(toy_episodes(engine, count, tree), places, [engine]))
    assert sorted(f.number for f in finished) == list(range(count))
    return {f.number: f.trajectory for f in finished}, engine


@pytest.mark.parametrize("tree", [False, True])
@pytest.mark.parametrize("places", [2, 5, 11, 30])
def test_episodes_are_those_of_one_by_one_and_cost_the_same_tokens(places, tree):
    alone, engine_alone = played(1, tree=tree)
    together, engine = played(places, tree=tree)
    assert together == alone
    assert engine.evaluated == engine_alone.evaluated
    assert max(engine_alone.batches) == 1 and max(engine.batches) == min(places, 11)
    assert len(engine.batches) < len(engine_alone.batches)


def test_a_free_place_takes_the_next_episode_at_once():
    """With episodes of 3 to 7 decisions no batch is smaller than it has to be until nothing is left to start."""
    _, engine = played(4, count=20)
    full = [n for n, size in enumerate(engine.batches) if size == 4]
    assert full == list(range(len(full))), "once a batch is smaller, none is full again"


def test_who_finds_no_room_waits_for_the_others():
    """A little less room than three episodes come to need: one of them waits, and all are as they would be alone."""
    alone, _ = played(1, count=6)
    _, free = played(3, count=6)
    together, engine = played(3, count=6, room=free.most - 1)
    assert together == alone
    assert len(engine.batches) > len(free.batches)


def test_when_nobody_can_go_on_one_gives_its_room_up():
    together, _ = played(3, count=6, room=170)
    ends = [t.end for t in together.values()]
    assert "context_full" in ends and set(ends) > {"context_full"}


class Rationed(ToyEngine):
    """Has room for so many sequences in a batch."""

    def evaluate(self, sequences):
        if len(sequences) > 2:
            raise ContextFull("too many at once")
        super().evaluate(sequences)


def test_smaller_batches_come_before_any_episode_fails():
    alone, _ = played(1, count=8)
    engine = Rationed()
    together = {f.number: f.trajectory for f in run_many(toy_episodes(engine, 8), 7, [engine])}
    assert together == alone and max(engine.batches) == 2


class Full(ToyEngine):
    """Has no room for sequences above a length."""

    def evaluate(self, sequences):
        if any(len(s.ids) > 120 for s in sequences):
            raise ContextFull("too long")
        super().evaluate(sequences)


def test_an_episode_without_room_ends_alone():
    def start(number):
        long = Counting(9, observation="The count is {}. " + "Blah. " * (number == 1) * 20)
        return lambda place: play(long, long.tasks("train")[0], ToyPolicy(engine, patience=4))

    engine = Full()
    ends = {f.number: f.trajectory.end for f in run_many([start(n) for n in range(3)], 3, [engine])}
    assert ends == {0: "gave_up", 1: "context_full", 2: "gave_up"}


def test_an_environment_that_dies_does_not_touch_its_neighbours():
    class Dying(Counting):
        def step(self, action: str) -> Outcome:
            raise EdgexpError("the server has died")

    class Unborn(Counting):
        def reset(self, task):
            raise EdgexpError("the game file is damaged")

    engine = ToyEngine()
    worlds = [Counting(), Dying(), Unborn(), Counting()]
    starts = [lambda place, w=w: play(w, w.tasks("train")[0], ToyPolicy(engine, patience=4)) for w in worlds]
    alone = run(play(Counting(), Counting().tasks("train")[0], ToyPolicy(ToyEngine(), patience=4)), ToyEngine()).trajectory
    finished = {f.number: f for f in run_many(starts, 2, [engine])}
    assert finished[0].trajectory == finished[3].trajectory == alone
    assert finished[1].trajectory.end == "error: the server has died"
    assert finished[2].trajectory is None and str(finished[2].error) == "the game file is damaged"


def test_scripted_episodes_need_no_engine():
    starts = [lambda place, n=n: play(Counting(), Counting().tasks("train")[0], Scripted(["add one"] * n)) for n in range(5)]
    assert [len(f.trajectory.steps) for f in run_many(starts, 3)] == [0, 1, 2, 3, 3]
    with pytest.raises(EdgexpError, match="without one"):
        list(run_many(toy_episodes(ToyEngine(), 1), 1))
    assert list(run_many([], 3)) == []


@pytest.mark.parametrize(("mode", "apart"), [("admissible", True), ("admissible", False), ("free", True), ("scored", False)])
def test_a_real_models_episodes_share_their_prefix_and_their_batches(model, template, mode, apart):
    """With the default model: as many tokens as one by one, less the instructions that are evaluated once."""
    with Engine(model, context=12 * 1024 if apart else 4096, slots=12 if apart else 40, own_cells=apart) as wide:
        play_both_ways(wide, model, template, mode)


def play_both_ways(wide, model, template, mode):
    goals = [f"count to {n}." for n in range(5)]
    world = Counting(4)
    renderer = Renderer(model.vocabulary, template, world.instructions())

    def episodes(sequence_of):
        def start(number):
            own = Counting(4, goal=goals[number])
            return lambda place: play(own, own.tasks("train")[0], policy(sequence_of(place)), max_steps=3)

        return [start(n) for n in range(len(goals))]

    def policy(sequence):
        return LocalPolicy(sequence, renderer, None, Acting(actions=mode, repeats=0), context=1024, reserve=256, action_tokens=6)

    prefix = wide.new()
    prefix.append([*renderer.template.before, *renderer.tokenizer.encode(renderer.instructions)])
    instructions, fresh, forks = len(prefix.ids), [], []

    def new(_):
        fresh.append(wide.new())
        return fresh[-1]

    def fork(_):
        forks.append(wide.fork(prefix))
        return forks[-1]

    before = wide.counters.evaluated, wide.counters.calls
    alone = {f.number: f.trajectory for f in run_many(episodes(new), 1, [wide])}
    middle = wide.counters.evaluated, wide.counters.calls
    wide.evaluate([prefix])
    together = {f.number: f.trajectory for f in run_many(episodes(fork), 5, [wide])}
    after = wide.counters.evaluated, wide.counters.calls
    for sequence in (*fresh, *forks, prefix):
        wide.free(sequence)
    assert [[s.action for s in together[n].steps] for n in range(5)] == [[s.action for s in alone[n].steps] for n in range(5)]
    assert (middle[0] - before[0]) - (after[0] - middle[0]) == (len(goals) - 1) * instructions
    assert after[1] - middle[1] < middle[1] - before[1]


class Remote(Counting):
    """Counting in another process: its answers take as long as the test wants."""

    remote = True

    def __init__(self, before_step=lambda: None):
        super().__init__()
        self.before_step = before_step

    def step(self, action):
        self.before_step()
        return super().step(action)


@pytest.mark.parametrize("tree", [False, True])
def test_episodes_in_other_processes_are_the_same(tree):
    alone, _ = played(1, tree=tree)
    engine = ToyEngine()
    finished = list(run_many(toy_episodes(engine, 11, tree, {place: Remote() for place in range(4)}), 4, [engine]))
    assert {f.number: f.trajectory for f in finished} == alone


def test_an_environment_that_hangs_holds_up_its_own_episode_only():
    """The first place's server answers only when all other episodes are over; waiting for it would wait for ever."""
    engine, others = ToyEngine(), threading.Event()
    environments = {0: Remote(lambda: others.wait(60)), 1: Remote(), 2: Counting()}
    order = []
    for finished in run_many(toy_episodes(engine, 8, environments=environments), 3, [engine]):
        order.append(finished.number)
        if len(order) == 7:
            others.set()
    assert order[-1] == 0 and sorted(order) == list(range(8))


def test_a_server_that_dies_ends_its_own_episode_only():
    def die():
        raise OSError("the pipe is gone")

    engine = ToyEngine()
    environments = {0: Remote(die), 1: Remote()}
    ends = [f.trajectory.end for f in run_many(toy_episodes(engine, 6, environments=environments), 2, [engine])]
    assert "error: OSError: the pipe is gone" in ends and set(ends) > {"error: OSError: the pipe is gone"}


class Shared(ToyEngine):
    """Says when two threads are in it at once, and waits until another engine is busy as well, where it is told of one."""

    def __init__(self, meet=None):
        super().__init__()
        self.meet, self.inside, self.clashes, self.met = meet, False, 0, 0

    def evaluate(self, sequences):
        self.clashes += self.inside
        self.inside = True
        if self.meet:
            try:
                self.meet.wait(20)
                self.met += 1
            except threading.BrokenBarrierError:
                self.meet = None  # the other one has nothing left to do
        super().evaluate(sequences)
        self.inside = False


def shared_out(engines, count):
    """Starts of toy episodes, each of the engine that answers its place."""
    starts = [toy_episodes(engine, count) for engine in engines]
    return [lambda place, n=n: starts[place % len(engines)][n](place) for n in range(count)]


@pytest.mark.parametrize("places", [2, 3, 5, 8])
def test_engines_side_by_side_play_the_same_episodes(places):
    alone, engine_alone = played(1, count=20)
    engines = [Shared(), Shared()]
    together = {f.number: f.trajectory for f in run_many(shared_out(engines, 20), places, engines)}
    assert together == alone
    assert sum(engine.evaluated for engine in engines) == engine_alone.evaluated
    assert all(engine.evaluated and not engine.clashes for engine in engines), "both worked, neither was entered twice at once"


def test_engines_work_at_the_same_time():
    """Each evaluates only when the other one does too, for as long as both have something to do."""
    meet = threading.Barrier(2, timeout=20)
    engines = [Shared(meet), Shared(meet)]
    starts = [lambda place: play(Counting(9), Counting().tasks("train")[0], ToyPolicy(engines[place % 2], patience=4))] * 2
    assert [f.trajectory.end for f in run_many(starts, 2, engines)] == ["gave_up", "gave_up"]
    assert [engine.met for engine in engines] == [4, 4]


def test_an_engine_that_fails_ends_the_run_after_the_others_are_out_of_theirs():
    """Whoever called closes the engines next: none may be in use then."""
    slow, entered = Shared(), threading.Event()

    class Failing(ToyEngine):
        def evaluate(self, sequences):
            entered.wait(20)
            raise EdgexpError("code -3")

    plain = ToyEngine.evaluate

    def linger(sequences):
        slow.inside = True
        entered.set()
        time.sleep(0.2)
        plain(slow, sequences)
        slow.inside = False

    slow.evaluate = linger
    engines = [slow, Failing()]
    starts = [lambda place: play(Counting(9), Counting().tasks("train")[0], ToyPolicy(engines[place], patience=4))] * 2
    with pytest.raises(EdgexpError, match="code -3"):
        list(run_many(starts, 2, engines))
    assert not slow.inside and slow.evaluated


def test_several_episodes_can_follow_one_another_at_a_place():
    engine, seen = ToyEngine(), []

    def turns(numbers):
        def episodes(place):
            for number in numbers:
                seen.append((yield from toy_episodes(engine, 9)[number](place)).trajectory)

        return episodes

    finished = list(run_many([turns([0, 1, 2]), turns([3]), turns([]), turns([4, 5])], 2, [engine]))
    assert sorted(f.number for f in finished) == [0, 1, 2, 3] and not any(f.error for f in finished)
    alone, _ = played(1, count=9)
    assert sorted(map(str, seen)) == sorted(str(alone[n]) for n in range(6))
