"""A small model hub on loopback that can misbehave, and the manifest lines that name it."""

import hashlib
import http.server
import threading


def hub_source(files: dict[str, bytes], *, pinned: bool = True, repo: str = "maker/toy") -> str:
    """The `[[source]]` of a hub repository holding these files."""
    lines = ["[[source]]", 'kind = "hub"', f'repo = "{repo}"']
    for path, data in files.items():
        lines += ["[[source.file]]", f'path = "{path}"']
        if pinned:
            lines += [f"size = {len(data)}", f'sha256 = "{sha(data)}"']
    return "\n".join(lines)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Hub:
    """Speaks the hub's protocol over a dict of files; its fields make it misbehave."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        """(method, path, Range, Authorization) in the order they came."""
        self.drop_after: list[int] = []
        """For each following download: close the connection after so many bytes."""
        self.refuse: list[int] = []
        """For each following download: answer with this status instead."""
        self.ignore_range = False
        self.announce: str | None = None
        """The sha256 the hub claims, instead of the true one."""
        self.plain_etags = False
        """Small files: no sha256 in the headers."""
        self.moved: dict[str, str] = {}
        """Renamed repositories: old → new."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server, self.port = server, server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def gets(self) -> list[str | None]:
        """The Range header of every download."""
        return [wanted for method, path, wanted, _ in self.requests if method == "GET" and path.startswith("/cdn/")]

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def note(self) -> None:
                hub.requests.append((self.command, self.path, self.headers.get("Range"), self.headers.get("Authorization")))

            def reply(self, status: int, **headers: str) -> None:
                self.send_response(status)
                for key, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(key.replace("_", "-"), value)
                self.end_headers()

            def do_HEAD(self) -> None:
                self.note()
                self.resolve()

            def do_GET(self) -> None:
                self.note()
                if self.path.startswith("/cdn/"):
                    return self.send(hub.files[self.path.removeprefix("/cdn/")])
                return self.resolve()

            def resolve(self) -> None:
                """As the hub does: facts in the headers, the bytes elsewhere."""
                maker, repo, verb, _, path = self.path.strip("/").split("/", 4)
                if f"{maker}/{repo}" in hub.moved:
                    return self.reply(307, Location=self.path.replace(f"{maker}/{repo}", hub.moved[f"{maker}/{repo}"]))
                if verb != "resolve" or path not in hub.files:
                    return self.reply(404)
                data = hub.files[path]
                etag = "abc123" if hub.plain_etags else hub.announce or sha(data)
                return self.reply(302, Location=f"http://localhost:{hub.port}/cdn/{path}", X_Repo_Commit="c0ffee",
                                  X_Linked_Etag=f'"{etag}"', X_Linked_Size=str(len(data)))

            def send(self, data: bytes) -> None:
                if hub.refuse:
                    return self.reply(hub.refuse.pop(0))
                start, wanted = 0, self.headers.get("Range")
                if wanted and not hub.ignore_range:
                    start = int(wanted.removeprefix("bytes=").rstrip("-"))
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                stop = start + hub.drop_after.pop(0) if hub.drop_after else len(data)
                self.wfile.write(data[start:stop])
                self.close_connection = True
                return None

        return Handler
