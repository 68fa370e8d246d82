"""`edgexp bank vault`: what models have evaluated of past episodes, on disk. Knows neither models nor what a block holds."""

import click

from edgexp.cli.options import json_option, print_json, say
from edgexp.terminal import echo


@click.command()
@click.option("--clear", is_flag=True, help="Remove all of it.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
def vault(clear: bool, yes: bool, as_json: bool) -> None:
    """Show what the vault holds, or remove it.

    The vault keeps past episodes as models have evaluated them, so that no model evaluates one twice. It is a cache for all banks. What is
    removed from it is evaluated again when it is next remembered. --vault of edgexp run says how large it may be.

    \b
    Examples:
      edgexp bank vault
      edgexp bank vault --clear --yes
    """
    from edgexp.engine.vault import Vault, default_folder
    from edgexp.files import shown

    kept = Vault(default_folder())
    usage = kept.usage()
    if clear:
        if not yes and usage.files:
            click.confirm(f"remove {usage.files:,} past episodes as models have evaluated them?", abort=True, err=True)
        gone, usage = kept.clear(), kept.usage()
        say(f"{gone:,} removed")
    if as_json:
        print_json({"folder": shown(kept.folder), "files": usage.files, "bytes": usage.bytes, "models": usage.models})
        return
    echo(f"{shown(kept.folder)}: {usage.files:,} blocks, {usage.bytes / 1e6:,.1f} MB")
    for model, (files, size) in usage.models.items():
        echo(f"  model {model}…  {files:,} blocks, {size / 1e6:,.1f} MB")
