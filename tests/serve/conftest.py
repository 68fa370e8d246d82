"""A service and a server for the tests of this folder; see `serve_toys`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serve_toys import Running, ScriptedModel, bank_keeper, serving

from edgexp.serve.cleaning import Redaction
from edgexp.serve.journal import Journal
from edgexp.serve.service import ChatService, Limits


@pytest.fixture
def make_service(tmp_path: Path) -> Callable[..., ChatService]:
    """A function that makes a service with a bank and a log in a folder."""

    def make(model: Any = None, *, folder: Path = tmp_path / "bank", limits: Limits | None = None, k: int = 2, bank: bool = True,
             tell: Callable[[str], None] = lambda _: None, redaction: Redaction | None = None) -> ChatService:
        keeper = bank_keeper(folder, k=k) if bank else None
        return ChatService(model or ScriptedModel(), keeper, Journal(folder / "served"), redaction, limits, tell)

    return make


@pytest.fixture
def server(make_service: Callable[..., ChatService]) -> Iterator[Running]:
    """A server with a scripted model that echoes."""
    with serving(make_service()) as running:
        yield running
