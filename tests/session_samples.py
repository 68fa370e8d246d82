"""The same small session as several programs keep it: the user wants a file read, the assistant reads it, and the user says thanks."""

import json
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

GOAL, TEXT, RESULT, ANSWER, THANKS = "What is in a.txt?", "I look.", "hello", "It says hello.", "Thanks!"
CALL = {"path": "a.txt"}
ACTIONS = ['I look.\nread(path="a.txt")', ANSWER]
OBSERVATIONS = [RESULT, THANKS]


def openai(**more: Any) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "system", "content": "You help."},
            {"role": "user", "content": GOAL},
            {
                "role": "assistant",
                "content": TEXT,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "read", "arguments": json.dumps(CALL)}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": RESULT},
            {"role": "assistant", "content": ANSWER, "weight": 1},
            {"role": "user", "content": [{"type": "text", "text": THANKS}]},
        ],
        "tools": [],
        **more,
    }


def sharegpt(**more: Any) -> dict[str, Any]:
    call = json.dumps({"name": "read", "arguments": CALL})
    return {
        "conversations": [
            {"from": "system", "value": "You help."},
            {"from": "human", "value": GOAL},
            {"from": "gpt", "value": f"<think>hm</think>{TEXT}\n<tool_call>\n{call}\n</tool_call>"},
            {"from": "observation", "value": RESULT},
            {"from": "gpt", "value": ANSWER},
            {"from": "human", "value": THANKS},
        ],
        **more,
    }


def hermes_line() -> dict[str, Any]:
    told = sharegpt()["conversations"]
    told[3] = {
        "from": "tool",
        "value": "<tool_response>\n" + json.dumps({"tool_call_id": "c1", "name": "read", "content": RESULT}) + "\n</tool_response>",
    }
    return {"conversations": told, "timestamp": "2026-10-01T10:00:00", "model": "m", "completed": True}


def eto(**more: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "conversations": [
            {"from": "human", "value": "Act in a shell."},
            {"from": "gpt", "value": "OK"},
            {"from": "human", "value": GOAL},
            {"from": "gpt", "value": ACTIONS[0]},
            {"from": "human", "value": RESULT},
            {"from": "gpt", "value": ANSWER},
            {"from": "human", "value": THANKS},
        ],
        **more,
    }


def open_webui(rating: int = 0) -> dict[str, Any]:
    texts = [("user", GOAL), ("assistant", ACTIONS[0]), ("user", RESULT), ("assistant", ANSWER), ("user", THANKS)]
    known = {
        str(n): {"id": str(n), "parentId": str(n - 1) if n else None, "role": role, "content": text, "model": "m" if n % 2 else None}
        for n, (role, text) in enumerate(texts)
    }
    known["9"] = {"id": "9", "parentId": "0", "role": "assistant", "content": "another branch"}
    if rating:
        known["3"]["annotation"] = {"rating": rating}
    return {"id": "x", "title": "t", "chat": {"title": "t", "messages": [], "history": {"currentId": "4", "messages": known}}}


def inspect_sample(value: Any = "C") -> dict[str, Any]:
    messages = openai()["messages"]
    messages[2]["tool_calls"] = [{"id": "c1", "function": "read", "arguments": CALL, "type": "function"}]
    messages[3]["content"] = "attachment://abc"
    return {"id": 7, "epoch": 1, "input": GOAL, "messages": messages, "attachments": {"abc": RESULT}, "scores": {"match": {"value": value}}}


def inspect_log() -> dict[str, Any]:
    return {"version": 2, "status": "success", "eval": {"model": "m"}, "samples": [inspect_sample()]}


