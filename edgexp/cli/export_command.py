"""`edgexp export`: from an adapter to a GGUF that `edgexp run --model` takes, compared with the trained model on the way."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgexp.cli.options import Place, reserve
from edgexp.errors import UsageError
from edgexp.terminal import echo, echo_json, style

if TYPE_CHECKING:
    from edgexp.export.job import Exported


@click.command()
@click.argument("adapter", type=Place(path_type=Path))
@click.option("--base", metavar="MODEL",
              help="A name from `edgexp models ls`, or the path of a GGUF.  [default: what the adapter was trained on]")
@click.option("--quant", default="q8_0", show_default=True, metavar="TYPE", help="How to store the weights: f16, q8_0, q4_k_m or q4_0.")
@click.option("--adapter-only", is_flag=True, help="Write the adapter alone, as a GGUF that llama.cpp loads beside the base.")
@click.option("--name", help="The name by which --model finds the result.  [default: the adapter's]")
@click.option("--out", type=Place(path_type=Path), help="Folder to write to.  [default: models/NAME in edgexp's home]")
@click.option("--no-gate", is_flag=True, help="Leave out the comparison with the trained model. The manifest says so.")
@click.option("--json", "as_json", is_flag=True, callback=reserve, help="Print the manifest as JSON to standard output.")
def export(adapter: Path, base: str | None, quant: str, adapter_only: bool, name: str | None, out: Path | None, no_gate: bool,
           as_json: bool) -> None:
    """Turn ADAPTER into one GGUF file that `edgexp run --model` plays with.

    ADAPTER is a folder that `edgexp train` wrote, or the name of a run. The command merges it into its base model and quantises the
    result. It then compares the result, token by token, with what the trained model said about episodes that it was not trained on. If
    they differ too much, the export fails.

    \b
    Examples:
      edgexp export exprag-lora-robust --name mine
      edgexp export exprag-lora-robust --quant q4_k_m --out small
      edgexp export runs/two/adapter --base ./my-base.gguf
    """
    from edgexp.export.adapter import find_adapter, find_base
    from edgexp.export.job import Request
    from edgexp.export.job import export as run
    from edgexp.export.provenance import pretty
    from edgexp.gguf.quantise import check_quant
    from edgexp.home import home
    from edgexp.models.model_files import open_base
    from edgexp.progress import Bars

    kind, adapter = check_quant(quant), find_adapter(adapter)
    title = _name(adapter, name)
    folder = (out or home() / "models" / title).expanduser().absolute()
    request = Request(adapter, open_base(base) if base else find_base(adapter), title, folder, kind, adapter_only, not no_gate)
    with Bars("share", quiet=as_json, keep=True) as bars:
        exported = run(request, bars.tell)
    echo_json(pretty(exported.record)) if as_json else _show(exported)


def _name(adapter: Path, given: str | None) -> str:
    """The name asked for, or one made from the adapter's. Raises UsageError for one that cannot be a model's name."""
    from edgexp.export.adapter import name_of

    name = given if given is not None else re.sub(r"[^a-z0-9._-]+", "-", name_of(adapter).lower()).strip("-._")
    if not re.fullmatch("[a-z0-9][a-z0-9._-]*", name):
        raise UsageError(f"{name!r} cannot be a model's name; give one of small letters, digits, dots and dashes with --name")
    return name


def _show(exported: "Exported") -> None:
    from edgexp.export.parity import table

    record = exported.record
    if record.training and record.training.base.sha256 not in ("", record.base.sha256):
        echo(style(f"note: trained on {record.training.base.name}, merged into other weights", "yellow"), err=True)
    echo(f"wrote {record.file.path} ({record.file.size / 1e6:.0f} MB)")
    echo(table(record.parity) if record.parity else style("not compared with the trained model (--no-gate)", "yellow"))
    if exported.entry is not None:
        echo(f"run it with: edgexp run --model {record.name}")
    else:
        echo(f"load it beside {record.base.path}, for example: llama-cli --model … --lora {Path(record.file.path).name}")
