"""From an adapter to a quantised GGUF: `edgexp export` against peft's merge, llama.cpp's own converter and its own quantiser, in one run.

    python benchmarks/export.py --rival-python FOLDER/bin/python --llama-cpp FOLDER
    python benchmarks/export.py --setup FOLDER      makes both there first (some minutes, about 2 GB), then measures

The rival's Python needs torch, transformers, peft, gguf, sentencepiece and protobuf; the llama.cpp folder is the one inside
llama-cpp-python's source distribution (vendor/llama.cpp). Both sides start from the same weights and the same random adapter: ours from
the GGUF, the rival's from the same weights as a Hugging Face checkpoint, which is made first and not counted. Every step is a process of
its own; memory is the largest resident set of any of them. Neither side compares the result with a trained model (`--no-gate`).
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy
from rich.console import Console
from rich.table import Table

from edgexp.gguf.lora import ROLES
from edgexp.gguf.quantise import QUANTS
from edgexp.gguf.reader import open_gguf
from edgexp.models import BASE_POLICY
from edgexp.models.model_files import open_base

PACKAGES = ("torch", "transformers<=5.17.0", "peft", "gguf", "sentencepiece", "protobuf", "safetensors", "accelerate")
QUANTISER = "llama-cpp-python==0.3.36"

CHECKPOINT = """
import sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
source, out = Path(sys.argv[1]), sys.argv[2]
model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float16)
if hasattr(model.config, "quantization_config"):
    del model.config.quantization_config
model.hf_quantizer = None
model.save_pretrained(out)
AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(out)
"""

MERGE = """
import sys, shutil, torch
from pathlib import Path
from transformers import AutoModelForCausalLM
from peft import PeftModel
base, adapter, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float16, low_cpu_mem_usage=True)
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
for file in (*Path(base).glob("*token*"), *Path(base).glob("*.jinja")):
    shutil.copy(file, out)
"""

QUANTISE = """
import sys, ctypes, llama_cpp
params = llama_cpp.llama_model_quantize_default_params()
params.ftype, params.nthread = int(sys.argv[3]), 0
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(params)))
"""


class Cost(NamedTuple):
    """Wall-clock seconds, and the largest resident set in MB."""

    seconds: float
    megabytes: float

    def __add__(self, other: object) -> "Cost":
        assert isinstance(other, Cost)
        return Cost(self.seconds + other.seconds, max(self.megabytes, other.megabytes))


def main() -> None:
    """Measure and print the table."""
    options = arguments()
    if options.setup:
        options.rival_python, options.llama_cpp = set_up(options.setup)
    base = open_base(options.base).path
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        work = Path(name)
        adapter = make_adapter(base, work / "adapter", options.rank)
        ours = {quant: best(lambda q=quant: our_export(base, adapter, q, work / "ours"), options.runs) for quant in options.quants}
        theirs = rival(options, base, adapter, work) if options.rival_python and options.llama_cpp else {}
        Console().print(table(base, ours, theirs))


def our_export(base: Path, adapter: Path, quant: str, out: Path) -> Cost:
    """The whole command, from its start to its exit."""
    environment = {**os.environ, "EDGEXP_HOME": str(out / "home")}
    command = [sys.executable, "-m", "edgexp", "export", adapter, "--base", base, "--quant", quant, "--no-gate", "--out", out, "--json"]
    return run(command, environment)


def rival(options: argparse.Namespace, base: Path, adapter: Path, work: Path) -> dict[str, list[Cost]]:
    """By type, the costs of merging, converting and quantising; the first two are the same for all types and measured once."""
    python, checkpoint, merged, half, out = options.rival_python, *(work / n for n in ("checkpoint", "merged", "half.gguf", "rival.gguf"))
    run([python, "-c", CHECKPOINT, base, checkpoint])
    merge = [python, "-c", MERGE, checkpoint, adapter, merged]
    convert = [python, options.llama_cpp / "convert_hf_to_gguf.py", merged, "--outtype", "f16", "--outfile", half]
    shared = [best(lambda s=step: run(s), options.runs) for step in (merge, convert)]
    quantise = {q: [sys.executable, "-c", QUANTISE, half, out, QUANTS[q][1]] for q in options.quants if q != "f16"}
    return {q: [*shared, *([best(lambda q=q: run(quantise[q]), options.runs)] if q in quantise else [])] for q in options.quants}


def best(measure, runs: int) -> Cost:  # type: ignore[no-untyped-def]
    """The fastest of some runs."""
    return min(measure() for _ in range(runs))


def run(command: Sequence[object], environment: dict[str, str] | None = None) -> Cost:
    """Run a command to its end. What its children use is counted with it."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        child = subprocess.Popen([str(part) for part in command], env=environment, stdout=said, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            said.seek(0)
            sys.exit(f"{command[:2]} failed:\n" + said.read().decode("utf-8", "replace")[-2000:])
    return Cost(seconds, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3))


