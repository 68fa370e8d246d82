"""A program for tests that speaks the protocol, and does one thing wrong where its arguments say so: `spoken_doors.py WHERE WHAT [FILE]`.

WHERE is a member, or `-` for none. WHAT is a way of `do_wrong`, or Python of what to answer with. With a FILE, which is then made, the
wrong thing is done once.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

WAY = 0


def task(split: str, number: int) -> dict:
    return {"id": f"spoken/{split}/{number}", "environment": "spoken", "split": split, "type": "door"}


def answer(call: str, given: dict) -> object:
    global WAY
    if call == "hello":
        offers = ["admissible", "expert", "saw", "advise"]
        return {"name": "spoken", "version": "1", "max_steps": 5, "splits": ["train", "test"], "instructions": "Open.", "offers": offers}
    if call == "tasks":
        return [task(given["split"], n) for n in range(5)]
    if call == "task":
        _, split, number = given["task_id"].split("/")
        return task(split, int(number))
    if call == "reset":
        WAY = int(given["task"]["id"].rsplit("/", 1)[1]) % 3
        return {"goal": "leave.", "observation": f"Dörs. The sign says {WAY}."}
    if call == "step":
        won = given["action"] == f"open {WAY}"
        return {"observation": "Out." if won else "A wall.", "reward": float(won), "done": won, "success": won, "score": float(won)}
    if call == "admissible":
        return ["open 2", "open 0", "open 1"]
    if call in ("act", "advise"):
        return f"open {WAY}"
    return None


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def do_wrong(what: str, number: int, right: object) -> None:
    """Answer wrongly."""
    if what == "hang":
        time.sleep(1000)
    elif what == "die":
        print("I am\ndying", file=sys.stderr, flush=True)
        os._exit(3)
    elif what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "exit-in-line":
        sys.stdout.write('{"id"')
        sys.stdout.flush()
        os._exit(0)
    elif what == "child":  # leaves a child that holds its output, and dies
        subprocess.Popen(["sleep", "1000"])
        os._exit(0)
    elif what == "noise":
        tell("Loading…")
    elif what == "twice":
        tell(json.dumps({"id": number, "answer": right}) + "\n" + json.dumps({"id": number, "answer": right}))
    elif what == "blank":
        tell("")
    elif what == "garbage":
        os.write(1, b'\xff\xfe{"id": 1}\n')
    elif what == "latin":
        os.write(1, json.dumps({"id": number, "answer": right}).encode().replace(b"D", b"\xf6") + b"\n")
    elif what == "surrogate":
        tell(f'{{"id": {number}, "answer": {{"goal": "\\ud800", "observation": "\\ud800"}}}}')
    elif what == "huge":
        for _ in range(20):
            os.write(1, b" " * 1_000_000)
    elif what == "flood":
        while True:
            os.write(1, b"{}\n" * 1000)
    elif what == "deep":
        tell("[" * 100_000)
    elif what == "nan":
        tell(f'{{"id": {number}, "answer": {{"observation": "o", "reward": NaN}}}}')
    elif what == "inf":
        tell(f'{{"id": {number}, "answer": {{"observation": "o", "reward": 1e999}}}}')
    elif what == "no-id":
        tell(json.dumps({"answer": right}))
    elif what == "true-id":
        tell(json.dumps({"id": True, "answer": right}))
    elif what == "both":
        tell(json.dumps({"id": number, "answer": right, "error": "x"}))
    elif what == "neither":
        tell(json.dumps({"id": number}))
    elif what == "bad-error":
        tell(json.dumps({"id": number, "error": 5}))
    elif what == "closed":
        os.close(1)
        time.sleep(1000)
    else:
        tell(f'{{"id": {number}, "answer": {json.dumps(eval(what))}}}')


def main() -> None:
    where, what = [*sys.argv[1:3], "-", "-"][:2]
    mark = Path(sys.argv[3]) if len(sys.argv) > 3 else None  # says that the wrong thing was done already
    print("starting", file=sys.stderr, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            right = answer(asked["call"], asked["arguments"])
        except (ValueError, KeyError) as error:
            tell(json.dumps({"id": asked["id"], "error": f"no such thing: {error}"}))
            continue
        if asked["call"] == where and not (mark and mark.exists()):
            if mark:
                mark.touch()
            do_wrong(what, asked["id"], right)
        else:
            tell(json.dumps({"id": asked["id"], "answer": right}))


if __name__ == "__main__":
    main()
