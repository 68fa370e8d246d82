"""A home of each test's own, manifests on the fly, and a small model hub on loopback."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hub_double import Hub

from edgexp.gguf.reader import Tensor
from edgexp.gguf.writer import entry, write_gguf
from edgexp.models import hub as hub_module
from edgexp.models.manifest import Manifest, find


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder for this test alone."""
    monkeypatch.setenv("EDGEXP_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "models").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Path:
    """A whole GGUF of one tensor, with a licence and a context."""
    path = tmp_path / "weights" / "tiny.gguf"
    path.parent.mkdir()
    entries = {"general.architecture": "llama", "llama.context_length": 77, "general.license": "mit"}
    tensor = Tensor("blk.0.weight", (4, 64), 0)
    write_gguf(path, {key: entry(key, value) for key, value in entries.items()}, [tensor], lambda t: [_bytes(t.nbytes)])
    return path


def _bytes(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint8)


MANIFEST = """
name = "{name}"
role = "{role}"
description = "for tests"
licence = "MIT"
context = 64
{body}
"""


@pytest.fixture
def declare(home: Path) -> Callable[..., Manifest]:
    """Write a user's manifest and read it back."""

    def write(body: str, name: str = "toy", role: str = "policy") -> Manifest:
        (home / "models" / f"{name}.toml").write_text(MANIFEST.format(name=name, role=role, body=body))
        manifest = find(name)
        assert manifest is not None
        return manifest

    return write


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that the code takes for the real one, with no pause between tries and no token of the user's."""
    made = Hub()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(hub_module, "PAUSE", 0.0)
    yield made
    made.server.shutdown()
    made.server.server_close()
