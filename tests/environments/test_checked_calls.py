"""The boundary around tools: a wrong value of any kind ends its own episode in one line, and no environment hears of what is no call."""

import sys
from typing import Any

import numpy as np
import pytest
from mock_engine import MockEngine, make_policy
from tool_toys import Home, switching
from wrong_values import RAISES, Evil, Shouting, endless, leave, plenty

from edgexp.environments.base import HasTools, LimitsActions, TakesSeveralCalls, action_tokens_of, most_calls_of, tools_of
from edgexp.environments.boundary import checked
from edgexp.environments.calls import Tool
from edgexp.errors import EdgexpError
from edgexp.play.episode import play
from edgexp.play.rollout import run


def offering(found: Any) -> Any:
    """The home, whose tools are what a test says."""

    class Offering(Home):
        def tools(self) -> Any:
            return found() if callable(found) else found

    return checked(Offering(), "test")


def check_line(words: str) -> None:
    assert words and len(words.splitlines()) == 1 and len(words) < 2_000
    words.encode()


DEEP: dict[str, Any] = {"type": "object"}
for _ in range(2_000):
    DEEP = {"type": "object", "properties": {"a": DEEP}}
LOOP: dict[str, Any] = {}
LOOP["properties"] = {"a": LOOP}


def wrong_tools() -> list[Any]:
    """Collections of tools of which something is wrong, made anew."""
    parameters = [
        None, 5, "object", [], {"type": "string"}, {"type": "text"}, {5: 6}, {"properties": {5: {}}}, {"properties": {"a": 5}}, DEEP, LOOP,
        {"enum": [{}]}, {"properties": {"a": {"enum": [float("nan")]}}}, {"properties": {"a": {"enum": ["\ud800"]}}},
        {"anyOf": [{"type": "string"}]},
        {"properties": {"\ud800": {}}}, {"properties": {"a": {"enum": {1, 2}}}}, {"properties": {"a": {"enum": [b"x"]}}}, Evil(),
        {"properties": {"a": Evil()}}, {"properties": {"a": {"enum": [Evil()]}}}, {"properties": {"a": {"enum": ["x" * 2_000_000]}}},
        {"required": ["a"], "additionalProperties": False}, {"properties": {"a": {"enum": []}}, "required": ["a"]},
        {"properties": {"a": {"enum": list(range(20_000))}}}, {"properties": {"a": {"$ref": "#/b"}}}, {"type": "array"},
    ]  # fmt: skip
    return [
        *[[Tool("t", "", one)] for one in parameters],  # type: ignore[arg-type]
        *[[Tool(name)] for name in ("", None, 5, "\ud800", "x" * 5_000, b"t", Evil())],  # type: ignore[arg-type]
        *[[Tool("t", words)] for words in (None, 5, "\ud800", "x" * 100_000, b"t")],  # type: ignore[arg-type]
        [Tool("t"), Tool("t")], [Tool("t"), None], ["t"], [{"name": "t"}], Tool("t"),
        [Tool(f"t{n}") for n in range(2_000)], endless(), [[Tool("t")]],
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(len(plenty()) + len(wrong_tools())))
def test_whatever_tools_returns_ends_its_own_episode_in_one_line(number: int) -> None:
    world = offering(lambda: [*plenty(), *wrong_tools()][number])
    played = run(play(world, world.tasks("train")[0], make_policy(world, action_tokens=60)), MockEngine())
    end = played.trajectory.end
    assert end.startswith("error: ") and ("tool" in end or "parameters" in end or "raised" in end), end
    check_line(end)
    assert not played.trajectory.steps


@pytest.mark.parametrize("error", [*RAISES, leave])
def test_whatever_tools_raises_is_one_line(error: Any) -> None:
    def fail() -> Any:
        if error is leave:
            sys.exit("bye\n")
        raise error("a\nb")

    world = offering(fail)
    with pytest.raises(EdgexpError, match=r"tools\(\) raised") as caught:
        world.tools()
    check_line(str(caught.value))


