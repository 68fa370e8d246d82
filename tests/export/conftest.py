"""Small GGUF files made on the spot, and the default model's own weights for what only a real model can show."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgexp.errors import EdgexpError
from edgexp.gguf.reader import GgufFile, open_gguf

from .kit import LINEAR, Tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., tuple[Tiny, GgufFile]]:
    """Makes a tiny model, written to a file of its own."""
    def make(**settings: Any) -> tuple[Tiny, GgufFile]:
        model = Tiny(**settings)
        return model, model.write(tmp_path / f"tiny-{len(list(tmp_path.iterdir()))}.gguf")

    return make


@pytest.fixture(scope="session")
def smollm_base() -> Path:
    """The default model's weights as they came, before requantising."""
    from edgexp.models import BASE_POLICY
    from edgexp.models.model_files import open_base

    try:
        return open_base(BASE_POLICY).path
    except EdgexpError as error:
        pytest.skip(f"needs the default model's weights: {error}")


@pytest.fixture(scope="session")
def smollm_modules(smollm_base: Path) -> dict[str, tuple[int, int]]:
    """The linear modules of the default model, by the name training gives them, with their shapes."""
    tensors = open_gguf(smollm_base).tensors
    return {f"model.layers.{n}.{m}": tensors[f"blk.{n}.{role}.weight"].shape for n in range(30) for m, role in LINEAR.items()}
