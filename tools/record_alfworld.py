"""Compare the household engine with the real `alfworld` package, command by command, and record what the package says for the test suite.

    python tools/record_alfworld.py                  record games of our generator in tests/data/alfworld_recording.json.xz
    python tools/record_alfworld.py --official 300   compare on that many official games under ALFWORLD_DATA; records nothing

The package lives in an environment of its own (`--venv`), made with uv on first use; that takes some minutes and a C compiler. Walks are
random and seeded: valid commands, odd ones, and in half the games first the commands that win. The first difference of a game is printed,
and the exit code is 1 then.
"""

import argparse
import json
import lzma
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from edgexp.environments.household import pddl
from edgexp.environments.household.generator import generate
from edgexp.environments.household.scene import GOAL_KINDS, Scene
from edgexp.environments.household.searcher import SearchExpert
from edgexp.environments.household.simulator import Game
from edgexp.environments.household.texts import NOTHING
from edgexp.errors import EdgexpError

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "tests" / "data" / "alfworld_recording.json.xz"
PACKAGE = "alfworld==0.4.2"
ODD = (
    "", " ", "look ", "\tinventory", "look around", "LOOK", "go", "go to", "go to ", "go to nowhere 1", "go to  drawer 1", "open", "close",
    "take", "take apple 1", "take apple 1 from", "take from fridge 1", "move to", "put apple 1 in/on fridge 1", "use", "use lamp", "heat",
    "heat with microwave 1", "slice apple 1", "examine", "examine room", "help me", "inventory 1", "go to drawer 1\n", "look\nlook", "\0",
    "geh zum Kühlschrank 1", "看", "{r}", "{r.name}", "#look.feedback#", "<|im_end|>", "x" * 5000,
)  # fmt: skip
"""Actions that mean nothing, or nearly something."""
WEIGHTS = {"go": 6, "open": 6, "close": 3, "take": 8, "move": 5, "examine": 4, "use": 6, "heat": 8, "cool": 8, "clean": 6, "slice": 8}
"""How likely a verb is among those that are possible; 1 for the rest."""


class Job(msgspec.Struct):
    """A game for both sides: our scene, the file the package loads, and commands that win, where known."""

    scene: Scene
    file: Path
    plan: list[str]


