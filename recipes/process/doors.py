"""An environment of another program, for `edgexp run "process:python3 recipes/process/doors.py"`."""
import json
import sys


def task(task_id):
    environment, split, number = task_id.split("/")
    int(number)
    return {"id": task_id, "environment": environment, "split": split, "type": "door"}


def answer(call, given):
    global way_out
    if call == "hello":
        return {"name": "doors", "version": "1", "max_steps": 5, "splits": ["train", "test"],
                "instructions": "Answer with one action: read sign, or open door [number].",
                "offers": ["admissible"]}
    if call == "tasks":
        return [task(f"doors/{given['split']}/{n}") for n in range(30)]
    if call == "task":
        return task(given["task_id"])
    if call == "reset":
        way_out = int(given["task"]["id"].split("/")[2]) % 3 + 1
        return {"goal": "leave the room.", "observation": "You see three doors and a sign."}
    if call == "admissible":
        return ["read sign", "open door 1", "open door 2", "open door 3"]
    if given["action"] == "read sign":
        return {"observation": f"The sign says: the way out is door {way_out}."}
    won = given["action"] == f"open door {way_out}"
    return {"observation": "You are out." if won else "A brick wall.",
            "reward": float(won), "done": won, "success": won, "score": float(won)}


for line in sys.stdin:
    asked = json.loads(line)
    try:
        said = {"answer": answer(asked["call"], asked["arguments"])}
    except ValueError as error:
        said = {"error": f"{asked['call']}: {error}"}
    print(json.dumps({"id": asked["id"], **said}), flush=True)
