"""The environment `home`: generated homes, and requests to their assistant. Knows which task is which home and scene; the rules are Home
Assistant's, in `assist.py`.

A home has nine slots: four types of easy requests, two of hard ones, and three of its habits. Scenes 0 to 17 are its past, two of each
slot; scenes 18 to 26 are what is asked later, one of each.
"""

from collections.abc import Mapping
from functools import lru_cache
from itertools import islice

import msgspec

from edgexp.environments.base import Start
from edgexp.environments.home import telling
from edgexp.environments.home.habits import Habit, ask, habits
from edgexp.environments.home.hard_requests import HARD
from edgexp.environments.home.homes import Dwelling, chance, dwelling
from edgexp.environments.home.inventory import House
from edgexp.environments.home.knowing import AskedHome, led_to
from edgexp.environments.home.replies import Answering
from edgexp.environments.home.requests import EASY, Maker, Request, Scene
from edgexp.environments.home.states import SWITCHED
from edgexp.environments.splits import Housed, Houses
from edgexp.errors import UsageError
from edgexp.trajectory import Task

INSTRUCTIONS = """\
You run a home. Do what is asked by calling tools,
one call a turn. Answer with the call only. Name one device: name="Desk Lamp". Or all of \
a kind: area="Kitchen" or floor="Upstairs" with domain="light", or domain="light" alone. Kinds: light, cover, fan, lock, media_player,
switch, \
climate, vacuum, valve. If two have the same name, say the area too.
HassTurnOn(name), HassTurnOff(name): on and off, open and close, lock and unlock
HassLightSet(name, color, temperature, brightness)
HassSetPosition(name, position): covers and valves
HassFanSetSpeed(name, percentage)
HassClimateSetTemperature(name, temperature)
HassVacuumStart(name), HassVacuumReturnToBase(name)
HassMediaPause(name), HassMediaUnpause(name), HassMediaNext(name), HassMediaPrevious(name)
HassSetVolume(name, volume_level), HassSetVolumeRelative(name, volume_step)
HassMediaPlayerMute(name), HassMediaPlayerUnmute(name)
HassListAddItem(item, name), HassListCompleteItem(item, name): name is a list
Done(): nothing is left to do, or what is asked cannot be done"""
"""What the system prompt says. Tools and arguments are Home Assistant's."""

SPLITS = {
    "train": Houses(0, 300, 0, 18),
    "dev": Houses(300, 60, 18, 9),
    "test": Houses(400, 100, 18, 9),
    "dev-bank": Houses(300, 60, 0, 18),
    "test-bank": Houses(400, 100, 0, 18),
}
"""The train split is its own bank; dev and test have banks of the same homes' past."""
OWN = "own-past"
"""The group of requests that only a home's past explains; the others are `easy` and `hard`."""

_EASY_SLOTS, _HARD_SLOTS, _OWN_SLOTS = 4, 2, 3
SLOTS = _EASY_SLOTS + _HARD_SLOTS + _OWN_SLOTS
_FIRST_SCENE = 2
"""The number, among a home's purposes, of its first scene."""


class Slot(msgspec.Struct, frozen=True):
    """A type of request that a home has, and the habit where it is one."""

    type: str
    group: str
    habit: Habit | None = None


@lru_cache(maxsize=1024)
def slots(number: int) -> tuple[Slot, ...]:
    """What is asked for in a home."""
    easy = _possible(number, EASY, number * _EASY_SLOTS, _EASY_SLOTS)
    hard = _possible(number, HARD, number * _HARD_SLOTS, _HARD_SLOTS)
    own = habits(number)[:_OWN_SLOTS]
    return (*(Slot(type, "easy") for type in easy), *(Slot(type, "hard") for type in hard), *(Slot(h.kind, OWN, h) for h in own))


def _possible(number: int, makers: Mapping[str, Maker], first: int, count: int) -> list[str]:
    """`count` types that a home has something for; homes take turns in where they begin."""
    order = (list(makers)[(first + place) % len(makers)] for place in range(len(makers)))
    return list(islice((type for type in order if makers[type](_begun(number, 0)) is not None), count))


def _begun(number: int, scene: int) -> Scene:
    """A home at the beginning of a scene, its things in some state."""
    draw, home = chance(number, _FIRST_SCENE + scene), dwelling(number)
    begun = Scene(draw, home, House(home.inventory))
    for entity in home.inventory.entities:
        if entity.domain in SWITCHED or entity.domain in ("light", "cover", "valve", "fan", "lock", "media_player"):
            begun.switch(entity, draw.happens(40))
        elif entity.domain == "climate":
            begun.set(entity, temperature=draw.one(range(17, 24)))
        elif entity.domain == "vacuum":
            begun.set(entity, state=draw.one(("docked", "cleaning")))
    here = draw.one(home.inventory.areas).id if draw.happens(60) else ""
    begun.house.inventory = msgspec.structs.replace(home.inventory, here=here)
    return begun


class Asked(msgspec.Struct, frozen=True):
    """A scene, ready to be played."""

    dwelling: Dwelling
    house: House
    request: Request


def asked(number: int, scene: int) -> Asked:
    """What is asked in a scene of a home; made anew each time, since whoever plays changes the house."""
    slot, begun = slots(number)[scene % SLOTS], _begun(number, scene)
    request = ask(begun, slot.habit) if slot.habit else {**EASY, **HARD}[slot.type](begun)
    assert request is not None
    return Asked(begun.dwelling, begun.house, request)


class Home(AskedHome, Housed):
    """Requests to the assistant of a home. Needs no files, holds nothing open."""

    name = "home"
    version = "2"
    max_steps = 10
    reads_calls = True
    """Home Assistant takes more than the schemas say."""
    houses = SPLITS

    def type_of(self, house: int, scene: int) -> str:
        """The type of the request."""
        return slots(house)[scene % SLOTS].type

    def instructions(self) -> str:
        """How to act, and the tools."""
        return INSTRUCTIONS

    def reset(self, task: Task) -> Start:
        """Begin an episode; one under way is dropped. Raises UsageError where the task is none of these."""
        self._answering = None
        found = asked(*self.place(task))
        self._wanted = wanted = led_to(found.house, found.request.calls)
        self._answering = Answering(found.house, found.request.goal, lambda house, _: not wanted.amiss(house))
        return Start(found.request.goal, telling.describe(found.house, found.dwelling.name))

    def group_of(self, house: int, scene: int) -> str:
        """`easy`, `hard`, or `own-past`."""
        return slots(house)[scene % SLOTS].group

    def lesson(self, task: Task) -> str:
        """The type; of a habit, the habit itself, which only its own episodes tell."""
        habit = self._habit(task)
        return f"{self.family(task)}/{habit.kind}/{habit.word}" if habit else task.type

    def aspects(self, task: Task, goal: str) -> Mapping[str, str]:
        """The type and the home, and of a request that takes a habit for known, the word that stands for it."""
        try:
            house, _ = self.place(task)
        except UsageError:
            return {"type": task.type}
        habit = self._habit(task)
        return {"type": task.type, "home": dwelling(house).name, **({"word": habit.word} if habit else {})}

    def _habit(self, task: Task) -> Habit | None:
        try:
            house, scene = self.place(task)
        except UsageError:
            return None
        return slots(house)[scene % SLOTS].habit
