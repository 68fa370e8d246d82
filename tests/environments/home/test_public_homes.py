"""`home:PATH`: a data set's folder as tasks, its scoring rule, and what becomes of files that are damaged. The data set here is our own."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgexp.environments import registry
from edgexp.environments.base import Environment, HasExpert, aspects_of, family_of, lesson_of
from edgexp.environments.home.inventory import House
from edgexp.environments.home.public_homes import PublicHomes
from edgexp.environments.home.sentences import Sentence, passes, read_folder, snapshot, unexpected
from edgexp.environments.registry import family_of_task, lesson_of_task, make
from edgexp.errors import EdgexpError, UsageError
from edgexp.play.collecting import expert_episode
from edgexp.play.rollout import run
from edgexp.trajectory import Task

FIXTURES = """\
areas:
  - {name: Attic, id: attic, floor: Top}
  - {name: Hall, id: hall}
devices:
  - {name: Box, id: box, area: hall}
  - {name: Screen, id: screen, area: attic}
entities:
  - name: Attic Lamp
    id: light.attic
    area: attic
    state: "off"
    attributes: {supported_color_modes: [brightness], color_mode: brightness, brightness: 0}
  - {name: Hall Lamp, id: light.hall, device: box, state: "off"}
  - {name: Gate, id: cover.gate, device: box, state: closed, attributes: {device_class: cover.CoverDeviceClass.GATE,
     supported_features: [cover.CoverEntityFeature.OPEN, cover.CoverEntityFeature.CLOSE]}}
  - {name: Gate, id: binary_sensor.gate, device: box, state: false}
  - {name: Notes, id: todo.notes}
