"""One file from a model hub over HTTP: resumed where it broke off, checked, and only then given its name.

Speaks the hub's plain protocol: `<endpoint>/<repo>/resolve/<revision>/<path>`, whose answer names the commit, the size and, for large
files, the sha256. `HF_ENDPOINT` names a mirror, `HF_TOKEN` (or the token file of the hub's own tools) is sent to that host only.
Knows nothing of manifests or of what the files are. Imported only by a pull.
"""

import hashlib
import http.client
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgexp.errors import EdgexpError
from edgexp.files import lock_or_say

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes there will be."""

ATTEMPTS = 5
"""Tries in a row that may bring nothing."""
PAUSE = 1.0
"""Seconds before the second try; doubles with each."""
TIMEOUT = 30.0
_CHUNK = 1 << 20
_RETRIED = (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


@dataclass(frozen=True)
class Remote:
    """What the hub says about a file before it sends it."""

    url: str
    size: int | None
    sha256: str | None
    """Of large files; small ones have none."""
    etag: str
    commit: str


def endpoint() -> str:
    """The hub's address, without a slash at the end."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def ask(repo: str, path: str, revision: str) -> Remote:
    """The hub's description of a file. Raises EdgexpError where there is none, or it may not be had."""
    url = f"{endpoint()}/{repo}/resolve/{urllib.parse.quote(revision, safe='')}/{urllib.parse.quote(path)}"
    for _ in range(5):
        try:
            with _open(_request(url, "HEAD"), f"{repo}/{path}", follow=False) as response:
                headers, status = response.headers, response.status
        except _RETRIED as error:
            raise EdgexpError(f"{repo}/{path}: {error}") from error
        onward = urllib.parse.urljoin(url, headers.get("Location", ""))
        # A renamed repository answers with a place on the same host; weights with a signed one elsewhere, and all we ask for here.
        if not 300 <= status < 400 or headers.get("X-Linked-Etag") or not _same_host(url, onward):
            break
        url = onward
    etag = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"')
    size = headers.get("X-Linked-Size") or (headers.get("Content-Length") if status < 300 else None)
    sha = etag if re.fullmatch("[0-9a-f]{64}", etag) else None
    return Remote(url, int(size) if size and size.isdecimal() else None, sha, etag, headers.get("X-Repo-Commit", ""))


def fetch(remote: Remote, target: Path, expected: str | None, progress: Progress) -> str:
    """Bring the file to `target` and return its sha256. What was got stays in `<target>.part` for the next try.

    Raises EdgexpError for a broken connection, a full disk or wrong bytes; only wrong bytes are thrown away.
    """
    part = target.with_name(target.name + ".part")
    with _exclusive(part):
        _fresh_start(part, remote)
        _check_room(part, remote)
        try:
            _download(remote, part, progress)
            with part.open("rb") as file:
                got = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise EdgexpError(f"{part}: {error.strerror or error}; what is here is kept, the same command goes on from it") from error
        wanted = expected or remote.sha256
        if wanted is not None and got != wanted:
            _forget(part)
            raise EdgexpError(f"{target.name}: wrong sha256: expected {wanted}, got {got}; what was fetched is removed")
        part.replace(target)
        _forget(part)
    return got


def _download(remote: Remote, part: Path, progress: Progress) -> None:
    """Append to the part until it is whole, through as many connections as it takes."""
    idle = 0
    while True:
        before = _size(part)
        try:
            _stream(remote, part, progress)
        except _RETRIED as error:
            problem: object = error
        else:
            if remote.size is None or _size(part) == remote.size:
                return
            problem = f"got {_size(part):,} of {remote.size:,} bytes"
        idle = idle + 1 if _size(part) <= before else 0
        if idle >= ATTEMPTS:
            raise EdgexpError(f"{remote.url}: the connection broke off ({problem}); what is here is kept, the same command goes on from it")
        time.sleep(PAUSE * 2**idle / 2)


