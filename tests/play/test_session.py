"""Places, environments and policies that are opened together, and closed together whatever happens. No weights, no model library."""

import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from bank_samples import WordEncoder
from mock_engine import VOCABULARY, MockEngine
from read_only import unwritable
from toys import Counting

from edgexp.bank import Bank
from edgexp.engine.engine import TokenSequence
from edgexp.environments.base import Start
from edgexp.errors import EdgexpError, UsageError
from edgexp.play import fleet, session
from edgexp.play.acting import Acting
from edgexp.play.episode import Ended
from edgexp.play.fleet import Environments
from edgexp.play.record import Recorder
from edgexp.play.rollout import run
from edgexp.play.scripted import Scripted
from edgexp.play.session import OpenSession, Session, Settings, load_policy, open_session
from edgexp.prompt import messages
from edgexp.retrieval import Retriever, VectorRetriever
from edgexp.trajectory import Task, Trajectory

MADE: list["Noted"] = []


class Noted(Counting):
    """Counting that is told of when it is made, and can fail when it is closed."""

    restarts, remote, breaks = 0, False, False

    def __init__(self) -> None:
        super().__init__()
        self.resets = list[str]()
        MADE.append(self)

    def reset(self, task: Task) -> Start:
        self.resets.append(task.id)
        return super().reset(task)

    def close(self) -> None:
        super().close()
        if self.breaks:
            raise OSError("the pipe is gone")


class Other(Noted):
    """Another environment, of which nothing is known that counts restarts."""

    name, max_steps = "other", 3


@pytest.fixture(autouse=True)
def made() -> Iterator[list[Noted]]:
    """The environments that a test made."""
    MADE.clear()
    yield MADE
    MADE.clear()


NOTED, OTHER = f"{__name__}:Noted", f"{__name__}:Other"
TASKS = [*Counting().tasks("train"), *Counting().tasks("test")]


def maker(environment: Any, retriever: Retriever | None, acting: Acting) -> Scripted:
    """Counts up, but waits first where its seed says so."""
    return Scripted(["wait"] * acting.seed + ["add one"] * 3, "agent")


def test_each_place_has_an_environment_of_its_own_and_keeps_it(made: list[Noted]) -> None:
    with Environments() as environments:
        first, second, other = environments.at(NOTED, 0), environments.at(NOTED, 1), environments.at(OTHER, 0)
        assert len({id(one) for one in (first, second, other)}) == 3 == len(made)
        assert environments.at(NOTED) is environments.at(NOTED, 0) is first and environments.at(NOTED, 1) is second
        assert not any(one.closed for one in made)
    assert all(one.closed for one in made)


def test_the_limit_of_an_environment_is_known_without_playing(made: list[Noted]) -> None:
    with Environments() as environments:
        assert (environments.limit(NOTED), environments.limit(OTHER)) == (10, 3) and len(made) == 2
        environments.at(NOTED).max_steps = 2  # a task may set a limit of its own
        assert environments.limit(NOTED) == 10


def test_restarts_are_counted_by_environment_over_all_places(made: list[Noted]) -> None:
    with Environments() as environments:
        for place, count in enumerate((2, 0, 3)):
            environments.at(NOTED, place).restarts = count  # type: ignore[attr-defined]
        environments.at(OTHER)
        environments.at("household")
        assert environments.restarts() == {NOTED: 5}


def test_all_are_closed_even_when_one_cannot_be(made: list[Noted]) -> None:
    with pytest.raises(EdgexpError, match=r"counting: close\(\) raised OSError: the pipe is gone"), Environments() as environments:
        for place in range(3):
            environments.at(NOTED, place)
        made[1].breaks = True
    assert all(one.closed for one in made)
    with pytest.raises(ValueError, match="in the middle"), Environments() as environments:
        environments.at(NOTED, 7)
        raise ValueError("in the middle")
    assert made[-1].closed