@pytest.mark.parametrize("found", [
    tuple(switching()), {tool.name: tool for tool in switching()}.values(), (tool for tool in switching()),
    [Tool(Shouting("t"), Shouting("d"))],
    [Tool("t", "", {"properties": {"a": {"enum": (np.str_("x"), np.int64(5), np.array(2.5))}}, "required": ("a",)})],
])  # fmt: skip
def test_what_is_meant_is_converted(found: Any) -> None:
    world = offering(lambda: found)
    assert all(type(tool) is Tool and type(tool.name) is type(tool.description) is str for tool in world.tools())


def test_tools_that_cannot_be_called_now_are_not_offered() -> None:
    gone = Tool("gone", "", {"properties": {"a": {"enum": []}}, "required": ["a"]})
    assert [tool.name for tool in offering([*switching(), gone]).tools()] == ["switch", "list_add"]


@pytest.mark.parametrize("member", ["most_calls", "action_tokens"])
def test_limits_are_whole_numbers(member: str) -> None:
    for value in (0, -1, None, "x", 2.5, True, Evil()):
        world = Home()
        setattr(world, member, value)
        with pytest.raises(EdgexpError, match=member) as error:
            checked(world, "test")
        check_line(str(error.value))


def test_the_form_of_actions_is_one_that_there_is() -> None:
    for value in ("", "lines", None, 5, ["block"], Evil(), "\ud800"):
        world = Home()
        world.action_form = value  # type: ignore[attr-defined]
        with pytest.raises(EdgexpError, match="action_form") as error:
            checked(world, "test")
        check_line(str(error.value))


def test_optional_members_are_there_where_they_were() -> None:
    class Limited(Home):
        most_calls, action_tokens = np.int64(3), 99

    plain, limited = checked(Home(), "test"), checked(Limited(), "test")
    for protocol in (HasTools, TakesSeveralCalls, LimitsActions):
        assert isinstance(limited, protocol) and isinstance(plain, protocol) is (protocol is HasTools)
    assert (most_calls_of(plain), action_tokens_of(plain)) == (1, 256) and (most_calls_of(limited), action_tokens_of(limited)) == (3, 99)
    assert tools_of(plain) is not None


def test_an_environment_is_asked_for_its_tools_once_an_action() -> None:
    asked: list[int] = []

    def found() -> list[Tool]:
        asked.append(1)
        return switching()

    world = offering(found)
    world.reset(world.tasks("train")[1])
    for _ in range(3):
        world.tools()
    world.step('switch(lamp="porch", on=true)')
    assert len(asked) == 2, "here, and by its own step"
    world.step('switch(lamp="porch", on=true)')
    assert len(asked) == 4, "by the boundary, for nobody had asked, and by its own step"


def test_what_is_valid_changes_from_state_to_state() -> None:
    class Burning(Home):
        def tools(self) -> list[Tool]:
            return switching([lamp for lamp in ("porch", "desk lamp", "big lamp") if not any(lamp in step for step in self.stepped)])

    world = checked(Burning(), "test")
    world.reset(world.tasks("train")[1])
    assert world.step('switch(lamp="porch", on=true)').observation == "Nothing happens."
    again = world.step('switch(lamp="porch", on=true)').observation
    assert again == 'switch: lamp is "porch", but "desk lamp"|"big lamp" is wanted'
    assert world.stepped == ['switch(lamp="porch", on=true)']


def test_several_calls_reach_only_who_takes_them() -> None:
    class Taking(Home):
        most_calls = 2

        def step(self, action: str) -> Any:
            return super().step(action.split("; ")[-1])

    two = 'switch(lamp="porch", on=true); switch(lamp="big lamp", on=true)'
    for home, words in ((Home(), "2 calls are too many: at most 1 may be made at once"), (Taking(), "Done.")):
        world = checked(home, "test")
        world.reset(world.tasks("train")[0])
        assert world.step(two).observation == words


def test_the_tools_of_no_episode_are_told_too() -> None:
    assert checked(Home(), "test").tools() == []
