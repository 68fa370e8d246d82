"""What importing costs: counted in modules, not in seconds."""

import subprocess
import sys

import pytest

HEAVY = ("numpy", "llama_cpp", "onnxruntime", "onnx", "usearch", "tokenizers", "torch", "transformers", "rich", "sqlite3", "jinja2")


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
    report = f"\nimport sys\nprint('loaded:', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"