class RealGame:
    """The package in a child process; see alfworld_player.py."""

    def __init__(self, python: Path) -> None:
        # The package sorts what it prints, but a fixed hash seed leaves no doubt that a recording can be made again.
        settings = os.environ | {"PYTHONHASHSEED": "0"}
        player = [str(python), str(Path(__file__).with_name("alfworld_player.py"))]
        self._process = subprocess.Popen(player, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def play(self, file: Path, commands: Sequence[str]) -> dict[str, Any]:
        """What the package says: `seen` (text, admissible, won; first without any command), `load_seconds`, `play_seconds`."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps({"file": str(file), "commands": commands}), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise EdgexpError(f"the alfworld package died on {file}; what it said is above")
        return dict(json.loads(answer))


def ensure_package(venv: Path) -> Path:
    """The Python of the environment that holds the package; makes it first where it is missing."""
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print(f"making {venv} with {PACKAGE}: some minutes", file=sys.stderr)
        subprocess.run(["uv", "venv", "--python", "3.11", str(venv)], check=True)
        subprocess.run(["uv", "pip", "install", "--python", str(python), PACKAGE], check=True)
    return python


def generated_jobs(count: int, folder: Path, python: Path, seed: int) -> Iterator[Job]:
    """Games of our generator, the six kinds in turn, every third with something unusual, written as the files the package takes."""
    where = "import importlib.util as u; print(u.find_spec('alfworld').submodule_search_locations[0])"
    package = subprocess.run([str(python), "-c", where], check=True, capture_output=True, text=True).stdout.strip()
    templates = pddl.Templates.of_folder(Path(package) / "data")
    for number in range(count):
        scene = generate(GOAL_KINDS[number % len(GOAL_KINDS)], seed + number)
        if number % 3 == 2:
            scene = unusual(scene, random.Random(f"{seed}/{number}/unusual"))
        file = folder / f"{number}.tw-pddl"
        file.write_bytes(pddl.encode(scene, templates))
        yield Job(scene, file, expert_plan(scene))


def official_jobs(count: int, data: Path, seed: int) -> Iterator[Job]:
    """Official games, drawn at random from all splits that are there."""
    files = sorted(data.glob("json_2.1.1/*/*/*/game.tw-pddl"))
    if not files:
        raise EdgexpError(f"{data} holds no official games (json_2.1.1/…/game.tw-pddl)")
    for file in random.Random(seed).sample(files, min(count, len(files))):
        yield Job(pddl.read(file), file, pddl.walkthrough(file))


def expert_plan(scene: Scene) -> list[str]:
    """What the searching expert does, until it wins or gives up."""
    game, expert, plan = Game(scene), SearchExpert(), list[str]()
    observation = game.observation()
    expert.begin(scene.goal.text, observation)
    while not game.won and len(plan) < 100 and (command := expert.act(observation)):
        plan.append(command)
        observation = game.step(command)
    return plan


def unusual(scene: Scene, draw: random.Random) -> Scene:
    """The same scene with what official files have now and then, or could have: shared places, things in two receptacles or in a vessel."""
    change = msgspec.structs.replace
    receptacles, things = list(scene.receptacles), list(scene.things)
    for _ in range(4):
        a, b, c = (draw.randrange(len(receptacles)) for _ in range(3))
        receptacles[a] = change(receptacles[a], place=receptacles[b].place)
        receptacles[c] = change(receptacles[c], opened=receptacles[c].openable)
    for index, thing in enumerate(things):
        state = {name: True for name in ("clean", draw.choice(("hot", "cool")), "sliced", "toggled") if draw.random() < 0.1}
        other, inner = draw.randrange(len(receptacles)), draw.randrange(len(things))
        if draw.random() < 0.2:
            both = {*thing.receptacles, other}
            thing = change(thing, receptacles=tuple(sorted(both)), places=(receptacles[other].place,))
        inside = thing.kind.vessel and inner != index and draw.random() < 0.5
        kind = change(thing.kind, portable=thing.kind.portable or thing.kind.toggleable)  # a lamp to carry
        things[index] = change(thing, kind=kind, contents=(inner,) if inside else (), **state)
    start = receptacles[0].place if draw.random() < 0.2 else scene.start
    return change(scene, receptacles=tuple(receptacles), things=tuple(things), start=start)


def errand(scene: Scene, draw: random.Random) -> list[str]:
    """Slice something, put the knife back, then heat, cool and clean the slices and look at them: what chance alone hardly does."""
    lying = [thing for thing in scene.things if thing.receptacles]
    knives = [thing for thing in lying if thing.kind.type in ("Knife", "ButterKnife")]
    food = [thing for thing in lying if thing.kind.sliceable] or [thing for thing in lying if thing.kind.portable]
    if not knives or not food:
        return []
    knife, piece = draw.choice(knives), draw.choice(food)
    block, plate = (scene.receptacles[thing.receptacles[0]].name for thing in (knife, piece))
    knife_, piece_ = knife.name, piece.name
    commands = [f"go to {block}", f"open {block}", f"take {knife_} from {block}", f"go to {plate}", f"slice {piece_} with {knife_}", "look"]
    commands += [f"go to {block}", f"move {knife_} to {block}", f"go to {plate}", f"open {plate}", f"take {piece_} from {plate}"]
    for verb, where in draw.sample([("heat", "microwave 1"), ("cool", "fridge 1"), ("clean", "sinkbasin 1")], 3):
        commands += [f"go to {where}", f"{verb} {piece_} with {where}", f"examine {piece_}"]
    return commands


def walk(job: Job, steps: int, draw: random.Random) -> list[str]:
    """Commands for a game: often its plan or an errand first; then random valid commands and, one time in ten, an odd one."""
    game, chance = Game(job.scene), draw.random()
    commands = list(job.plan if chance < 0.4 else errand(job.scene, draw) if chance < 0.7 else [])
    for command in commands:
        game.step(command)
    for _ in range(steps):
        verb, _, rest = commands[-1].partition(" ") if commands else ("", "", "")
        looks_again = verb in ("heat", "cool", "clean", "take") and draw.random() < 0.5
        commands.append(f"examine {rest.partition(' with ')[0].partition(' from ')[0]}" if looks_again else _any_command(game, draw))
        game.step(commands[-1])
    return commands


def _any_command(game: Game, draw: random.Random) -> str:
    """Verbs are drawn first, and rare ones rather, so that going elsewhere does not drown the rest."""
    if draw.random() < 0.1:
        return draw.choice(ODD)
    by_verb: defaultdict[str, list[str]] = defaultdict(list)
    for command in game.admissible():
        by_verb[command.partition(" ")[0]].append(command)
    verbs = sorted(by_verb)
    return draw.choice(by_verb[draw.choices(verbs, [WEIGHTS.get(verb, 1) for verb in verbs])[0]])


def ours(scene: Scene, commands: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What our engine says, in the form of the package's report."""
    game = Game(scene)
    yield {"text": game.intro(), "admissible": game.admissible(), "won": game.won}
    for command in commands:
        text = game.step(command)
        yield {"text": text, "admissible": game.admissible(), "won": game.won}


def difference(job: Job, commands: Sequence[str], seen: Sequence[dict[str, Any]]) -> str | None:
    """The first thing our engine says otherwise, in a line."""
    for number, (mine, theirs) in enumerate(zip(ours(job.scene, commands), seen, strict=True)):
        for part in ("text", "admissible", "won"):
            if mine[part] != theirs[part]:
                a, b = _only_different(mine[part], theirs[part])
                return f"{job.file}, after {commands[:number]}: {part} is {a!r}, in the package {b!r}"
    return None


def _only_different(mine: Any, theirs: Any) -> tuple[Any, Any]:
    return (sorted(set(mine) - set(theirs)), sorted(set(theirs) - set(mine))) if isinstance(mine, list) else (mine, theirs)


def main() -> int:
    """Run what the command line asks for."""
    options = arguments()
    python = ensure_package(options.venv)
    tally, records = Counter[str](), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder, RealGame(python) as real:
        if options.official:
            jobs = official_jobs(options.official, options.data, options.seed)
        else:
            jobs = generated_jobs(options.games, Path(folder), python, options.seed)
        for number, job in enumerate(jobs):
            commands = walk(job, options.steps, random.Random(f"{options.seed}/{number}"))
            seen = real.play(job.file, commands)["seen"]
            count(tally, commands, seen)
            if found := difference(job, commands, seen):
                tally["games that differ"] += 1
                print(found, flush=True)
            records.append({"scene": job.scene, "commands": commands, "seen": seen})
    print(", ".join(f"{what}: {number}" for what, number in sorted(tally.items())))
    if not options.official:
        save(records, options.out)
    return min(1, tally["games that differ"])


def count(tally: Counter[str], commands: Sequence[str], seen: Sequence[dict[str, Any]]) -> None:
    """Add a game to the tally: how long it was, whether it was won, which verbs did something."""
    tally.update(["games", *(["games won"] if any(state["won"] for state in seen) else [])])
    for command, state in zip(commands, seen[1:], strict=True):
        tally.update(["commands", "invalid" if state["text"] == NOTHING else command.split()[0]])


def save(records: list[dict[str, Any]], path: Path) -> None:
    """Write the recording: the package's words over our own scenes, nothing of the official data."""
    data = msgspec.json.encode({"package": PACKAGE, "games": records}, order="deterministic")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
    print(f"{path}: {path.stat().st_size:,} bytes, {len(records)} games")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=ROOT / ".alfworld-venv", help=f"environment with {PACKAGE}; made if missing")
    parser.add_argument("--games", type=int, default=48, help="generated games to record")
    parser.add_argument("--official", type=int, default=0, metavar="N", help="compare on N official games instead")
    parser.add_argument("--data", type=Path, default=os.environ.get("ALFWORLD_DATA"), help="official games (default: ALFWORLD_DATA)")
    parser.add_argument("--steps", type=int, default=40, help="random commands a game")
    parser.add_argument("--seed", type=int, default=2, help="the default one covers every text there is")
    parser.add_argument("--out", type=Path, default=RECORDING, help="where the recording goes")
    options = parser.parse_args()
    if options.official and not options.data:
        parser.error("--official needs --data or ALFWORLD_DATA")
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgexpError as error:
        sys.exit(str(error))
