"""The child process that makes derived files: a Job on standard input, files in the job's folder, `made.json` last.

What it prints goes to standard error; the last line is the reason when it fails. Exit status 0 means `made.json` is there.
"""

import importlib.metadata
import sys
from pathlib import Path

import msgspec

from edgexp.errors import EdgexpError
from edgexp.models import manifest
from edgexp.models.derive import Job, Made
from edgexp.models.manifest import Adapt, Bert, Pool, Requantise


def main() -> None:
    """Do the job on standard input. Never returns."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    try:
        work(job)
    except EdgexpError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename or Path(job.out).parent}: {error.strerror or error}")
    except MemoryError:
        sys.exit("not enough memory")
    except KeyboardInterrupt:
        sys.exit("interrupted")
    sys.exit(0)


def work(job: Job) -> None:
    """Make the files and say so. Raises EdgexpError, OSError."""
    out, paths = Path(job.out), {name: Path(path) for name, path in job.paths.items()}
    match job.derive:
        case Requantise():
            from edgexp.gguf.quantise import requantise

            made, tools = requantise(next(iter(paths.values())), out, job.derive), ["llama-cpp-python"]
        case Adapt():
            made, tools = adapt(next(iter(paths.values())), out, job.name, job.derive), ["numpy"]
        case Bert():
            from edgexp.models.encoder_graph import convert

            made, tools = convert(paths, out, job.derive, job.fingerprint), ["onnx", "numpy", "safetensors", "onnxruntime"]
        case Pool():
            from edgexp.models.store import wrap

            made, tools = wrap(paths, out, job.derive, job.fingerprint), ["onnx", "numpy", "onnxruntime"]
    files = {name: manifest.sha256(out / name, fresh=True) for name in made}
    versions = {tool: importlib.metadata.version(tool) for tool in tools}
    record = Made(job.fingerprint, job.sources, files, versions)
    (out / "made.json").write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")


def adapt(base: Path, out: Path, name: str, recipe: Adapt) -> list[str]:
    """Write `<model>.<TYPE>.gguf`, base and adapter merged, into `out`; returns its name.

    Raises EdgexpError where the adapter is missing, is not the one meant, or does not fit.
    """
    from edgexp.export.adapter import WEIGHTS, read_adapter
    from edgexp.export.merge import merge, patches
    from edgexp.gguf.reader import open_gguf

    weights = Path(recipe.adapter) / WEIGHTS
    if not weights.is_file():
        raise EdgexpError(f"{weights} is not there; bring the adapter back, or name its folder in the manifest")
    if manifest.sha256(weights, fresh=True) != recipe.sha256:
        raise EdgexpError(f"{weights} is not the adapter that the manifest means (its sha256 differs); it was changed or damaged")
    opened, made = open_gguf(base), f"{name}.{recipe.type.upper()}.gguf"
    merge(opened, patches(read_adapter(Path(recipe.adapter)), opened), recipe.type, out / made)
    return [made]


if __name__ == "__main__":
    main()
