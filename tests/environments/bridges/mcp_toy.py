"""A small MCP server in Python's standard library: notes in a folder. `MCP_WRONG` makes it break the protocol in one of many ways.

python mcp_toy.py FOLDER
"""

import json
import os
import sys
import time
from pathlib import Path

WRONG = os.environ.get("MCP_WRONG", "")
"""`method:what`: what goes wrong when that method is called."""
TEXT = {"type": "string"}
TOOLS = [
    {
        "name": "write_note",
        "description": "Write a note.",
        "inputSchema": {
            "type": "object",
            "properties": {"path": TEXT, "text": TEXT, "mode": {"type": "string", "enum": ["new", "add"], "title": "Mode"}},
            "required": ["path", "text"],
        },
    },
    {
        "name": "read_note",
        "description": "Read a note.",
        "inputSchema": {"type": "object", "properties": {"path": TEXT}, "required": ["path"]},
    },
    {"name": "list", "inputSchema": {"type": "object"}},
    {"name": "odd", "inputSchema": {"type": "object", "properties": {"x": {"$ref": "#/nowhere"}}, "required": ["x"]}},
]
MORE = {"name": "secret", "inputSchema": {"type": "object", "properties": {}}}


class Notes:
    """The tools."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def call(self, name: str, given: dict) -> dict:
        if name == "list":
            return said("\n".join(sorted(str(path) for path in self.folder.iterdir())))
        if name == "odd":
            return {"content": [], "structuredContent": {"x": given["x"]}}
        if name == "secret":
            return {
                "content": [{"type": "image", "data": "", "mimeType": "image/png"}, {"type": "resource", "resource": {"uri": "file:///x"}}]
            }
        path = Path(given["path"])
        if not path.is_relative_to(self.folder):
            return said(f"{path} is not in {self.folder}", failed=True)
        if name == "write_note":
            before = path.read_text() if given.get("mode") == "add" else ""
            path.write_text(before + given["text"])
            return said(f"written to {path}")
        return said(path.read_text()) if path.is_file() else said(f"no note at {path}", failed=True)


def said(text: str, failed: bool = False) -> dict:
    return {"content": [{"type": "text", "text": text}], "isError": failed}


def answer(method: str, params: dict, notes: Notes, state: dict) -> dict:
    if method == "initialize":
        return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "toy", "version": "1"}}
    if method == "tools/list":
        tools = [*TOOLS, *([MORE] if state["more"] else [])]
        return {"tools": tools[2:]} if params.get("cursor") else {"tools": tools[:2], "nextCursor": "2"}
    if params["name"] == "nothing":
        raise KeyError("unknown tool")
    return notes.call(params["name"], params["arguments"])


def write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def go_wrong(what: str, identity: int) -> None:
    """Say something else than the answer, or nothing."""
    if what == "die":
        print("no more memory", file=sys.stderr, flush=True)
        os._exit(3)
    if what == "hang":
        time.sleep(600)
    if what == "close":
        os.close(1)
        time.sleep(600)
    if what == "half":
        sys.stdout.write('{"jsonrpc"')
        sys.stdout.flush()
        os._exit(0)
    if what == "flood":
        while True:
            write('{"jsonrpc": "2.0", "method": "notifications/message"}')
    if what == "long":
        write("x" * 17_000_000)
    write(what.replace("ID", str(identity)))


def main() -> None:
    notes, state = Notes(sys.argv[1]), {"more": False}
    wrong, _, what = WRONG.partition(":")
    for line in sys.stdin:
        message = json.loads(line)
        method, identity = message.get("method"), message.get("id")
        if identity is None or method is None:
            continue
        if method == wrong:
            go_wrong(what, identity)
            continue
        write('{"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "hm"}}')
        write('{"jsonrpc": "2.0", "id": "p", "method": "ping"}')
        try:
            result = {"result": answer(method, message.get("params", {}), notes, state)}
        except (KeyError, OSError, ValueError) as error:
            result = {"error": {"code": -32602, "message": str(error)}}
        if method == "tools/call" and message["params"]["name"] == "list" and not state["more"]:
            state["more"] = True
            write('{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}')
        write(json.dumps({"jsonrpc": "2.0", "id": identity, **result}))


main()
