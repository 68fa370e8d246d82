"""ALFWorld's game files, `game.tw-pddl`: read one as a scene, write a scene as one that the real `alfworld` package loads. Knows no rules.

Such a file is JSON with the rules (a PDDL domain), the texts (a grammar), the scene (a PDDL problem) and a plan that wins. The simulator
has rules and texts of its own, so reading takes the problem, and of the grammar only how the goal is worded. Files older than ALFWorld
2.1.2 play in the wording of 2.1.2, as after ALFWorld's own upgrade script: `move X to Y` for `put X in/on Y`. Writing needs ALFWorld's
rules and grammar from somewhere: the installed package, or any of its games (`Templates`).

The game lists and numbers everything by the order of its lower-case PDDL names: the last drawer of that order is `drawer 1`. Reading a
problem (`parse`) takes its facts only; the declarations before them add nothing.
"""

import functools
import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from edgexp.environments.household.scene import Goal, GoalKind, Kind, Receptacle, Scene, Thing, numbered
from edgexp.errors import EdgexpError

_FACT = re.compile(r"\(\s*([A-Za-z]+)\s+([^\s()]+)(?:\s+([^\s()]+))?\s*\)")
_COMMENT = re.compile(r";[^\n]*")
_ATOM = re.compile(r"\(\s*(\w+|=)\s([^()]*)\)")
_CONNECTIVE = re.compile(r"\(\s*(exists|forall|or|not|imply)\b")
_WRITABLE_NAME = re.compile(r"([a-z]+?)(basin)? [1-9][0-9]*")

_ABILITIES = {
    "portable": "pickupable",
    "cleanable": "cleanable",
    "heatable": "heatable",
    "coolable": "coolable",
    "toggleable": "toggleable",
    "sliceable": "sliceable",
    "vessel": "isReceptacleObject",
}
_STATES = {"clean": "isClean", "hot": "isHot", "cool": "isCool", "sliced": "isSliced", "toggled": "isToggled"}
_PLACED = "(exists (?r - receptacle) (exists (?o - object) (and {}(objectType ?o {}) (receptacleType ?r {}) (inReceptacle ?o ?r))))"
_GOALS: Mapping[GoalKind, str] = {
    "pick_and_place_simple": _PLACED.format("", "{object}", "{target}"),
    "pick_clean_then_place_in_recep": _PLACED.format("(cleanable ?o) (isClean ?o) ", "{object}", "{target}"),
    "pick_heat_then_place_in_recep": _PLACED.format("(heatable ?o) (isHot ?o) ", "{object}", "{target}"),
    "pick_cool_then_place_in_recep": _PLACED.format("(coolable ?o) (isCool ?o) ", "{object}", "{target}"),
    "pick_two_obj_and_place": (
        "(exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 {object}) (receptacleType ?r {target}) (inReceptacle ?o1 ?r)"
        " (exists (?o2 - object) (and (not (= ?o1 ?o2)) (objectType ?o2 {object}) (receptacleType ?r {target}) (inReceptacle ?o2 ?r))))))"
    ),
    "look_at_obj_in_light": (
        "(exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot {target}) (toggleable ?ot) (isToggled ?ot)"
        " (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))"
        " (exists (?o - object ?a - agent) (and (objectType ?o {object}) (holds ?a ?o)))"
    ),
}
_TYPED = ("objectType", "receptacleType")
_DOMAIN_OTYPES = ("KnifeType", "ButterKnifeType", "SinkType")
_DOMAIN_RTYPES = ("FridgeType", "MicrowaveType", "SinkBasinType")
"""Types that the domain's own rules name: a problem has to declare them even where it has nothing of the kind."""

Facts = Mapping[str, Sequence[tuple[str, str]]]
"""Predicate → the arguments of each fact; the second is empty where there is none."""


def parse(problem: str, wording: str) -> Scene:
    """The scene of a problem, its goal worded as given. Raises EdgexpError saying what is missing or not understood."""
    if ";" in problem:
        problem = _COMMENT.sub("", problem)
    _, has_init, rest = problem.partition("(:init")
    init, has_goal, goal = rest.partition("(:goal")
    if not has_init or not has_goal:
        raise EdgexpError("the problem has no (:init …) or no (:goal …)")
    facts: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for predicate, first, second in _FACT.findall(init):
        facts[predicate].append((first, second))
    return _scene(facts, parse_goal(goal, wording))