"""
RECORD = """\
category: light
tests:
  - sentences: [Hall lamp on, "Hall lamp, please"]
    expect_changes: {light.hall: {state: "on", attributes: {color_mode: onoff}}}
  - sentences: [Brighten the attic]
    setup: {light.attic: {state: "on", attributes: {brightness: 10}}}
    expect_changes: {light.attic: {attributes: {brightness: 255}}}
    ignore_changes: {light.hall: [state], light.attic: {color_mode: 1}}
  - sentences: [Lights out]
    context_device: screen
    setup: {light.attic: {state: "on", attributes: {brightness: 10}}}
    expect_changes: {light.attic: {state: "off", attributes: {brightness: null, color_mode: null}}}
  - sentences: [Nothing is asked here]
  - sentences: [Open the gate]
    expect_changes: {cover.gate: {state: open}}
    ignore_changes: {cover.gate: [current_position]}
  - sentences: [Put figs on my notes]
    expect_changes: {todo.notes: {state: "1"}}
  - sentences: [Brighten the attic]
    expect_changes: {light.attic: {state: "on", attributes: {brightness: 255, color_mode: brightness}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of two homes."""
    for home in ("one", "two"):
        (tmp_path / "small" / home).mkdir(parents=True)
        (tmp_path / "small" / home / "_fixtures.yaml").write_text(FIXTURES)
        (tmp_path / "small" / home / "lamps.yaml").write_text(RECORD)
    return tmp_path / "small"


def played(homes: Environment, task: Task, *actions: str) -> bool:
    homes.reset(task)
    return [homes.step(action) for action in actions][-1].success


def test_is_made_by_its_path_and_keeps_the_contract(folder: Path) -> None:
    homes = make(f"home:{folder}")
    assert isinstance(homes, Environment) and isinstance(homes, HasExpert)
    assert homes.name == "home" and homes.version == make("home").version and list(homes.splits()) == ["small"]
    assert PublicHomes(str(folder.parent)).splits() == ("small",)


def test_each_sentence_that_counts_is_a_task_once(folder: Path) -> None:
    homes = PublicHomes(str(folder))
    tasks = homes.tasks("small")
    assert [task.id for task in tasks[:4]] == [f"home/small/one/lamps-{n}" for n in (0, 1, 2, 3)]
    goals = [homes.reset(task).goal for task in tasks]
    assert goals[:6] == ["Hall lamp on", "Hall lamp, please", "Brighten the attic", "Lights out", "Open the gate", "Put figs on my notes"]
    assert len(tasks) == 12 and all(homes.task(task.id) == task for task in tasks)
    assert family_of(homes, tasks[0]) == family_of(homes, tasks[3]) != family_of(homes, tasks[-1])
    assert (lesson_of(homes, tasks[0]), aspects_of(homes, tasks[0], "")) == ("light", {"type": "light", "home": "one"})


def test_the_environment_of_generated_homes_tells_of_these_tasks(folder: Path) -> None:
    task = PublicHomes(str(folder)).tasks("small")[0]
    assert (family_of_task(task), lesson_of_task(task)) == ("home/small/one", "light")


def test_the_expert_wins_and_doing_nothing_does_not(folder: Path) -> None:
    homes = PublicHomes(str(folder))
    for task in homes.tasks("small"):
        assert run(expert_episode(homes, task)).trajectory.success, task.id
        assert not played(homes, task, "Done()")


def test_everything_counts_and_what_is_ignored_does_not(folder: Path) -> None:
    homes = PublicHomes(str(folder))
    lamp, _, attic, out, gate, notes, *_ = homes.tasks("small")
    on = 'HassTurnOn(name="hall lamp")'
    assert played(homes, lamp, on, "Done()") and played(homes, lamp, on, "It is on now.")
    assert not played(homes, lamp, on, "Sorry, it is on now.")
    assert not played(homes, lamp, 'HassTurnOn(domain="light")', "Done()")
    assert played(homes, attic, 'HassLightSet(name="Attic Lamp", brightness=100)', "Done()")  # as the last test of the sentence has it
    assert played(homes, out, 'HassTurnOff(floor="top")', "Done()") and not played(homes, out, 'HassTurnOff(area="Hall")', "Done()")
    assert not played(homes, gate, 'HassTurnOn(name="Gate")', "Done()") and played(homes, gate,
                                                                                   'HassTurnOn(name="Gate", domain=["cover"])', "OK")
    assert played(homes, notes, 'HassListAddItem(item="plums", name="Notes")', "Done()")


def test_it_says_where_somebody_is_and_leaves_sensors_out(folder: Path) -> None:
    homes = PublicHomes(str(folder))
    assert homes.reset(homes.task("home/small/one/lamps-3")).observation == (
        "You are in the Attic of one.\nAttic (Top): Attic Lamp (light on 4%)\nHall: Hall Lamp (light off), Gate (cover closed)\n"
        "No area: Notes (todo empty)"
    )


def test_questions_are_answered(folder: Path) -> None:
    (folder / "one" / "ask.yaml").write_text("category: [light, question]\ntests: [{sentences: [Is it on?], expect_response: [no, 17]}]\n")
    homes = PublicHomes(str(folder))
    task = homes.task("home/small/one/ask-0")
    assert "Answer(text)" in homes.instructions() and "binary_sensor" in homes.reset(task).observation
    assert "Answer" in [tool.name for tool in homes.tools()]
    assert played(homes, task, 'Answer(text="No, not at all.")') and played(homes, task, "17 lamps") and not played(homes, task, "Done()")
    assert run(expert_episode(homes, task)).trajectory.success


# Files that are damaged, and folders that are none


@pytest.mark.parametrize("path", ["", "nowhere", "small/one/lamps.yaml", "\0"])
def test_a_path_that_is_no_folder(folder: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    with pytest.raises(EdgexpError) as error:
        make(f"home:{path}")
    assert "\n" not in str(error.value) and "home:" in str(error.value)


def test_a_folder_without_homes(tmp_path: Path) -> None:
    with pytest.raises(EdgexpError, match="no home is there"):
        make(f"home:{tmp_path}")


@pytest.mark.parametrize("text", [
    b"", b"\xff\xfe\x00", b"- a\n- b\n", b"tests: 3\n", b"tests: [3]\n", b"tests: [{sentences: 5, expect_changes: 5}]\n", b"a: [\n",
    b"\x00",
    b"tests: [{sentences: [x], expect_changes: {light.gone: {state: 'on'}}}]\n", b"tests: [{sentences: [x], setup: [1]}]\n",
    b"tests: [{sentences: [x], expect_changes: {light.hall: on}}]\n", b"x: &a [*a]\n", b"!!python/object/apply:os.system ['true']\n",
    b"a: " + b"[" * 3000, b"tests: [{sentences: [{}], expect_changes: {light.hall: {state: 'on'}}}]\n",
    b"tests: [{sentences: [x], ignore_changes: {light.hall: 3}, expect_changes: {light.hall: {state: 'on'}}}]\n",
])  # fmt: skip
def test_a_damaged_record_is_one_line_and_the_others_are_played(folder: Path, text: bytes) -> None:
    (folder / "one" / "bad.yaml").write_bytes(text)
    homes = make(f"home:{folder}")
    tasks = homes.tasks("small")
    damaged = [task for task in tasks if task.type == "damaged"]
    assert len(tasks) - len(damaged) == 12 and len(damaged) <= 1
    for task in damaged:
        with pytest.raises(EdgexpError, match=r"one/bad\.yaml: ") as error:
            homes.reset(task)
        assert "\n" not in str(error.value)
        with pytest.raises(EdgexpError, match="reset"):
            homes.step("Done()")
    assert played(homes, tasks[0], 'HassTurnOn(name="Hall Lamp")', "Done()")


@pytest.mark.parametrize("text", [
    "", "entities: []\n", "entities: [{name: x}]\n", "entities: [{id: 3, name: x}]\n", "entities: [{id: nodot, name: x}]\n",
    "entities: [{id: light.a, name: x}, {id: light.a, name: y}]\n", "areas: {}\n", "areas: [{id: a}]\nentities: [{id: light.a, name: x}]\n",
    "entities: [{id: light.a, name: x, attributes: 3}]\n", "entities: [{id: light.a, name: x, attributes: {supported_color_modes: 7}}]\n",
])  # fmt: skip
def test_a_damaged_home_is_one_line_and_the_other_is_played(folder: Path, text: str) -> None:
    (folder / "one" / "_fixtures.yaml").write_text(text)
    homes = make(f"home:{folder}")
    damaged = [task for task in homes.tasks("small") if task.type == "damaged"]
    assert damaged and len(homes.tasks("small")) - len(damaged) == 6
    with pytest.raises(EdgexpError, match=r"cannot be played: one/"):
        homes.reset(damaged[0])


def test_a_file_without_end_is_not_read(folder: Path) -> None:
    (folder / "one" / "bad.yaml").write_bytes(b"# " + b"x" * 2_000_001)
    assert [task.type for task in PublicHomes(str(folder)).tasks("small")].count("damaged") == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_in_a_file_ends_anything_but_its_own_tasks(folder: Path, data: st.DataObject) -> None:
    """Files with some bytes changed, or lines gone: made, listed and played to the end, or told in one line."""
    name, text = data.draw(st.sampled_from([("_fixtures.yaml", FIXTURES), ("lamps.yaml", RECORD)]))
    (folder / "one" / "_fixtures.yaml").write_text(FIXTURES)
    (folder / "one" / "lamps.yaml").write_text(RECORD)
    (folder / "one" / name).write_text(_damaged(data, text), encoding="utf-8")
    homes = make(f"home:{folder}")
    for task in homes.tasks("small"):
        try:
            homes.reset(task)
        except EdgexpError as error:
            assert "\n" not in str(error)
            continue
        for action in ('HassTurnOn(domain="light")', 'HassSetPosition(name="Gate", position=5)', 'HassListAddItem(item="a", name="Notes")'):
            assert not homes.step(action).done
        assert homes.step("Done()").done


def _damaged(data: st.DataObject, text: str) -> str:
    lines = text.split("\n")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        kind = data.draw(st.sampled_from(["gone", "twice", "value", "letter"]))
        if kind == "gone":
            lines[at] = ""
        elif kind == "twice":
            lines[at] += "\n" + lines[at]
        elif kind == "value":
            key, colon, _ = lines[at].partition(":")
            value = data.draw(st.sampled_from(["3", "[]", "{}", "null", "true", "[1, {a: b}]", "1e999", ".nan", "2020-01-01", "x",
                                               "{a: 1}"]))
            lines[at] = key + colon + " " + value
        else:
            spot = data.draw(st.integers(0, max(0, len(lines[at]) - 1)))
            lines[at] = lines[at][:spot] + data.draw(st.sampled_from(list("[]{}:,'\"-&*!%#\t 9ü"))) + lines[at][spot + 1 :]
    return "\n".join(lines)


# The rule alone


@pytest.mark.parametrize(("change", "ignored", "found", "well"), [
    ({}, set(), {"state": "off"}, True),
    ({"state": "on"}, set(), {"state": "on"}, True),
    ({"state": "on"}, set(), {"state": "off"}, False),
    ({}, set(), {"state": "off", "brightness": 3}, False),
    ({}, {"brightness"}, {"state": "off", "brightness": 3}, True),
    ({}, set(), {"state": "off", "is_opening": True}, True),
    ({"brightness": None}, set(), {"state": "off"}, True),
    ({"brightness": "3"}, set(), {"state": "off", "brightness": 3}, True),
    ({"rgb": [1, 2]}, set(), {"state": "off", "rgb": [1, 2]}, True),
    ({"rgb": [1, 2]}, set(), {"state": "off", "rgb": [1, 3]}, False),
])  # fmt: skip
def test_what_differs(folder: Path, change: dict[str, Any], ignored: set[str], found: dict[str, Any], well: bool) -> None:
    inventory = read_folder(folder)[0][0].inventory
    test = Sentence("x", "x", "x", inventory, {"light.hall": change} if change else {}, {"light.hall": frozenset(ignored)})
    before = {**snapshot(House(inventory)), "light.hall": {"state": "off"}}
    after = {**before, "light.hall": found}
    assert (unexpected(test, before, after) == []) is well and passes(test, before, after) is well


def test_an_unknown_name_still_tells_what_there_is() -> None:
    with pytest.raises(UsageError, match="home:PATH"):
        registry.make("hoem")
