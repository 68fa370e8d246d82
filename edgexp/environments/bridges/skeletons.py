"""Beginnings of environments of one's own that play at once: a class, a program that speaks JSON lines, or a folder of tasks.

Knows where they are written, and how they are played then. Overwrites nothing.
"""

import keyword
import re
import shutil
import sys
from pathlib import Path
from typing import Literal

from edgexp import files
from edgexp.errors import EdgexpError, UsageError

Kind = Literal["class", "process", "tasks"]

CLASS = '''"""An environment for edgexp. Change the texts and the rules; docs/environments.md tells of every member."""

from edgexp.environments import Outcome, Start
from edgexp.errors import EdgexpError, UsageError
from edgexp.trajectory import Task


class CLASS:
    """Three doors; the sign on the wall says which one to open."""

    name, version, max_steps = "NAME", "1", 5
    way_out = 0  # the number of a door; 0 while no episode is under way

    def splits(self):
        return ("train", "test")

    def tasks(self, split):
        if split not in self.splits():
            raise UsageError(f"NAME has no split {split!r}; it has train, test")
        return [Task(f"NAME/{split}/{n}", "NAME", split, "door") for n in range(30)]

    def task(self, task_id):
        for task in (*self.tasks("train"), *self.tasks("test")):
            if task.id == task_id:
                return task
        raise UsageError(f"NAME has no task {task_id!r}; ids look like NAME/train/0")

    def instructions(self):
        return "You stand before doors. Answer with one action: read sign, or open door [number]."

    def reset(self, task):
        self.way_out = int(self.task(task.id).id.rsplit("/", 1)[1]) % 3 + 1
        return Start("leave the room.", "You see door 1, door 2, door 3 and a sign.")

    def step(self, action):
        if not self.way_out:
            raise EdgexpError("no episode is under way: reset the environment with a task first")
        if action == "read sign":
            return Outcome(f"The sign says: the way out is door {self.way_out}.")
        if action != f"open door {self.way_out}":
            return Outcome("A brick wall." if action in self.admissible() else "Nothing happens.")
        self.way_out = 0
        return Outcome("You are out.", reward=1.0, done=True, success=True, score=1.0)

    def close(self):
        self.way_out = 0

    def admissible(self):
        return ["open door 1", "open door 2", "open door 3", "read sign"] if self.way_out else []

    def expert(self):
        return Expert()


class Expert:
    """Reads the sign and does what it says."""

    def begin(self, goal, observation):
        pass

    def act(self, observation):
        return f"open door {observation[-2]}" if "way out" in observation else "read sign"
'''

PROCESS = '''"""An environment for edgexp in a program of its own. It may be in any language; docs/environments.md has the protocol."""

import json
import sys

way_out = 0


def task(task_id):
    name, split, number = task_id.split("/")
    if name != "NAME" or split not in ("train", "test") or int(number) not in range(30):
        raise ValueError(f"there is no task {task_id}")
    return {"id": task_id, "environment": name, "split": split, "type": "door"}


def answer(call, given):
    global way_out
    if call == "hello":
        return {"name": "NAME", "version": "1", "max_steps": 5, "splits": ["train", "test"], "offers": ["admissible", "expert"],
                "instructions": "You stand before doors. Answer with one action: read sign, or open door [number]."}
    if call == "tasks":
        return [task(f"NAME/{given['split']}/{n}") for n in range(30)]
    if call == "task":
        return task(given["task_id"])
    if call == "reset":
        way_out = int(given["task"]["id"].split("/")[2]) % 3 + 1
        return {"goal": "leave the room.", "observation": "You see three doors and a sign."}
    if call == "admissible":
        return ["read sign", "open door 1", "open door 2", "open door 3"]
    if call == "begin":
        return None
    if call == "act":
        return f"open door {given['observation'][-2]}" if "way out" in given["observation"] else "read sign"
    if given["action"] == "read sign":
        return {"observation": f"The sign says: the way out is door {way_out}."}
    won = given["action"] == f"open door {way_out}"
    return {"observation": "You are out." if won else "A brick wall.",
            "reward": float(won), "done": won, "success": won, "score": float(won)}


for line in sys.stdin:  # standard output is for answers alone; remarks belong on standard error
    asked = json.loads(line)
    try:
        said = {"answer": answer(asked["call"], asked["arguments"])}
    except ValueError as error:
        said = {"error": str(error)}
    print(json.dumps({"id": asked["id"], **said}), flush=True)
'''

SQL_TASK = '''instruction = "How many books has Austen written?"
kind = "sqlite"
split = "train"
solution = ["SELECT count(*) FROM books WHERE author = 'Austen'"]

[setup]
script = """
CREATE TABLE books (title TEXT, author TEXT);
INSERT INTO books VALUES ('Emma', 'Austen'), ('Persuasion', 'Austen'), ('Dracula', 'Stoker');
"""

[check]
rows = [[2]]
'''

SHELL_TASK = '''instruction = "Write the number of lines of words.txt into the file count.txt."
kind = "shell"
split = "train"
max_steps = 5
solution = ["wc -l < words.txt > count.txt"]

[limits]
seconds = 5

[check]
command = "[ $(cat count.txt) = 3 ]"
'''


def write_skeleton(name: str, kind: Kind, folder: Path) -> tuple[Path, str]:
    """Write a skeleton into a folder; what was written, and the command that plays it.

    Raises UsageError for a name that cannot be, EdgexpError where something of that name is there, or it cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,49}", name) or keyword.iskeyword(name):
        raise UsageError(f"{name!r} cannot be the name: small letters, digits and underscores are wanted, and a letter first")
    path = folder / (name if kind == "tasks" else f"{name}.py")
    if path.exists() or path.is_symlink():
        raise EdgexpError(f"{files.shown(path)} is there already, and nothing is written over it")
    title = "".join(part.capitalize() for part in name.split("_")) or "Own"
    written = {"class": {path: CLASS}, "process": {path: PROCESS}, "tasks": _tasks(path)}[kind]
    try:
        for place, text in written.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            files.write_atomic(place, text.replace("class CLASS", f"class {title}").replace("NAME", name).encode())
    except OSError as error:
        raise EdgexpError(f"{files.shown(path)}: cannot be written: {error.strerror or error}") from error
    python = "python" if sys.platform == "win32" else "python3"
    return path, {"class": f"./{name}.py:{title}", "process": f'"process:{python} {name}.py"', "tasks": f"./{name}"}[kind]


def _tasks(path: Path) -> dict[Path, str]:
    """An SQL task, and one of the shell where that can be played."""
    shell = {path / "count-lines" / "task.toml": SHELL_TASK, path / "count-lines" / "words.txt": "one\ntwo\nthree\n"}
    return {path / "count-books" / "task.toml": SQL_TASK, **(shell if shutil.which("bwrap") else {})}