def parse_goal(text: str, wording: str) -> Goal:
    """The goal of a problem. Raises EdgexpError where it has none of the six shapes."""
    types = dict(_types_asked(text))
    kind = _kinds_by_shape().get(_shape(text))
    thing, target = types.get("?o") or types.get("?o1"), types.get("?ot") or types.get("?r")
    if kind is None or not thing or not target or types.get("?o2", thing) != thing:
        raise EdgexpError(f"its goal has none of the six shapes ALFWorld's games have: {' '.join(text.split())[:200]}")
    return Goal(kind, thing, target, wording)


def _atoms(goal: str) -> Iterator[tuple[str, ...]]:
    for predicate, arguments in _ATOM.findall(goal):
        yield predicate, *arguments.split()


def _types_asked(goal: str) -> Iterator[tuple[str, str]]:
    for predicate, *arguments in _atoms(goal):
        if predicate in _TYPED and len(arguments) == 2:
            yield arguments[0], arguments[1].removesuffix("Type")


def _shape(goal: str) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """What a goal says, types aside; the order of its parts does not matter."""
    atoms = {atom[:2] if atom[0] in _TYPED else atom for atom in _atoms(goal)}
    return tuple(sorted(atoms)), tuple(sorted(_CONNECTIVE.findall(goal)))


@functools.cache
def _kinds_by_shape() -> Mapping[object, GoalKind]:
    return {_shape(goal): kind for kind, goal in _GOALS.items()}


# From facts to a scene


def _scene(facts: Facts, goal: Goal) -> Scene:
    starts = facts.get("atLocation", ())
    if len(starts) != 1:
        raise EdgexpError(f"the problem says {len(starts)} times where the player starts; it has to be once")
    receptacles = sorted({name for name, _ in facts.get("receptacleType", ())}, key=str.lower)
    things = sorted(_thing_ids(facts), key=str.lower)
    everything = sorted(receptacles + things, key=str.lower)
    called = dict(zip(everything, numbered(map(_stem, everything)), strict=True))
    places: defaultdict[str, int] = defaultdict(lambda: len(places))  # numbered as they come up
    start = places[starts[0][1]]
    return Scene(
        receptacles=_receptacles(facts, receptacles, called, places),
        things=_things(facts, things, {name: i for i, name in enumerate(receptacles)}, called, places),
        goal=goal,
        fits=_fits(facts),
        start=start,
    )


def _thing_ids(facts: Facts) -> set[str]:
    """Whatever some fact says something about as a thing; what is only declared does not count, nor is it numbered."""
    about = ("objectType", "objectAtLocation", "inReceptacle", "inReceptacleObject", *_ABILITIES.values(), *_STATES.values())
    return {name for predicate in about for name, _ in facts.get(predicate, ())} | {v for _, v in facts.get("inReceptacleObject", ())}


def _stem(name: str) -> str:
    """`Sink_bar__minus_01_dot_99_bar_SinkBasin` → `sinkbasin`."""
    lower = name.lower()
    return lower.partition("_bar_")[0] + ("basin" if "basin" in lower else "")


def _receptacles(facts: Facts, names: list[str], called: Mapping[str, str], places: Mapping[str, int]) -> tuple[Receptacle, ...]:
    types = {name: type_.removesuffix("Type") for name, type_ in facts["receptacleType"]}
    location = dict(facts.get("receptacleAtLocation", ()))
    openable, opened = ({name for name, _ in facts.get(predicate, ())} for predicate in ("openable", "opened"))
    nowhere = [name for name in names if name not in location]
    if nowhere:
        raise EdgexpError(f"the problem does not say where {nowhere[0]} is")
    return tuple(Receptacle(called[name], types[name], places[location[name]], name in openable, name in opened) for name in names)


def _things(
    facts: Facts, names: list[str], receptacles: Mapping[str, int], called: Mapping[str, str], places: Mapping[str, int]
) -> tuple[Thing, ...]:
    index = {name: i for i, name in enumerate(names)}
    types = {name: type_.removesuffix("Type") for name, type_ in facts.get("objectType", ())}
    able, state = ([{name for name, _ in facts.get(p, ())} for p in table.values()] for table in (_ABILITIES, _STATES))
    lies = _indices(facts.get("inReceptacle", ()), receptacles)
    at = _indices(sorted(facts.get("objectAtLocation", ()), key=lambda fact: fact[0].lower()), places)
    inside = _indices(((vessel, thing) for thing, vessel in facts.get("inReceptacleObject", ())), index)
    return tuple(
        Thing(
            called[name],
            _kind(types.get(name, ""), *(name in having for having in able)),
            lies.get(name, ()),
            at.get(name, ()),
            inside.get(name, ()),
            *(name in having for having in state),
        )
        for name in names
    )


