"""An evaluation with a condition whose model is behind a server: what is recorded, and what is played again after it failed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from chat_server import Reply, choose, serving, tell
from toys import Counting

from edgexp.environments.base import Start
from edgexp.errors import EdgexpError, UsageError
from edgexp.evaluation.evaluate import Done, Watch, Wishes, evaluate
from edgexp.evaluation.results import Header, Setup, read
from edgexp.evaluation.suite import Condition, Suite, Tasks, parse
from edgexp.play import chat_client
from edgexp.play.chat_client import Terms
from edgexp.trajectory import Task


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_client, "_FIRST_WAIT", 0.001)
    monkeypatch.delenv("EDGEXP_API_KEY", raising=False)


class Numbered(Counting):
    """The goal says which task it is."""

    def reset(self, task: Task) -> Start:
        return msgspec.structs.replace(super().reset(task), goal=f"count to {self.target} in {task.id}.")


def suite_of(*conditions: Condition) -> Suite:
    return Suite(conditions, tasks=(Tasks("test_eval_server:Numbered", splits=("train",), number=4),))


def play_suite(folder: Path, suite: Suite, *, parallel: int = 1, **wishes: Any) -> tuple[Done, list[str]]:
    told = list[str]()
    return evaluate("toy", suite, folder, Wishes(parallel, terms=Terms(seconds=20), **wishes), Watch(told.append)), told


@pytest.mark.parametrize("parallel", [1, 3])
def test_failed_episodes_are_missing_told_and_played_again(tmp_path: Path, parallel: int) -> None:
    failing = {"counting/train/1", "counting/train/2"}

    def answer(question: Mapping[str, Any]) -> Any:
        turns = question["messages"]
        if any(f"in {name}." in turns[1]["content"] for name in failing) and len(turns) > 3:
            return Reply(503, b"out of memory")
        return tell("add one", usage={"prompt_tokens": 40, "completion_tokens": 2})

    with serving(answer, whole=True) as server:
        suite = suite_of(Condition(name="remote", model=f"{server.url}#toy"))
        done, _ = play_suite(tmp_path, suite, parallel=parallel)
        assert done.played == 2 and {failure.job.task.id for failure in done.failures} == failing
        assert all("the server answered 503 Service Unavailable: out of memory" in failure.reason for failure in done.failures)
        assert {row.task_id for row in read(tmp_path).rows} == {"counting/train/0", "counting/train/3"}
        failing.clear()
        asked = len(server.asked)
        done, _ = play_suite(tmp_path, suite, parallel=parallel)
        assert done.played == 2 and done.failures == () and len(server.asked) == asked + 1 + 2 * 3
        asked = len(server.asked)
        assert play_suite(tmp_path, suite)[0].played == 0 and len(server.asked) == asked + 1  # it is only met
    rows = read(tmp_path).rows
    assert len(rows) == 4 and all(row.success and row.tokens.generated == 6 for row in rows)


def test_the_setup_says_who_was_asked_and_how(tmp_path: Path) -> None:
    with serving(lambda q: tell(choose(q, ("guided_choice",))), whole=True) as server:
        suite = suite_of(Condition(name="free", model="theirs"), Condition(name="valid", model="theirs", actions="admissible"))
        url = server.url.replace("//", "//me:hunter2@")
        done, told = play_suite(tmp_path, suite, models={"theirs": f"{url}#toy"})
    assert done.failures == () and told.count(f"{server.url}: it chooses among the valid actions, by guided_choice") == 1
    setups = {setup.condition: setup for setup in read(tmp_path).header.setups.values()}
    for setup in setups.values():
        assert (setup.server, setup.model, setup.model_sha256, setup.engine) == (server.url, "toy-7b", "", "")
        assert (setup.layout, setup.context, setup.prompt) == ("chained", 4096, 1)
    assert setups["free"].asked == "actions free, temperature 0, context 4096"
    assert setups["valid"].asked == "actions admissible by guided_choice, temperature 0, context 4096"
    assert not any("hunter2" in path.read_text() for path in tmp_path.iterdir())


def test_another_model_behind_the_same_address_is_not_mixed_in(tmp_path: Path) -> None:
    name = ["toy-7b"]
    with serving(lambda _: tell("add one", model=name[0])) as server:
        suite = suite_of(Condition(name="remote", model=f"{server.url}#toy"))
        play_suite(tmp_path, suite)
        name[0] = "toy-13b"
        with pytest.raises(EdgexpError, match="model was 'toy-7b' and is 'toy-13b'"):
            play_suite(tmp_path, suite)


def test_what_cannot_be_asked_ends_it_with_one_line_before_anything_is_played(tmp_path: Path) -> None:
    with serving(lambda _: tell("wait")) as server:
        one = f"{server.url}#toy"
        with pytest.raises(UsageError, match="cannot be made to choose"):
            play_suite(tmp_path, suite_of(Condition(name="valid", model=one, actions="admissible")))
        with pytest.raises(UsageError, match="no probabilities"):
            play_suite(tmp_path, suite_of(Condition(name="scored", model=one, actions="scored")))
    with pytest.raises(EdgexpError, match="cannot be reached"):
        play_suite(tmp_path, suite_of(Condition(name="gone", model=one)))
    assert not (tmp_path / "episodes.jsonl").exists()


@pytest.mark.parametrize("model", ["http://me:hunter2@host/v1#m", "http://host:port/v1", "http://host/v1?key=hunter2"])
def test_a_suite_names_no_secret_and_no_nonsense(model: str) -> None:
    with pytest.raises(EdgexpError, match=r"s\.toml: conditions\[0\]\.model: ") as error:
        parse(f'[[conditions]]\nname = "c"\nmodel = "{model}"\n', "s.toml")
    assert "hunter2" not in str(error.value)


def test_setups_of_models_here_are_written_as_before() -> None:
    """Older results have neither field."""
    setup = Setup(condition="c", environment="e", environment_version="1", steps=1, model="m", model_sha256="0", actions="free", context=1,
                  bank="", bank_fingerprint="", encoder="", code="", engine="")  # fmt: skip
    old = msgspec.to_builtins(Header("s", {}, {setup.key: setup}))
    for name in ("server", "asked"):
        assert old["setups"][setup.key].pop(name) == ""
    assert msgspec.convert(old, Header).setups[setup.key] == setup