def make_adapter(base: Path, folder: Path, rank: int) -> Path:
    """A random adapter on every linear layer."""
    rng, tensors = np.random.default_rng(0), {}
    modules = {role: module for module, role in ROLES.items()}
    for tensor in open_gguf(base).tensors.values():
        parts = tensor.name.split(".")
        if parts[0] == "blk" and parts[2] in modules:
            name = f"base_model.model.model.layers.{parts[1]}.{modules[parts[2]]}"
            tensors[f"{name}.lora_A.weight"] = (rng.standard_normal((rank, tensor.columns)) / tensor.columns**0.5).astype(np.float32)
            tensors[f"{name}.lora_B.weight"] = (rng.standard_normal((tensor.rows, rank)) * 0.02).astype(np.float32)
    folder.mkdir()
    safetensors.numpy.save_file(tensors, folder / "adapter_model.safetensors")
    targets = [module.split(".")[-1] for module in ROLES]
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "target_modules": targets, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def set_up(folder: Path) -> tuple[Path, Path]:
    """A virtual environment and llama.cpp's sources in a folder, made where they are missing."""
    python, sources = folder / "venv" / "bin" / "python", folder / "sources"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    if not sources.exists():
        download = [python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", QUANTISER, "-d", folder]
        subprocess.run(download, check=True)
        with tarfile.open(next(folder.glob("llama_cpp_python-*.tar.gz"))) as archive:
            archive.extractall(sources, filter="data")
    return python, next(sources.glob("*/vendor/llama.cpp"))


def table(base: Path, ours: dict[str, Cost], theirs: dict[str, list[Cost]]) -> Table:
    """The figures side by side."""
    made = Table(title=f"an adapter merged into {base.name} ({base.stat().st_size / 1e6:.0f} MB)", box=None, padding=(0, 2, 0, 0))
    for heading in ("type", "", "edgexp", "merge", "convert", "quantise", "all", "ratio", "no merge"):
        made.add_column(heading, justify="left" if heading in ("type", "") else "right", no_wrap=True)
    for quant, cost in ours.items():
        steps = theirs.get(quant, [])
        for what, unit, of in (("seconds", "{:.1f}", lambda c: c.seconds), ("peak MB", "{:.0f}", lambda c: c.megabytes)):
            cells = [unit.format(of(step)) for step in steps] + [""] * (3 - len(steps))
            if steps:
                whole, converting = (sum(part[1:], part[0]) for part in (steps, steps[1:]))
                cells += [unit.format(of(whole)), f"{of(whole) / of(cost):.1f}x", f"{of(converting) / of(cost):.1f}x"]
            else:
                cells += ["not measured", "", ""]
            made.add_row(quant if what == "seconds" else "", what, unit.format(of(cost)), *cells)
    return made


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rival-python", type=Path, help="a Python that has the rival's packages")
    parser.add_argument("--llama-cpp", type=Path, help="llama.cpp's sources, with convert_hf_to_gguf.py")
    parser.add_argument("--setup", type=Path, metavar="FOLDER", help="make both in this folder")
    parser.add_argument("--base", default=BASE_POLICY, help="a GGUF or a model's name")
    parser.add_argument("--quants", nargs="+", default=["q8_0", "q4_k_m"], choices=list(QUANTS), metavar="TYPE")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--runs", type=int, default=1, help="the fastest of so many counts")
    parser.add_argument("--work", type=Path, help="folder for temporary files, some GB")
    return parser.parse_args()


if __name__ == "__main__":
    main()
