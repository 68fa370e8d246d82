"""The command line as a user runs it: another process, a home folder that is kept for the whole session."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Edgexp = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def edgexp(own_home: Path) -> Edgexp:
    """Run `edgexp ARGUMENTS…`; keywords are environment variables. Output is captured as text."""

    def call(*arguments: object, **variables: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "COLUMNS": "110", "EDGEXP_HOME": str(own_home), **variables}
        command = [sys.executable, "-m", "edgexp", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)

    return call
