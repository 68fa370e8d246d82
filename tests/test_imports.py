"""What importing costs: counted in modules, not in seconds."""

import subprocess
import sys

import pytest

HEAVY = (
    "numpy", "llama_cpp", "onnxruntime", "onnx", "usearch", "tokenizers", "torch", "transformers", "rich", "sqlite3", "jinja2", "httpx",
)  # fmt: skip


@pytest.mark.parametrize(
    "code",
    [
        "import edgexp",
        "import edgexp.trajectory, edgexp.environments, edgexp.errors",
        "from edgexp.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from edgexp.cli import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass",
        "from edgexp.cli import main\ntry: main(['bank', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_nothing_heavy_is_imported(code):
    assert _loaded(code, HEAVY) == ""


def test_without_a_server_nothing_of_one_is_loaded():
    assert _loaded("import edgexp.play.session, edgexp.evaluation.field, edgexp.cli.run_command", ("httpx", "httpcore", "h11")) == ""


def _loaded(code, modules):
    """Which of some modules a process has loaded after some code."""
    report = f"\nimport sys\nprint('loaded:', *[m for m in {modules!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].removeprefix("loaded:").strip()
