"""The scripts of `benchmarks/` and `tools/` still fit the code: each can be imported and says what it does; the cheap ones run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SCRIPTS = [path.relative_to(ROOT) for folder in ("benchmarks", "tools") for path in sorted((ROOT / folder).glob("*.py"))]
ENDS_ITSELF = {Path("tools/alfworld_player.py"), Path("tools/worlds_players.py")}
"""They are no programs, but what `--policy` or another tool takes: they are imported."""
OPTIONAL = re.compile(r"(?:ModuleNotFoundError|ImportError): (?:No module named|cannot import name) '?([\w.]+)")


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own; skips where it needs a library that is not here."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / script.parent, ROOT / "tests")))
    command = [sys.executable, *(["-c", f"import {script.stem}"] if script in ENDS_ITSELF else [str(ROOT / script), *arguments])]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, timeout=300)
    lacking = OPTIONAL.search(done.stderr)
    if done.returncode and lacking and not lacking[1].startswith("edgexp"):
        pytest.skip(f"{script} needs {lacking[1]}, which comes with an extra")
    return done


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_it_can_be_asked_what_it_does(script: Path) -> None:
    done = run(script, "--help")
    assert done.returncode == 0, done.stderr[-2000:]
    assert script in ENDS_ITSELF or "usage" in done.stdout.lower() or "python tools/" in done.stdout


CHEAP = [
    ("tools/expert_report.py", ("household/dev", "--limit", "3"), "3 games"),
    ("benchmarks/environment.py", ("--games", "1", "--commands", "3"), "1 generated games"),
]


@pytest.mark.parametrize(("script", "arguments", "words"), CHEAP, ids=lambda value: str(value)[:40])
def test_a_cheap_one_runs_on_little(script: str, arguments: tuple[str, ...], words: str) -> None:
    done = run(Path(script), *arguments)
    assert done.returncode == 0 and words in done.stdout, done.stdout[-500:] + done.stderr[-2000:]
