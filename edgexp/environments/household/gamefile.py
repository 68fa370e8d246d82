"""Game files, `game.tw-pddl`: read one as a scene, write a scene as one that the real `alfworld` package loads. Knows no rules.

Such a file is JSON with the rules (a PDDL domain), the texts (a grammar), the scene (a PDDL problem) and a plan that wins. The engine has
rules and texts of its own, so reading takes the problem, and of the grammar only how the goal is worded. Files older than ALFWorld 2.1.2
play in the wording of 2.1.2, as after ALFWorld's own upgrade script: `move X to Y` for `put X in/on Y`. Writing needs ALFWorld's rules and
grammar from somewhere: the installed package, or any of its games (`Templates`).
"""

import importlib.util
import re
from pathlib import Path

import msgspec

from edgexp.environments.household import pddl
from edgexp.environments.household.scene import Scene
from edgexp.errors import EdgexpError

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
        return pddl.parse(file.pddl_problem, msgspec.json.decode(f'"{task[1]}"', type=str))
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
    return msgspec.json.encode(_File(templates.domain, grammar, pddl.write(scene), plan, solvable=True))
