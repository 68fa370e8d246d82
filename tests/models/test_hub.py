"""Downloads from a hub that drops, lies, refuses and redirects."""

import os
from pathlib import Path

import pytest
from hub_double import sha

from edgexp.errors import EdgexpError
from edgexp.models import hub as downloads

DATA = os.urandom(3_000_000)


@pytest.fixture
def target(tmp_path: Path, home: Path) -> Path:
    return tmp_path / "here.gguf"


def fetch(target, expected=None, progress=lambda done, total: None, repo="maker/toy"):
    return downloads.fetch(downloads.ask(repo, "w/file.gguf", "main"), target, expected, progress)


def left(target):
    """What lies beside the finished file."""
    return sorted(path.name for path in target.parent.glob("here*") if path != target)


def test_a_whole_file_arrives(hub, target):
    hub.files["w/file.gguf"] = DATA
    seen = []
    assert fetch(target, progress=lambda *now: seen.append(now)) == sha(DATA)
    assert target.read_bytes() == DATA and left(target) == []
    assert seen[0] == (0, len(DATA)) and seen[-1] == (len(DATA), len(DATA))
    assert hub.requests[0][:2] == ("HEAD", "/maker/toy/resolve/main/w/file.gguf")


def test_a_broken_connection_is_resumed_where_it_broke(hub, target):
    hub.files["w/file.gguf"] = DATA
    hub.drop_after = [1_000_000, 500_000]
    assert fetch(target) == sha(DATA)
    assert hub.gets() == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_second_command_goes_on_from_the_first(hub, target):
    hub.files["w/file.gguf"] = DATA
    hub.drop_after = [1_234_567] + [0] * downloads.ATTEMPTS
    with pytest.raises(EdgexpError, match=r"the connection broke off .*the same command goes on"):
        fetch(target)
    assert not target.exists() and "here.gguf.part" in left(target)
    hub.requests.clear()
    assert fetch(target) == sha(DATA)
    assert hub.gets() == ["bytes=1234567-"] and left(target) == []


def test_an_interrupt_keeps_what_is_here(hub, target):
    hub.files["w/file.gguf"] = DATA

    def interrupt(done, total):
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(target, progress=interrupt)
    have = (target.parent / "here.gguf.part").stat().st_size
    assert 1_000_000 < have < len(DATA) and not target.exists()
    assert fetch(target) == sha(DATA)
    assert hub.gets()[-1] == f"bytes={have}-"


def test_a_server_without_ranges_starts_over(hub, target):
    hub.files["w/file.gguf"] = DATA
    hub.drop_after, hub.ignore_range = [2_000_000], True
    assert fetch(target) == sha(DATA) and hub.gets() == [None, "bytes=2000000-"]


@pytest.mark.parametrize("stale", ["longer", "another version"])
def test_a_part_that_does_not_fit_is_thrown_away(hub, target, stale):
    hub.files["w/file.gguf"] = DATA
    part, note = target.with_name("here.gguf.part"), target.with_name("here.gguf.part.etag")
    part.write_bytes(b"x" * (len(DATA) + 1 if stale == "longer" else 1000))
    note.write_text(sha(DATA) if stale == "longer" else "older")
    assert fetch(target) == sha(DATA) and hub.gets() == [None]


def test_wrong_bytes_are_named_and_removed(hub, target):
    hub.files["w/file.gguf"] = DATA
    with pytest.raises(EdgexpError, match=f"wrong sha256: expected {'0' * 64}, got {sha(DATA)}; what was fetched is removed"):
        fetch(target, expected="0" * 64)
    assert left(target) == [] and not target.exists()


def test_the_hubs_own_digest_is_enforced(hub, target):
    hub.files["w/file.gguf"], hub.announce = DATA, "a" * 64
    with pytest.raises(EdgexpError, match=f"expected {'a' * 64}"):
        fetch(target)


def test_a_busy_server_is_asked_again(hub, target):
    hub.files["w/file.gguf"], hub.refuse = DATA, [503, 429]
    assert fetch(target) == sha(DATA)


@pytest.mark.parametrize(("status", "says"), [(401, "set HF_TOKEN"), (403, "set HF_TOKEN"), (404, "no such file"), (410, "answered 410")])
def test_a_refusal_says_what_to_do(hub, target, status, says):
    hub.files["w/file.gguf"], hub.refuse = DATA, [status]
    with pytest.raises(EdgexpError, match=says):
        fetch(target)


def test_no_such_file_and_nobody_there(hub, target, monkeypatch):
    with pytest.raises(EdgexpError, match=r"maker/toy/w/file\.gguf: the hub has no such file"):
        fetch(target)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EdgexpError, match=r"127\.0\.0\.1:9 cannot be reached"):
        fetch(target)
    monkeypatch.setenv("HF_ENDPOINT", "ftp://example")
    with pytest.raises(EdgexpError, match="is no http address"):
        fetch(target)


def test_a_renamed_repository_is_followed(hub, target):
    hub.files["w/file.gguf"], hub.moved = DATA, {"old/toy": "maker/toy"}
    assert fetch(target, repo="old/toy") == sha(DATA)


def test_the_token_goes_to_the_hub_and_nowhere_else(hub, target, monkeypatch):
    """The bytes come from another host (localhost instead of 127.0.0.1), which must not see it."""
    hub.files["w/file.gguf"] = DATA
    monkeypatch.setenv("HF_TOKEN", "secret")
    fetch(target)
    assert {(path.startswith("/cdn/"), token) for _, path, _, token in hub.requests} == {(False, "Bearer secret"), (True, None)}


def test_no_room_is_said_before_the_first_byte(hub, target, monkeypatch):
    hub.files["w/file.gguf"] = DATA
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: type("U", (), {"free": 1_000_000}))
    with pytest.raises(EdgexpError, match="no room: 3 MB are needed, 1 MB are free"):
        fetch(target)
    assert hub.gets() == []


def test_a_full_disk_keeps_the_part(hub, target, monkeypatch):
    hub.files["w/file.gguf"] = DATA

    def full(remote, part, progress):
        part.write_bytes(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads, "_stream", full)
    with pytest.raises(EdgexpError, match="No space left on device; what is here is kept"):
        fetch(target)
    assert target.with_name("here.gguf.part").exists()


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be locked twice there by one process")
def test_two_pulls_do_not_write_one_part(hub, target):
    hub.files["w/file.gguf"] = DATA
    with downloads._exclusive(target.with_name("here.gguf.part")), pytest.raises(EdgexpError, match="another process is fetching"):
        fetch(target)
