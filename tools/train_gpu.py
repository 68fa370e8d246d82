"""From an empty bank to an evaluated model on a machine with a GPU: pull, collect, train, export, evaluate, one command after the other.

    python tools/train_gpu.py qwen-16gb --name qwen-3b-exprag
    python tools/train_gpu.py qwen-16gb --name qwen-3b-exprag --show         # prints the commands and stops

What is collected is what the `edgexp collect` lines in the recipe's comments say. Every step goes on where it stopped, and so does the same
command; an export is made anew, and is the same file. Suites play the conditions of the base and of the trained model, in place of the 135M
ones. `--gpu-layers` is for llama-cpp-python built for a GPU; with a build for processors, training uses the GPU and playing does not.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from edgexp.evaluation import suite as suites
from edgexp.home import home
from edgexp.training import recipe as recipes

BASE, TRAINED = "smollm2-135m-instruct", "smollm2-135m-exprag"
"""Models of the suites whose places are taken."""
MARK = "#     edgexp collect"


def collects(recipe: str) -> list[list[str]]:
    """What the recipe's bank wants: the arguments of the commands in its comments, without the name of a bank."""
    path = Path(recipe) if Path(recipe).is_file() else recipes.files()[recipe]
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_without_bank(shlex.split(line.removeprefix("#"))[1:]) for line in lines if line.startswith(MARK)]


def _without_bank(arguments: list[str]) -> list[str]:
    place = arguments.index("--bank") if "--bank" in arguments else len(arguments)
    return arguments[:place] + arguments[place + 2 :]


def commands(recipe: str, name: str, folder: Path, suite_names: list[str], gpu_layers: int) -> Iterator[list[str]]:
    """The arguments of `edgexp`, command after command."""
    _, settings = recipes.load(recipe)
    wanted = collects(recipe)
    if not wanted:
        sys.exit(f"the recipe {recipe} has no line that begins with {MARK!r} to say what its bank wants")
    bank, layers = ["--bank", str(folder / "bank")], ["--gpu-layers", str(gpu_layers)]
    if not Path(settings.base.model).is_file():
        yield ["models", "pull", settings.base.model, settings.memory.encoder]
    for arguments in wanted:
        yield [*arguments, *bank]
    yield ["train", recipe, *bank, "--out", str(folder / "run"), *layers]
    yield ["export", str(folder / "run"), "--name", name]
    for suite in suite_names:
        models = ["--model", f"{BASE}={settings.base.model}", "--model", f"{TRAINED}={name}"]
        only = [word for condition in suites.load(suite)[1].conditions if condition.model in (BASE, TRAINED)
                for word in ("--only", condition.name)]
        yield ["eval", suite, *models, *only, "--out", str(folder / "results" / suite), *layers]


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("recipe", help="a name or a TOML file")
    made.add_argument("--name", required=True, help="what edgexp run --model will call the trained model")
    made.add_argument("--folder", type=Path, help="bank, run and results go here (default: gpu/NAME in edgexp's home)")
    made.add_argument("--suite", action="append", help="to play at the end, may be given again (default: household, treatments and worlds)")
    made.add_argument("--gpu-layers", type=int, default=0, help="layers to put on the GPU while playing; 99 for all (default: 0)")
    made.add_argument("--show", action="store_true", help="print the commands and stop")
    return made


def main() -> None:
    """Run the commands; the first that fails ends it with its own exit code."""
    asked = parser().parse_args()
    folder = (asked.folder or home() / "gpu" / asked.name).expanduser().absolute()
    suite_names = asked.suite or ["household", "treatments", "worlds"]
    for arguments in commands(asked.recipe, asked.name, folder, suite_names, asked.gpu_layers):
        print("edgexp", shlex.join(arguments), file=sys.stdout if asked.show else sys.stderr, flush=True)
        if not asked.show and (code := subprocess.run([sys.executable, "-m", "edgexp", *arguments], check=False).returncode):
            sys.exit(code)


if __name__ == "__main__":
    main()
