"""The walls between the rooms of edgexp: who may import whom, and what else keeps the package easy to find one's way in.

`docs/architecture.md` says the same in words. The checker reads source files and imports none of them. It takes a folder and a table, so
that the tests at the end can hand it a small package with something wrong in it and see it go red.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

import edgexp

PACKAGE = Path(edgexp.__file__).parent
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"

COMMON = frozenset({"edgexp", "errors", "files", "home", "machine", "process", "progress", "redaction", "settings", "signals", "terminal"})
"""The modules at the bottom (`edgexp` is `__init__.py`). Every room may import them; they know nothing but one another."""

_LOW = frozenset({"trajectory", "gguf"})
_STORES = _LOW | {"bank", "embedding", "environments", "models"}
_ACTING = _STORES | {"retrieval", "prompt", "engine"}
_MAKING = _ACTING | {"play", "training", "export"}

ROOMS: dict[str, frozenset[str]] = {
    **dict.fromkeys(COMMON, COMMON),
    "trajectory": COMMON,
    "gguf": frozenset({"errors", "files"}),
    "environments": COMMON | {"trajectory"},
    "bank": COMMON | {"trajectory"},
    "importing": COMMON | {"trajectory", "environments"},
    "models": COMMON | {"gguf"},
    "embedding": COMMON | {"models"},
    "engine": COMMON | {"trajectory", "gguf"},
    "prompt": COMMON | {"trajectory", "engine"},
    "retrieval": COMMON | {"trajectory", "bank", "embedding"},
    "play": COMMON | _ACTING,
    "export": COMMON | _LOW | {"models", "engine", "prompt"},
    "training": COMMON | _ACTING | {"play", "export"},
    "evaluation": COMMON | (_MAKING - {"engine"}),
    "improve": COMMON | (_MAKING - {"engine", "prompt"}) | {"evaluation"},
    "serve": COMMON | (_ACTING - {"gguf", "environments"}) | {"play"},
    "checkup": COMMON | _MAKING | {"evaluation"},
    "cluster": COMMON | {"trajectory", "bank", "environments", "models", "play", "evaluation"},
    "cli": COMMON | _MAKING | {"importing", "evaluation", "checkup", "improve", "serve", "cluster"},
    "__main__": COMMON | {"cli"},
}
"""Room → the rooms it may import, besides itself. A room is a folder or a module directly in the package."""

ONLY_THE_TOKENIZER = ("prompt", "training")
"""Of the engine, these two rooms may import `engine.tokenizer` and nothing else."""

LIBRARIES: dict[str, frozenset[str]] = {
    "llama_cpp": frozenset({"engine", "gguf"}),
    "sqlite3": frozenset({"bank", "environments", "importing"}),
    "usearch": frozenset({"bank"}),
    "numkong": frozenset({"bank"}),
    "onnxruntime": frozenset({"embedding", "models", "bank"}),  # the bank only loads it, before USearch does harm
    "torch": frozenset({"training"}),
    "transformers": frozenset({"training"}),
    "peft": frozenset({"training"}),
    "unsloth": frozenset({"training"}),
    "py4j": frozenset({"environments"}),
    "httpx": frozenset({"play"}),
    "ray": frozenset({"cluster"}),
    "matplotlib": frozenset({"evaluation"}),
    "starlette": frozenset({"serve"}),
    "uvicorn": frozenset({"serve"}),
    "click": frozenset({"cli"}),
}
"""Library → the only rooms that may import it."""

LONGEST_FILE = 400
MOST_MODULES = {"": 260, "training": 15, "serve": 20, "export": 10, "cli": 22, "evaluation": 9, "evaluation.report": 8}
"""Folder → the most modules in it, `__init__` apart. A folder with a limit of its own does not count for the one around it."""


@dataclass(frozen=True)
class Edge:
    """A module knows another one: by an import, or by its name in a string, which is how child processes are started."""

    source: str
    target: str
    line: int
    runs: bool
    """False for names in strings and for imports under `if TYPE_CHECKING`: they break walls, but make no cycle."""


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, its tree, and how long it is."""

    name: str
    path: Path
    tree: ast.Module
    lines: int

    @property
    def room(self) -> str:
        """The folder or module directly in the package, the package's own name for its `__init__.py`."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else parts[0]


def read_package(root: Path) -> dict[str, Module]:
    """Every module of the package in `root`, by its dotted name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found[name] = Module(name, path, ast.parse(text, str(path)), len(text.splitlines()))
    return found


