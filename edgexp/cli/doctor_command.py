"""`edgexp doctor`: what is here, and what is wrong with it."""

import click

from edgexp.cli.options import bank_option, json_option
from edgexp.terminal import clean, console, echo_json


@click.command()
@click.option("--model", default=None, help="Model to check, by name or path.  [default: edgexp's own]")
@click.option("--fresh", is_flag=True, help="Measure this machine again, although it was measured before.")
@bank_option
@json_option
def doctor(model: str | None, fresh: bool, bank: object, as_json: bool) -> None:
    """Check this machine, llama.cpp, threads, models, environments and the bank.

    For everything that is wrong, the command says what to do. The exit status is 1 if `edgexp run` cannot work.

    \b
    Examples:
      edgexp doctor
      edgexp doctor --fresh --model ./my-model.gguf
    """
    import json
    from pathlib import Path

    from rich.text import Text

    from edgexp.checkup import examine

    assert bank is None or isinstance(bank, Path)
    findings = []
    shown = console(quiet=as_json)
    for finding in examine(model, bank, fresh):
        findings.append(finding)
        mark = {"good": ("✓", "green"), "note": ("·", "yellow"), "bad": ("✗", "bold red")}[finding.state]
        shown.print(Text.assemble(mark, " ", (f"{finding.what:<12}", "bold"), clean(finding.text)))
        if finding.remedy:
            shown.print(Text(clean(f"{'':14}→ {finding.remedy}"), "yellow"))
    if as_json:
        echo_json(json.dumps([vars(f) for f in findings]))
    if any(f.state == "bad" for f in findings):
        raise click.exceptions.Exit(1)