def test_an_environment_that_cannot_be_made_is_asked_for_again(made: list[Noted]) -> None:
    with Environments() as environments:
        for _ in range(2):
            with pytest.raises(UsageError, match="no environment is called 'nowhere'"):
                environments.at("nowhere")
        assert environments.restarts() == {}


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A module of somebody's own, with things that are policies and things that are not."""
    (tmp_path / "my_agents.py").write_text("def make(*_): return 'made'\nnumber = 7\n")
    (tmp_path / "my_broken_agents.py").write_text("import my_agents\n1 / 0\n")
    (tmp_path / "my_needy_agents.py").write_text("import a_library_that_is_not_there\n")
    (tmp_path / "my_unwritten_agents.py").write_text("def make(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "my_agents"


def test_a_policy_is_found_by_module_and_attribute(own_module: str) -> None:
    assert load_policy(f"{own_module}:make")(None, None, Acting()) == "made"  # type: ignore[arg-type, comparison-overlap]
    assert load_policy(f"{__name__}:maker") is maker or load_policy(f"{__name__}:maker").__name__ == "maker"


def test_a_policy_in_the_current_folder_is_found_and_hides_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_agent_here.py").write_text("def make(*_): return 'here'\n")
    (tmp_path / "colorsys.py").write_text("raise ImportError('the wrong one')\n")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", ".")])
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert load_policy("my_agent_here:make")(None, None, Acting()) == "here"  # type: ignore[arg-type, comparison-overlap]
    assert sys.path[-1] == str(tmp_path) and sys.path.count(str(tmp_path)) == 1
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert load_policy("colorsys:rgb_to_hsv")(0, 0, 0) == (0, 0, 0)  # type: ignore[arg-type, comparison-overlap]


@pytest.mark.parametrize(("name", "kind", "words"), [
    ("my_agents", UsageError, "--policy my_agents: write it as module:attribute, for example my_agent:make"),
    ("", UsageError, "--policy : write it as module:attribute"),
    ("my_agents:", UsageError, "--policy my_agents:: write it as module:attribute"),
    (":make", UsageError, "--policy :make: write it as module:attribute"),
    ("no_such_agents:make", UsageError, "No module named 'no_such_agents'; is the module installed, or in the current folder?"),
    ("my_needy_agents:make", UsageError, "No module named 'a_library_that_is_not_there'"),
    ("my_agents:other", UsageError, "module my_agents has no 'other'"),
    ("my_agents:number", UsageError, "--policy my_agents:number: it is no function that makes a policy"),
    ("my_broken_agents:make", EdgexpError, "--policy my_broken_agents:make: it cannot be imported: ZeroDivisionError: division by zero"),
    ("my_unwritten_agents:make", EdgexpError, "--policy my_unwritten_agents:make: it cannot be imported: SyntaxError: "),
])
def test_a_policy_that_cannot_be_found_is_one_line(own_module: str, name: str, kind: type[EdgexpError], words: str) -> None:
    with pytest.raises(EdgexpError) as raised:
        load_policy(name)
    assert type(raised.value) is kind and words in str(raised.value) and "\n" not in str(raised.value)


def settings(**more: Any) -> Settings:
    return Settings(**{"environment": NOTED, "policy": f"{__name__}:maker", "k": 0} | more)


def shape(trajectory: Trajectory | None) -> tuple[Any, ...]:
    assert trajectory is not None
    return trajectory.task.id, trajectory.id, trajectory.end, trajectory.provenance.source


@pytest.mark.parametrize("places", [1, 2, 3, 8, 20])
def test_several_places_play_the_same_episodes_as_one(places: int, made: list[Noted], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Noted, "remote", True)  # what never waits is over before another place is asked
    with open_session(settings(seed=2)) as alone:
        expected = [shape(finished.trajectory) for finished in alone.play(TASKS)]
    assert [task for task, *_ in expected] == [task.id for task in TASKS] and {end for _, _, end, _ in expected} == {"done"}
    assert len(made) == 1 and made[0].closed
    made.clear()
    with open_session(settings(seed=2, parallel=places)) as together:
        finished = {one.number: shape(one.trajectory) for one in together.play(TASKS)}
    assert [finished[number] for number in range(len(TASKS))] == expected
    assert len(made) == min(places, len(TASKS)) and all(one.closed for one in made)
    assert sorted(task for one in made for task in one.resets) == sorted(task.id for task in TASKS)


def test_steps_and_watchers_are_those_of_each_episode() -> None:
    told: dict[str, list[Any]] = {}
    with open_session(settings(seed=4, parallel=2)) as opened:
        played = list(opened.play(TASKS[:3], steps=5, watch=lambda task: told.setdefault(task.id, []).append))
    assert [one.trajectory.end for one in played if one.trajectory] == ["max_steps"] * 3
    assert sorted(told) == sorted(task.id for task in TASKS[:3])
    for one in played:
        assert one.played is not None
        events = told[one.played.trajectory.task.id]
        assert isinstance(events[-1], Ended) and events[-1].played is one.played and len(events) == 7


def test_tasks_are_taken_when_there_is_a_place_for_them() -> None:
    taken = []

    def endless() -> Iterator[Task]:
        for number in range(10**9):
            taken.append(number)
            yield TASKS[number % len(TASKS)]

    with open_session(settings(parallel=2)) as opened:
        playing = opened.play(endless())
        for _ in range(5):
            next(playing)
    assert 5 <= len(taken) <= 8


@pytest.mark.slow
def test_a_policy_of_ones_own_opens_neither_a_model_nor_a_bank() -> None:
    """Said by what is imported: neither the model's library nor the encoder's."""
    code = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
from edgexp.play.session import Settings, open_session
from edgexp.environments.registry import make
with open_session(Settings(environment="toys:Counting", policy="test_session:maker", k=0, parallel=2)) as opened:
    ends = [one.trajectory.end for one in opened.play(opened.environment.tasks("train"))]
assert opened.fleet is None and opened.ready is None and opened.bank is None and opened.retriever is None and opened.engines == []
print(ends, [m for m in ("llama_cpp", "onnxruntime", "torch") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == f"{['done'] * 4} []", done.stderr


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder of words in place of the real one."""
    monkeypatch.setattr(session, "open_encoder", lambda name, say: WordEncoder())


@pytest.mark.parametrize(("more", "keep", "bank", "remembers"), [
    ({"k": 2}, False, True, True),
    ({"k": 0}, False, False, False),
    ({"k": 2, "memory": "off"}, False, False, False),
    ({"k": 0}, True, True, False),
    ({"k": 1, "memory": "dynamic"}, True, True, True),
])
def test_a_bank_is_opened_for_memory_or_for_keeping(more: dict[str, Any], keep: bool, bank: bool, remembers: bool, words: None,
                                                    tmp_path: Path) -> None:
    with open_session(settings(bank=tmp_path / "bank", **more), keep=keep) as opened:
        assert (opened.bank is not None, opened.retriever is not None) == (bank, remembers)
        if opened.retriever is not None:
            assert opened.retriever.due(0) and opened.retriever.due(1) == (more.get("memory") == "dynamic")
    assert (tmp_path / "bank").exists() == bank


def test_memory_is_of_the_environment_that_is_played(words: None, tmp_path: Path) -> None:
    with open_session(settings(bank=tmp_path / "bank", k=9)) as opened:
        assert opened.bank is not None and opened.retriever is not None
        ours = [finished.trajectory for finished in opened.play(TASKS[:2])]
        assert ours[0] is not None
        foreign = msgspec.structs.replace(ours[0], task=Task("other/1", "other", "train", "count"))
        opened.bank.add([*(t for t in ours if t), foreign])
        found = opened.retriever.recall(TASKS[3], "count to 3.", "The count is 0.")
        assert {recalled.trajectory.task.environment for recalled in found.recalled} == {"counting"} and len(found.recalled) == 2


@pytest.mark.parametrize(("use", "own"), [({"in_use": True}, True), ({"in_use": False}, False), ({}, False)])
def test_in_use_an_agent_remembers_its_own_tries(words: None, tmp_path: Path, use: dict[str, bool], own: bool) -> None:
    with open_session(settings(bank=tmp_path / "bank", k=9), **use) as opened:
        assert opened.bank is not None and opened.retriever is not None
        opened.bank.add([finished.trajectory for finished in opened.play(TASKS[:2]) if finished.trajectory])
        found = {one.trajectory.task.id for one in opened.retriever.recall(TASKS[0], "count to 3.", "The count is 0.").recalled}
    assert found == {TASKS[1].id, *([TASKS[0].id] if own else [])}


class Bare(Noted):
    """Without valid actions."""

    admissible = None  # type: ignore[assignment]


@pytest.mark.parametrize(("actions", "insist", "played"), [
    ("admissible", False, "free"), ("scored", False, "free"), ("free", True, "free"), ("admissible", True, ""), ("scored", True, ""),
])
def test_without_valid_actions_an_environment_is_played_freely_but_where_one_insists(actions: str, insist: bool, played: str) -> None:
    bare = settings(environment=f"{__name__}:Bare", actions=actions, insist=insist)
    if played:
        with open_session(bare) as opened:
            assert opened.settings.actions == played
    else:
        with pytest.raises(UsageError, match=f"does not list valid actions, so --actions {actions} cannot be"), open_session(bare):
            pass
    with open_session(settings(actions=actions, insist=insist)) as opened:
        assert opened.settings.actions == actions


@pytest.mark.parametrize("error", [RuntimeError("no\nagent"), SystemExit(3), EdgexpError("no agent")])
def test_a_policy_that_cannot_be_made_costs_its_own_episode(error: BaseException) -> None:
    made = []

    def second(*_: Any) -> Scripted:
        made.append(1)
        if len(made) == 2:
            raise error
        return Scripted(["add one"] * 3)

    with open_session(settings()) as opened:
        opened._policy = second
        finished = list(opened.play(TASKS[:3]))
    assert [one.played is not None for one in finished] == [True, False, True]
    assert "no" in finished[1].problem or "SystemExit: 3" in finished[1].problem


def test_a_policy_is_made_for_each_episode_with_its_place_and_its_memory(
    tmp_path: Path, words: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Noted, "remote", True)
    asked = []

    def noting(environment: Any, retriever: Retriever | None, acting: Acting) -> Scripted:
        asked.append((environment, retriever, acting))
        return Scripted(["add one"] * 3)

    with open_session(settings(bank=tmp_path / "bank", k=1, parallel=2)) as opened:
        opened._policy = noting
        list(opened.play(TASKS[:4]))
        places = [opened.environments.at(NOTED, place) for place in (0, 1)]
        assert len(asked) == 4 and {id(environment) for environment, *_ in asked} == {id(place) for place in places}
        assert all(retriever is opened.retriever and acting is opened.settings for _, retriever, acting in asked)


def test_an_episode_that_cannot_begin_is_told_and_the_others_are_played(made: list[Noted], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Noted.reset

    def reset(self: Noted, task: Task) -> Start:
        if task.id.endswith("/1"):
            raise EdgexpError(f"{task.id}: the file is damaged")
        return plain(self, task)

    monkeypatch.setattr(Noted, "reset", reset)
    with open_session(settings(parallel=3)) as opened:
        finished = sorted(opened.play(TASKS), key=lambda one: one.number)
    assert [str(one.error) for one in finished if one.error] == [f"{TASKS[n].id}: the file is damaged" for n in (1, 5)]
    assert sum(one.played is not None for one in finished) == 6


def test_everything_is_closed_when_something_cannot_be_opened(made: list[Noted], words: None, tmp_path: Path) -> None:
    (tmp_path / "bank").write_text("no folder")
    with pytest.raises(EdgexpError), open_session(settings(policy="no_such:thing")):
        pass
    with pytest.raises((EdgexpError, OSError)), open_session(settings(bank=tmp_path / "bank", k=2)):
        pass
    assert len(made) == 2 and all(one.closed for one in made)


@pytest.mark.skipif(os.name == "nt", reason="permissions are another matter there")
@pytest.mark.parametrize("there", [True, False])
def test_where_nothing_may_be_written_one_plays(made: list[Noted], words: None, tmp_path: Path, there: bool) -> None:
    """With the bank that is there, without its log, and with none where there is none; but what has to be kept is refused."""
    (tmp_path / "home").mkdir()
    if there:
        with open_session(settings(bank=tmp_path / "home" / "bank"), keep=True) as opened:
            assert opened.bank is not None
            opened.bank.add([one.played.trajectory for one in opened.play(TASKS[:2]) if one.played])
    said: list[str] = []
    with unwritable(tmp_path / "home"):
        with open_session(settings(bank=tmp_path / "home" / "bank", k=2), said.append) as opened:
            recorder = Recorder(opened.bank, "run")
            for one in opened.play(TASKS):
                assert one.played
                recorder.keep(one.played)
            assert (opened.retriever is not None) == there and not recorder.last_id
        with pytest.raises(EdgexpError), open_session(settings(bank=tmp_path / "home" / "bank", k=2), keep=True):
            pass
    assert len(said) == 1 and ("only be read" if there else "nothing is remembered") in said[0]


class MockFleet:
    """What a session needs of a fleet, over mock engines."""

    def __init__(self, places: int, engines: int) -> None:
        self.model = types.SimpleNamespace(vocabulary=VOCABULARY, template=None, templates={})
        self.room, self.engines, self.asked = 4096, [MockEngine() for _ in range(engines)], list[tuple[int, tuple[int, ...]]]()
        self._sequences = {place: TokenSequence(place) for place in range(places)}

    def layout(self, wanted: str) -> str:
        return "chained" if wanted == "auto" else wanted

    def sequence(self, place: int, prefix: list[int]) -> TokenSequence:
        self.asked.append((place, tuple(prefix)))
        return self._sequences[place]


def open_mocked(environments: Environments, places: int, engines: int = 1, retriever: Retriever | None = None) -> OpenSession:
    ready = types.SimpleNamespace(name="mock", sha256="0" * 64)
    opened = OpenSession(environments, places, MockFleet(places, engines), ready)  # type: ignore[arg-type]
    opened.settings, opened.retriever = Settings(environment=NOTED, repeats=0, parallel=places), retriever
    return opened


@pytest.mark.parametrize(("places", "engines"), [(2, 1), (3, 2), (8, 2)])
def test_a_model_plays_the_same_at_several_places_as_at_one(places: int, engines: int, tmp_path: Path) -> None:
    with Environments() as environments, Bank.open(tmp_path / "bank", WordEncoder()) as bank:
        bank.add([run(Session(environments, 1, policy=maker).episode(0, TASKS[7], None, Acting(), environment=NOTED)).trajectory])
        retriever = VectorRetriever(bank)
        alone = {one.number: shape(one.trajectory) for one in open_mocked(environments, 1, 1, retriever).play(TASKS[:7])}
        opened = open_mocked(environments, places, engines, retriever)
        together = {one.number: one for one in opened.play(TASKS[:7])}
    assert {number: shape(one.trajectory) for number, one in together.items()} == alone
    assert all(len(one.played.recalls[0].used) == 1 for one in together.values() if one.played)
    assert {one.trajectory.provenance.model for one in together.values() if one.trajectory} == {"mock"}
    renderer = opened.renderer(NOTED)
    assert renderer is opened.renderer(NOTED), "what it knows of texts is shared"
    assert {prefix for _, prefix in opened.fleet.asked} == {tuple(renderer.prefix())}  # type: ignore[union-attr]
    assert all(engine.evaluated for engine in opened.engines)  # type: ignore[attr-defined]


def test_an_episode_keeps_room_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty tokens an action, and never more than half of the room."""
    reserves = []

    class Noting(session.LocalPolicy):
        def __init__(self, *args: Any, **options: Any):
            reserves.append((options["context"], options["reserve"]))
            super().__init__(*args, **options)

    monkeypatch.setattr(session, "LocalPolicy", Noting)
    with Environments() as environments:
        opened = open_mocked(environments, 1)
        for steps in (None, 20, 500):
            opened.episode(0, TASKS[0], None, Acting(), steps=steps, environment=NOTED)
    assert reserves == [(4096, 400), (4096, 800), (4096, 2048)]


def test_a_template_that_cannot_be_used_is_told() -> None:
    with Environments() as environments:
        broken = Session(environments, 1, MockFleet(1, 1), None, template="{{ raise_exception('no system role') }}")  # type: ignore[arg-type]
        with pytest.raises(EdgexpError, match="no system role"):
            broken.renderer(NOTED)


def test_instructions_that_do_not_fit_are_told_before_anything_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """At several places their ids would be evaluated first of all."""
    monkeypatch.setattr(Noted, "instructions", lambda self: "do it. " * 1_000)
    with Environments() as environments:
        opened = open_mocked(environments, 2)
        [told, _] = opened.play(TASKS[:2])
        assert told.error and "the instructions of test_session:Noted (7,000 characters) do not fit a context of 4096" in str(told.error)
        assert not any(engine.evaluated for engine in opened.engines)  # type: ignore[attr-defined]


def test_a_text_of_any_length_costs_little_and_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    encode = type(VOCABULARY).encode
    monkeypatch.setattr(type(VOCABULARY), "encode", lambda self, text: asked.append(len(text)) or encode(self, text))
    start, step = Noted.reset, Noted.step
    monkeypatch.setattr(Noted, "step", lambda self, action: msgspec.structs.replace(step(self, action), observation="word " * 50_000))
    with Environments() as environments:
        [long] = open_mocked(environments, 1).play(TASKS[:1])
    assert long.trajectory and long.trajectory.end == "context_full"
    monkeypatch.setattr(Noted, "reset", lambda self, task: msgspec.structs.replace(start(self, task), observation="word " * 50_000))
    with Environments() as environments:
        [refused] = open_mocked(environments, 1).play(TASKS[:1])
    assert refused.error and "do not fit a context of 4096" in str(refused.error) and "\n" not in str(refused.error)
    assert max(asked) < 10_000 and sum(asked) < 100_000


def test_as_many_engines_as_keep_the_cores_busy() -> None:
    for places in range(1, 20):
        for cores in (1, 2, 4, 16):
            for threads in (1, 2, 4):
                if threads <= cores:
                    engines = fleet.engines_for(places, cores, threads)
                    assert 1 <= engines <= places and engines * threads <= cores


BOTH = ((None, []), (messages.VERSION, []), (messages.VERSION + 1, ["mine was trained with version"]))


@pytest.mark.parametrize(("trained", "said"), BOTH)
def test_a_model_trained_with_another_prompt_is_told(trained: int | None, said: list[str]) -> None:
    fleet, ready, heard = SimpleNamespace(model=SimpleNamespace(prompt=trained)), SimpleNamespace(name="mine"), list[str]()
    session.check_prompt(fleet, ready, heard.append)  # type: ignore[arg-type]
    assert [line[: len(words)] for line, words in zip(heard, said, strict=True)] == said