def find_edges(modules: Mapping[str, Module]) -> list[Edge]:
    """Everything that a module of `modules` knows, libraries included; imports inside functions count like those at the top."""
    return [edge for module in modules.values() for edge in _edges_of(module, modules)]


def _edges_of(module: Module, modules: Mapping[str, Module]) -> Iterator[Edge]:
    for node, runs in _walk(module.tree, runs=True):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            targets = _targets(node, module, modules)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.split(":")[0] in modules:
            targets, runs = [node.value.split(":")[0]], False
        else:
            continue
        yield from (Edge(module.name, target, node.lineno, runs) for target in targets if target != module.name)


def _walk(node: ast.AST, *, runs: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below `node`, and whether it is reached when the program runs."""
    for child in ast.iter_child_nodes(node):
        reached = runs
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and child in node.body:
            reached = False
        yield child, reached
        yield from _walk(child, runs=reached)


def _targets(node: ast.ImportFrom, module: Module, modules: Mapping[str, Module]) -> list[str]:
    """`from edgexp.bank import store` names the module `edgexp.bank.store`, `from edgexp.bank import Bank` the package."""
    base = node.module or ""
    if node.level:
        package = module.name.split(".") if module.path.name == "__init__.py" else module.name.split(".")[:-1]
        base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
    return [f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base for alias in node.names]


def find_broken_walls(root: Path, rooms: Mapping[str, frozenset[str]], libraries: Mapping[str, frozenset[str]] = LIBRARIES) -> list[str]:
    """Imports that the tables forbid, and rooms that only one of package and table knows."""
    modules = read_package(root)
    here = {module.room for module in modules.values()}
    wrong = [f"{room}: a room that the table does not know" for room in sorted(here - set(rooms))]
    wrong += [f"{room}: stands in the table, but is not there" for room in sorted(set(rooms) - here)]
    for edge in find_edges(modules):
        room, top = modules[edge.source].room, edge.target.split(".")[0]
        if top == root.name:
            other = modules[edge.target].room if edge.target in modules else edge.target
            if other != room and other not in rooms.get(room, frozenset()):
                wrong.append(f"{edge.source}:{edge.line} imports {edge.target}, but {room} may not know {other}")
        elif room not in libraries.get(top, {room}):
            wrong.append(f"{edge.source}:{edge.line} imports {top}, which is for {', '.join(sorted(libraries[top]))} only")
    return wrong


def find_cycles(root: Path) -> list[str]:
    """Groups of modules that import one another, lazily or not, directly or by others."""
    modules = read_package(root)
    after: dict[str, set[str]] = {name: set() for name in modules}
    for edge in find_edges(modules):
        if edge.runs and edge.target in modules:
            after[edge.source].add(edge.target)
    reached = {name: _reachable(name, after) for name in modules}
    groups = {tuple(sorted(other for other in reached[name] if name in reached[other])) for name in modules if name in reached[name]}
    return [" <-> ".join(group) for group in sorted(groups)]


def _reachable(start: str, after: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    left = list(after[start])
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += after[name]
    return seen


def find_untidy_modules(root: Path) -> list[str]:
    """Files that are too long, modules without a docstring, and modules that share a name."""
    wrong, first = [], dict[str, Module]()
    for module in read_package(root).values():
        if module.lines > LONGEST_FILE:
            wrong.append(f"{module.name}: {module.lines} lines, at most {LONGEST_FILE}")
        if not ast.get_docstring(module.tree):
            wrong.append(f"{module.name}: no docstring")
        if not module.path.stem.startswith("__"):
            other = first.setdefault(module.path.stem, module)
            if other is not module:
                wrong.append(f"{module.name} and {other.name} have the same name")
    return wrong


def count_modules(root: Path, limits: Mapping[str, int]) -> dict[str, int]:
    """Folder of `limits` → modules in it, `__init__` apart. The folder `""` is the whole package; it counts everything."""
    counts = dict.fromkeys(limits, 0)
    for path in root.rglob("*.py"):
        if path.stem == "__init__":
            continue
        inside = ".".join(path.relative_to(root).parts[:-1])
        counts[""] += 1
        homes = [folder for folder in limits if folder and (inside == folder or inside.startswith(folder + "."))]
        if homes:
            counts[max(homes, key=len)] += 1
    return counts


def find_rooms_in_the_map(text: str) -> set[str]:
    """The rooms that the table under the heading "Rooms" names: what stands in code quotes in its first column."""
    section = re.split(r"^## ", text.split("\n## Rooms\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return {Path(name).stem for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.fixture(scope="module")
def known_to() -> dict[str, set[str]]:
    """Room → every module and library that it knows."""
    modules = read_package(PACKAGE)
    known: dict[str, set[str]] = {}
    for edge in find_edges(modules):
        known.setdefault(modules[edge.source].room, set()).add(edge.target)
    return known


def test_imports_point_one_way():
    wrong = find_broken_walls(PACKAGE, ROOMS)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ONLY_THE_TOKENIZER)
def test_of_the_engine_only_the_tokenizer_is_known_to(room, known_to):
    assert {target for target in known_to[room] if target.startswith("edgexp.engine")} <= {"edgexp.engine.tokenizer"}


def test_play_calls_no_native_code(known_to):
    assert "edgexp.engine.native" not in known_to["play"]


def test_no_modules_import_one_another():
    wrong = find_cycles(PACKAGE)
    assert not wrong, "\n".join(wrong)


def test_modules_are_short_described_and_named_once():
    wrong = find_untidy_modules(PACKAGE)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", MOST_MODULES)
def test_there_are_not_too_many_modules(folder):
    assert count_modules(PACKAGE, MOST_MODULES)[folder] <= MOST_MODULES[folder]


def test_the_map_names_the_rooms_that_exist():
    rooms = {module.room for module in read_package(PACKAGE).values()} - {"edgexp", "__main__"}
    assert find_rooms_in_the_map(ARCHITECTURE.read_text(encoding="utf-8")) == rooms


def test_the_table_has_no_circle():
    """Two rooms that may import each other would be one room. The common modules are one room in this sense."""
    above = {room: known - COMMON for room, known in ROOMS.items() if room not in COMMON}
    assert not {room for room in above if room in _reachable(room, above)}


# The checker itself: small packages with one thing wrong each.

HELD = {"fake": frozenset[str](), "low": frozenset[str](), "high": frozenset({"low"})}
"""The fake package's table: `high` may import `low`, and nothing else may import anything."""

SOUND = {"low/store.py": '"""Keeps."""\n', "high/agent.py": '"""Acts."""\nfrom fake.low import store\n'}
RING = '"""Turns."""\nfrom fake.low import wheel\n'


@pytest.fixture
def package(tmp_path):
    """A function that writes a package with two rooms and nothing wrong, and more files into it."""

    def write(files: Mapping[str, str] = MappingProxyType({})) -> Path:
        for name, text in {**SOUND, **files}.items():
            path = tmp_path / "fake" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            for folder in path.relative_to(tmp_path).parents:
                if folder.name and not (tmp_path / folder / "__init__.py").exists():
                    (tmp_path / folder / "__init__.py").write_text('"""A room."""\n')
        return tmp_path / "fake"

    return write


def test_nothing_is_wrong_with_a_sound_package(package):
    root = package()
    assert (find_broken_walls(root, HELD), find_cycles(root), find_untidy_modules(root)) == ([], [], [])


@pytest.mark.parametrize(
    "text",
    [
        "import fake.high.agent\n",
        "from fake.high import agent\n",
        "from fake.high.agent import act\n",
        "from ..high import agent\n",
        "from .. import high\n",
        "def late():\n    from fake.high import agent\n",
        "class Late:\n    def act(self):\n        if self:\n            import fake.high.agent\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fake.high import agent\n",
        "import typing\nif typing.TYPE_CHECKING:\n    from fake.high import agent\n",
        "import importlib\nimportlib.import_module('fake.high.agent')\n",
        "command = ['python', '-m', 'fake.high.agent']\n",
        "target = 'fake.high.agent:Agent'\n",
    ],
)
def test_a_forbidden_import_is_found(package, text):
    root = package({"low/shelf.py": f'"""Keeps more."""\n{text}'})
    (wrong,) = find_broken_walls(root, HELD)
    assert wrong.startswith("fake.low.shelf:") and "low may not know high" in wrong


def test_an_import_of_a_module_that_is_not_there_is_found(package):
    assert find_broken_walls(package({"low/shelf.py": '"""Keeps."""\nimport fake.gone\n'}), HELD)


def test_a_library_in_the_wrong_room_is_found(package):
    asks, keeps = '"""Asks."""\ndef ask():\n    import sqlite3.dbapi2\n', '"""Keeps."""\nfrom sqlite3 import connect\n'
    root = package({"high/query.py": asks, "low/table.py": keeps})
    (wrong,) = find_broken_walls(root, HELD, {"sqlite3": frozenset({"low"})})
    assert wrong == "fake.high.query:3 imports sqlite3, which is for low only"


def test_a_room_beside_the_table_is_found(package):
    root = package({"attic/box.py": '"""Old things."""\n'})
    assert find_broken_walls(root, {**HELD, "cellar": frozenset()}) == [
        "attic: a room that the table does not know",
        "cellar: stands in the table, but is not there",
    ]


@pytest.mark.parametrize("late", ["from fake.low import ring", "import fake.low.ring", "from .ring import turn", "from . import ring"])
def test_a_cycle_by_an_import_inside_a_function_is_found(package, late):
    root = package({"low/ring.py": RING, "low/wheel.py": f'"""Rolls."""\ndef roll():\n    {late}\n'})
    assert find_cycles(root) == ["fake.low.ring <-> fake.low.wheel"]


def test_a_cycle_through_a_package_is_found(package):
    low, ring = '"""Low."""\nfrom fake.low.ring import turn\n', '"""Turns."""\ndef turn():\n    import fake.low\n'
    root = package({"low/__init__.py": low, "low/ring.py": ring})
    assert find_cycles(root) == ["fake.low <-> fake.low.ring"]


def test_types_alone_make_no_cycle(package):
    typed = '"""Rolls."""\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fake.low import ring\nelse:\n    ring = None\n'
    assert find_cycles(package({"low/ring.py": RING, "low/wheel.py": typed})) == []


def test_what_stands_beside_a_check_of_types_counts(package):
    other = '"""Rolls."""\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    from fake.low import ring\n'
    assert find_cycles(package({"low/ring.py": RING, "low/wheel.py": other}))


def test_two_modules_of_one_name_are_found(package):
    assert find_untidy_modules(package({"high/store.py": '"""Sells."""\n'})) == ["fake.low.store and fake.high.store have the same name"]


def test_a_module_without_a_docstring_is_found(package):
    root = package({"high/quiet.py": "value = 1\n", "attic/__init__.py": ""})
    assert find_untidy_modules(root) == ["fake.attic: no docstring", "fake.high.quiet: no docstring"]


def test_a_file_that_is_too_long_is_found(package):
    text = '"""Long."""\n' + "value = 1\n" * LONGEST_FILE
    assert find_untidy_modules(package({"high/long.py": text})) == ["fake.high.long: 401 lines, at most 400"]


def test_modules_are_counted_once(package):
    root = package({"high/deep/one.py": '"""1."""\n', "high/deep/two.py": '"""2."""\n', "high/deep/more/three.py": '"""3."""\n'})
    assert count_modules(root, {"": 0, "high": 0, "high.deep": 0}) == {"": 5, "high": 1, "high.deep": 3}


def test_the_map_is_read_from_its_table_alone():
    rooms = "## Rooms\n\n| room | knows |\n|---|---|\n| `low/` | `high` |\n| `a.py`, `b.py` | x |\n\n"
    text = f"# Map\n\n| `wrong` | x |\n\n{rooms}## Words\n\n| `not` | x |\n"
    assert find_rooms_in_the_map(text) == {"low", "a", "b"}