def claude_code() -> list[dict[str, Any]]:
    """Two lines of one answer, a result beside the path, a sub-agent, notes of the program, and a branch that was left."""

    def line(kind: str, identity: str, parent: str | None, content: Any, answer: str = "", **more: Any) -> dict[str, Any]:
        message = {"role": kind, "content": content, **({"id": answer, "model": "m"} if answer else {})}
        return {
            "type": kind,
            "uuid": identity,
            "parentUuid": parent,
            "sessionId": "s1",
            "isSidechain": False,
            "timestamp": "2026-10-01T10:00:00Z",
            "message": message,
            **more,
        }

    return [
        {"type": "summary", "summary": "Reading", "leafUuid": "u5"},
        line("user", "u0", None, "Caveat: The messages below were generated", isMeta=True),
        line("user", "u1", "u0", GOAL),
        line("user", "x1", "u1", "never mind"),
        line("assistant", "a1", "u1", [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": TEXT}], "r1"),
        line("assistant", "a2", "a1", [{"type": "tool_use", "id": "c1", "name": "read", "input": CALL}], "r1"),
        line("assistant", "side", "a2", [{"type": "text", "text": "a sub-agent"}], "r9", isSidechain=True),
        line("user", "u2", "a2", [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": RESULT}]}]),
        {"type": "system", "uuid": "p1", "parentUuid": "a2", "content": "note"},
        line("assistant", "a3", "p1", [{"type": "text", "text": ANSWER}], "r2"),
        line("user", "u5", "a3", THANKS),
    ]


def goose_items() -> list[dict[str, Any]]:
    return [
        {"role": "user", "created": 1759312800, "content": [{"type": "text", "text": GOAL}]},
        {
            "role": "assistant",
            "created": 1759312801,
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": TEXT},
                {"type": "toolRequest", "id": "c1", "toolCall": {"status": "success", "value": {"name": "read", "arguments": CALL}}},
            ],
        },
        {
            "role": "user",
            "created": 1759312802,
            "content": [
                {
                    "type": "toolResponse",
                    "id": "c1",
                    "toolResult": {"status": "success", "value": {"content": [{"type": "text", "text": RESULT}], "isError": False}},
                }
            ],
        },
        {"role": "assistant", "created": 1759312803, "content": [{"type": "text", "text": ANSWER}]},
        {"role": "user", "created": 1759312804, "content": [{"type": "text", "text": THANKS}]},
    ]


def goose_lines() -> list[dict[str, Any]]:
    return [{"working_dir": "/home/bob", "description": "d", "message_count": 5}, *goose_items()]


def goose_database(path: Path) -> Path:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE sessions (id TEXT PRIMARY KEY, session_type TEXT, created_at TEXT)")
        database.execute(
            "CREATE TABLE messages (id INTEGER PRIMARY KEY, session_id TEXT, role TEXT, content_json TEXT, created_timestamp INT, "
            "metadata_json TEXT)"
        )
        database.execute("INSERT INTO sessions VALUES ('s1', 'user', '2026-10-01 10:00:00'), ('s2', 'sub_agent', '2026-10-01 10:00:00')")
        rows = [("s1", item["role"], json.dumps(item["content"]), item["created"], '{"userVisible": true}') for item in goose_items()]
        rows += [("s1", "user", '[{"type": "text", "text": "a summary"}]', 1759312801, '{"userVisible": false}')]
        rows += [("s2", "user", '[{"type": "text", "text": "for a sub-agent"}]', 1759312801, None)]
        database.executemany(
            "INSERT INTO messages (session_id, role, content_json, created_timestamp, metadata_json) VALUES (?, ?, ?, ?, ?)", rows
        )
    database.close()
    return path


def hermes_database(path: Path) -> Path:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE sessions (id TEXT PRIMARY KEY, source TEXT, model TEXT, started_at REAL)")
        database.execute(
            "CREATE TABLE messages (id INTEGER PRIMARY KEY, session_id TEXT, role TEXT, content TEXT, tool_calls TEXT, timestamp REAL, "
            "active INTEGER)"
        )
        database.execute("INSERT INTO sessions VALUES ('s1', 'cli', 'm', 1759312800.5)")
        for n, message in enumerate(openai()["messages"]):
            content = message["content"] if isinstance(message["content"], str) else "\0json:" + json.dumps(message["content"])
            calls = json.dumps(message["tool_calls"]) if "tool_calls" in message else None
            database.execute("INSERT INTO messages VALUES (?, 's1', ?, ?, ?, ?, 1)", (n + 1, message["role"], content, calls, n))
        database.execute("INSERT INTO messages VALUES (99, 's1', 'user', 'taken back', NULL, 9, 0)")
    database.close()
    return path


def llm_database(path: Path, new: bool) -> Path:
    with sqlite3.connect(path) as database:
        if new:
            _fill_threads(database)
        else:
            _fill_responses(database)
    database.close()
    return path


def _fill_threads(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE threads (id TEXT, name TEXT, tip_message_hash TEXT)")
    database.execute("CREATE TABLE turns (id INTEGER PRIMARY KEY, thread_id TEXT, model TEXT, datetime_utc TEXT)")
    database.execute("CREATE TABLE messages (hash TEXT, parent_hash TEXT, role TEXT)")
    database.execute("CREATE TABLE parts (message_hash TEXT, position INT, type TEXT, tool_name TEXT, text TEXT, payload TEXT)")
    database.execute("INSERT INTO threads VALUES ('t1', 'n', 'h5')")
    database.execute("INSERT INTO turns VALUES (1, 't1', 'm', '2026-10-01T10:00:00')")
    roles = ["user", "assistant", "tool", "assistant", "user"]
    database.executemany(
        "INSERT INTO messages VALUES (?, ?, ?)", [(f"h{n + 1}", f"h{n}" if n else None, role) for n, role in enumerate(roles)]
    )
    parts = [
        ("h1", 0, "text", None, GOAL, None),
        ("h2", 0, "reasoning", None, "hm", None),
        ("h2", 1, "text", None, TEXT, None),
        ("h2", 2, "tool_call", "read", None, json.dumps({"arguments": CALL})),
        ("h3", 0, "tool_result", "read", RESULT, None),
        ("h4", 0, "text", None, ANSWER, None),
        ("h5", 0, "text", None, THANKS, None),
    ]
    database.executemany("INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?)", parts)


def _fill_responses(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE conversations (id TEXT, name TEXT, model TEXT)")
    database.execute(
        "CREATE TABLE responses (id TEXT, model TEXT, prompt TEXT, system TEXT, response TEXT, conversation_id TEXT, datetime_utc TEXT)"
    )
    database.execute("CREATE TABLE tool_calls (id INTEGER PRIMARY KEY, response_id TEXT, name TEXT, arguments TEXT)")
    database.execute("CREATE TABLE tool_results (id INTEGER PRIMARY KEY, response_id TEXT, name TEXT, output TEXT)")
    rows = [
        ("r1", "m", GOAL, "You help.", TEXT, "c1", "2026-10-01T10:00:00"),
        ("r2", "m", "", None, ANSWER, "c1", "2026-10-01T10:00:01"),
        ("r3", "m", THANKS, None, "", "c1", "2026-10-01T10:00:02"),
    ]
    database.executemany("INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    database.execute("INSERT INTO tool_calls VALUES (1, 'r1', 'read', ?)", (json.dumps(CALL),))
    database.execute("INSERT INTO tool_results VALUES (1, 'r2', 'read', ?)", (RESULT,))


def lines(path: Path, values: list[Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def write_all(folder: Path) -> dict[str, Path]:
    """The session in every format: a name, which begins with the format's, and its file."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "inspect.eval"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("header.json", "{}")
        made.writestr("samples/7_epoch_1.json", json.dumps(inspect_sample()))
    listed = folder / "sharegpt list"
    listed.write_text(json.dumps([sharegpt()], indent=2))
    log = folder / "inspect.json"
    log.write_text(json.dumps(inspect_log(), indent=2))
    return {
        "openai": lines(folder / "openai", [openai()]),
        "sharegpt": lines(folder / "sharegpt", [sharegpt()]),
        "sharegpt list": listed,
        "hermes": lines(folder / "hermes.jsonl", [hermes_line()]),
        "eto": lines(folder / "eto.json", [eto()]),
        "open-webui": lines(folder / "webui.json", [open_webui()]),
        "inspect": lines(folder / "inspect.jsonl", [inspect_sample()]),
        "inspect log": log,
        "inspect archive": archive,
        "art": lines(folder / "art.jsonl", [openai(reward=1.0)]),
        "claude-code": lines(folder / "s1.jsonl", claude_code()),
        "goose": lines(folder / "goose.jsonl", goose_lines()),
        "goose database": goose_database(folder / "sessions.db"),
        "hermes database": hermes_database(folder / "state.db"),
        "llm": llm_database(folder / "logs.db", new=True),
        "llm old": llm_database(folder / "old.db", new=False),
    }
