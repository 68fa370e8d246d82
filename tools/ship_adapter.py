"""Copy a finished adapter into `adapters/`, without what only its own machine knows: where things lay.

    python tools/ship_adapter.py RUN_FOLDER adapters/NAME

What is shipped is the adapter's folder as `edgexp train` left it (weights in 16 bits, configuration, recipe, log, record, reference for the
export's gate); digests in the record are made anew for the files that changed, and the manifest's lines for `models/` are printed.
"""

import json
import shutil
import sys
from pathlib import Path

import msgspec

from edgexp.files import write_atomic
from edgexp.models import model_files
from edgexp.training import recipe
from edgexp.training.train import LOG, RECIPE, RECORD


def ship(run: Path, target: Path) -> str:
    """Copy the adapter of a run; the lines of a model manifest that mean it."""
    source = run / "adapter"
    record = json.loads((source / RECORD).read_bytes())
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("as-trained"))
    for base in (record["base"], record["recipe"]["base"]):
        base["checkpoint"] = Path(base["checkpoint"]).name
        base["adapter"] = Path(base.get("adapter", "")).name  # what it went on from
    for data in record["recipe"]["data"]:
        data["bank"] = ""
    asked = msgspec.convert(record["recipe"], recipe.Recipe)
    write_atomic(target / RECIPE, recipe.show(asked).encode())
    lines = [json.loads(line) for line in (target / LOG).read_text(encoding="utf-8").splitlines()]
    told = [{**line, "path": Path(line["path"]).name} if "path" in line else line for line in lines]
    write_atomic(target / LOG, "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in told).encode())
    record["files"] = {name: model_files.sha256(target / name) for name in record["files"] if (target / name).is_file()}
    write_atomic(target / RECORD, json.dumps(record, indent=2, ensure_ascii=False).encode() + b"\n")
    return f'adapter = "../adapters/{target.name}"\nsha256 = "{record["files"]["adapter_model.safetensors"]}"\ntype = "q8_0"'


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
        sys.exit()
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(ship(Path(sys.argv[1]), Path(sys.argv[2])))