def _indices(facts: Iterable[tuple[str, str]], numbers: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Of `(name, other)` facts: name → the numbers of the others, ascending."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for name, other in facts:
        try:
            found[name].add(numbers[other])
        except KeyError:
            raise EdgexpError(f"the problem puts {name} in {other}, of which it says nothing") from None
    return {name: tuple(sorted(others)) for name, others in found.items()}


@functools.lru_cache(maxsize=1024)
def _kind(*values: str | bool) -> Kind:
    return Kind(*values)  # type: ignore[arg-type]


def _fits(facts: Facts) -> dict[str, frozenset[str]]:
    fits: defaultdict[str, set[str]] = defaultdict(set)
    for receptacle, thing in facts.get("canContain", ()):
        fits[receptacle.removesuffix("Type")].add(thing.removesuffix("Type"))
    return {receptacle: frozenset(things) for receptacle, things in fits.items()}


# From a scene to a problem


def write(scene: Scene) -> str:
    """The problem of a scene, as ALFWorld's domain takes it; reading it back gives the same scene.

    Raises EdgexpError where names are not as the game would number them.
    """
    receptacles = [_invented(r.name, i) for i, r in enumerate(scene.receptacles)]
    things = [_invented(t.name, i) for i, t in enumerate(scene.things)]
    _check_names(scene, receptacles, things)
    facts = "\n  ".join(_facts(scene, receptacles, things))
    goal = _GOALS[scene.goal.kind].format(object=f"{scene.goal.object}Type", target=f"{scene.goal.target}Type")
    objects = "\n  ".join(_declarations(scene, receptacles, things))
    return f"(define (problem edgexp)\n (:domain alfred)\n (:objects\n  {objects})\n (:init\n  {facts})\n (:goal (and {goal})))\n"


def _invented(name: str, index: int) -> str:
    """A PDDL name from which the game makes this name: it takes what is before `_bar_`, and adds `basin` where that occurs after it."""
    match = _WRITABLE_NAME.fullmatch(name)
    if match is None:
        raise EdgexpError(f"{name!r} cannot be written to a game file: names there are one word of a–z and a number")
    return f"{match[1]}_bar_{index:04d}" + ("_bar_basin" if match[2] else "")


def _check_names(scene: Scene, receptacles: list[str], things: list[str]) -> None:
    wanted = dict(zip(receptacles + things, [r.name for r in scene.receptacles] + [t.name for t in scene.things], strict=True))
    if sorted(receptacles) != receptacles or sorted(things) != things or len(wanted) != len(receptacles) + len(things):
        raise EdgexpError("the scene cannot be written to a game file: receptacles and things have to be sorted by lower-case type")
    for name, called in zip(sorted(wanted), numbered(map(_stem, sorted(wanted))), strict=True):
        if wanted[name] != called:
            raise EdgexpError(f"the scene cannot be written to a game file: its {wanted[name]} would be called {called} there")


def _place(number: int) -> str:
    return f"loc_bar_{number}" if number >= 0 else f"loc_bar_minus_{-number}"


def _declarations(scene: Scene, receptacles: list[str], things: list[str]) -> Iterator[str]:
    rtypes = {f"{t}Type" for t in (*(r.type for r in scene.receptacles), *scene.fits)}.union(_DOMAIN_RTYPES)
    otypes = {f"{t.kind.type}Type" for t in scene.things if t.kind.type}.union(_DOMAIN_OTYPES, [f"{scene.goal.object}Type"])
    otypes.update(f"{t}Type" for fitting in scene.fits.values() for t in fitting)
    (otypes if scene.goal.kind == "look_at_obj_in_light" else rtypes).add(f"{scene.goal.target}Type")
    places = {scene.start, *(r.place for r in scene.receptacles), *(p for t in scene.things for p in t.places)}
    yield "agent1 - agent"
    for names, type_ in ((sorted(rtypes), "rtype"), (sorted(otypes - rtypes), "otype"), (receptacles, "receptacle"), (things, "object")):
        yield from (f"{name} - {type_}" for name in names)
    yield from (f"{_place(place)} - location" for place in sorted(places))


def _facts(scene: Scene, receptacles: list[str], things: list[str]) -> Iterator[str]:
    yield f"(atLocation agent1 {_place(scene.start)})"
    for name, receptacle in zip(receptacles, scene.receptacles, strict=True):
        yield f"(receptacleType {name} {receptacle.type}Type)"
        yield f"(receptacleAtLocation {name} {_place(receptacle.place)})"
        yield from (f"({flag} {name})" for flag in ("openable", "opened") if getattr(receptacle, flag))
    for name, thing in zip(things, scene.things, strict=True):
        yield from _thing_facts(name, thing, receptacles, things)
    for target in sorted(scene.fits):
        yield from (f"(canContain {target}Type {thing}Type)" for thing in sorted(scene.fits[target]))


def _thing_facts(name: str, thing: Thing, receptacles: list[str], things: list[str]) -> Iterator[str]:
    if thing.kind.type:
        yield f"(objectType {name} {thing.kind.type}Type)"
    yield from (f"({predicate} {name})" for ability, predicate in _ABILITIES.items() if getattr(thing.kind, ability))
    yield from (f"({predicate} {name})" for state, predicate in _STATES.items() if getattr(thing, state))
    yield from (f"(inReceptacle {name} {receptacles[r]})" for r in thing.receptacles)
    yield from (f"(objectAtLocation {name} {_place(place)})" for place in thing.places)
    yield from (f"(inReceptacleObject {things[inner]} {name})" for inner in thing.contents)


_TASK = re.compile(r'"Your task is to: ((?:[^"\\]|\\.)*)"')
_OLD_PUT = re.compile(r"put (.+) in/on (.+)")


class _File(msgspec.Struct):
    """What a game file holds."""

    pddl_domain: str
    grammar: str
    pddl_problem: str
    walkthrough: list[str] | None = None
    solvable: bool = True


_decoder = msgspec.json.Decoder(_File)


class Templates(msgspec.Struct, frozen=True):
    """What ALFWorld's games have in common: the PDDL domain, and a grammar with some goal in it."""

    domain: str
    grammar: str

    @staticmethod
    def of_package() -> "Templates":
        """From the `alfworld` package, which has to be installed here. Raises EdgexpError where it is not."""
        spec = importlib.util.find_spec("alfworld")
        if spec is None or spec.origin is None:
            raise EdgexpError("the alfworld package is not installed here; install it, or name one of its game.tw-pddl files")
        return Templates.of_folder(Path(spec.origin).parent / "data")

    @staticmethod
    def of_folder(folder: Path) -> "Templates":
        """From the package's data folder, with its `alfred.pddl` and `alfred.twl2`. Raises EdgexpError where they cannot be read."""
        try:
            return Templates((folder / "alfred.pddl").read_text("utf-8"), (folder / "alfred.twl2").read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise EdgexpError(f"{folder} does not hold ALFWorld's alfred.pddl and alfred.twl2: {error}") from error

    @staticmethod
    def of_game(path: Path) -> "Templates":
        """From any game file. Raises EdgexpError where it is none."""
        file = _read(path)
        return Templates(file.pddl_domain, file.grammar)


def read(path: Path) -> Scene:
    """The scene of a game file. Raises EdgexpError naming the file where it is missing, damaged, or not one of ALFWorld's games."""
    file = _read(path)
    task = _TASK.search(file.grammar)
    if task is None:
        raise EdgexpError(f'{path}: its grammar does not say "Your task is to: …"')
    try:
        return parse(file.pddl_problem, msgspec.json.decode(f'"{task[1]}"', type=str))
    except (EdgexpError, msgspec.DecodeError) as error:
        raise EdgexpError(f"{path}: {error}") from error


def walkthrough(path: Path) -> list[str]:
    """The commands that win the game according to the file, in the wording of 2.1.2; empty where it has none. Raises as `read` does."""
    return [_OLD_PUT.sub(r"move \1 to \2", command) for command in _read(path).walkthrough or ()]


def _read(path: Path) -> _File:
    try:
        return _decoder.decode(path.read_bytes())
    except OSError as error:
        raise EdgexpError(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EdgexpError(f"{path}: not a game file, or damaged: {error}") from error


def encode(scene: Scene, templates: Templates, plan: list[str] | None = None) -> bytes:
    """A whole game file for a scene; `plan` are commands that win it. Raises EdgexpError where names do not follow the game's numbering."""
    wording = msgspec.json.encode(scene.goal.text).decode()[1:-1]
    grammar, count = _TASK.subn(lambda _: f'"Your task is to: {wording}"', templates.grammar)
    if count != 1:
        raise EdgexpError(f'the grammar says "Your task is to: …" {count} times; it has to be once')
    # The package's own grammar begins the help text with an empty line; the published games do not show it.
    grammar = grammar.replace(r'"\nAvailable commands', '"Available commands')
    return msgspec.json.encode(_File(templates.domain, grammar, write(scene), plan, solvable=True))
