"""`edgexp bank`: the group; its commands are in `bank_look` (they read) and `bank_keep` (they change and check)."""

import click

from edgexp.cli import bank_keep, bank_look


@click.group()
def bank() -> None:
    """Look into experience banks and keep them in order.

    A bank is a folder; --bank names it, without it the default bank is meant. Ids may be shortened to any unique beginning.
    """


for command in (
    bank_look.stats,
    bank_look.ls,
    bank_look.search,
    bank_look.show,
    bank_look.why,
    bank_keep.add,
    bank_keep.export,
    bank_keep.accept,
    bank_keep.forget,
    bank_keep.verify,
    bank_keep.rebuild,
):
    bank.add_command(command)