def _stream(remote: Remote, part: Path, progress: Progress) -> None:
    """One connection's worth of bytes."""
    have = _size(part)
    if remote.size is not None and have > remote.size:
        part.unlink()
        have = 0
    if have == remote.size:
        return
    request = _request(remote.url, "GET")
    if have:
        request.add_header("Range", f"bytes={have}-")
    with _open(request, remote.url) as response:
        if have and response.status != 206:
            have = 0  # the server begins at the beginning
        with part.open("r+b" if have else "wb") as file:
            file.seek(have)
            progress(have, remote.size)
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                progress(have, remote.size)
            file.truncate()
        if response.length:  # http.client ends a broken body like a whole one
            raise ConnectionError(f"{response.length:,} bytes did not arrive")


def _request(url: str, method: str) -> urllib.request.Request:
    if not url.startswith(("https://", "http://")):
        raise EdgexpError(f"{url}: is no http address; HF_ENDPOINT must be one")
    request = urllib.request.Request(url, method=method, headers={"User-Agent": "edgexp", "Accept-Encoding": "identity"})
    token = _token()
    if token and _same_host(url, endpoint()):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def _token() -> str | None:
    """The user's own token, where the hub's tools keep it."""
    named = os.environ.get("HF_TOKEN")
    if named:
        return named.strip()
    cache = os.environ.get("HF_HOME") or str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"))
    try:
        return Path(os.environ.get("HF_TOKEN_PATH") or Path(cache, "token")).expanduser().read_text().strip() or None
    except (OSError, RuntimeError):
        return None


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Never: the caller wants to see the redirect itself."""


def _open(request: urllib.request.Request, what: str, follow: bool = True) -> http.client.HTTPResponse:
    """Send a request. Raises EdgexpError with what to do about it, or one of the errors worth another try."""
    opener = urllib.request.build_opener() if follow else urllib.request.build_opener(_Stay)
    try:
        return opener.open(request, timeout=TIMEOUT)  # type: ignore[no-any-return]
    except urllib.error.HTTPError as error:
        if not follow and 300 <= error.code < 400:
            return error  # type: ignore[return-value]
        error.close()
        if error.code in (408, 429) or error.code >= 500:
            raise ConnectionError(f"the server answered {error.code}") from error
        raise EdgexpError(f"{what}: {_refusal(error.code)}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise EdgexpError(f"{what}: the certificate of {request.host} is not trusted; SSL_CERT_FILE names your own") from error
        raise ConnectionError(f"{request.host} cannot be reached: {error.reason}") from error


def _refusal(status: int) -> str:
    if status in (401, 403):
        return f"the hub refuses it ({status}); accept its licence on the model's page and set HF_TOKEN"
    if status == 404:
        return "the hub has no such file; check repo, revision and path in the manifest"
    return f"the hub answered {status}"


def _same_host(a: str, b: str) -> bool:
    return urllib.parse.urlsplit(a).netloc == urllib.parse.urlsplit(b).netloc


@contextmanager
def _exclusive(part: Path) -> Iterator[None]:
    """Hold the file for this process: two pulls writing one part would spoil it. The lock dies with the process."""
    lock = part.with_name(part.name + ".lock")
    with lock.open("a+b") as file:
        lock_or_say(file.fileno(), part.parent, f"{part}: another process is fetching this file")
        try:
            yield
        finally:
            with suppress(OSError):  # not while it is open, on Windows
                lock.unlink()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fresh_start(part: Path, remote: Remote) -> None:
    """Throw away what belongs to another version of the file; the version is noted beside the part."""
    note = part.with_name(part.name + ".etag")
    if not note.exists() or note.read_text() != remote.etag:
        part.unlink(missing_ok=True)
        note.write_text(remote.etag)


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(part.name + ".etag").unlink(missing_ok=True)


def _check_room(part: Path, remote: Remote) -> None:
    if remote.size is None:
        return
    missing, free = remote.size - _size(part), shutil.disk_usage(part.parent).free
    if missing > free:
        raise EdgexpError(f"{part.parent}: no room: {missing / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free; "
                          "EDGEXP_HOME names another place")
