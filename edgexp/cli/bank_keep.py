"""`edgexp bank add|export|accept|forget|verify|rebuild`: the commands that bring in, take out and keep in order."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgexp.cli.bank_common import (
    encoder_for,
    encoder_option,
    filter_options,
    filters_of,
    print_json,
    progress_bar,
    reading,
    status_of,
    status_option,
    use_encoder,
    writing,
)
from edgexp.cli.options import bank_option, json_option, say
from edgexp.errors import EdgexpError, UsageError

if TYPE_CHECKING:
    from edgexp.bank import Bank


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@bank_option
@click.option("--accept", is_flag=True, help="Trust them: no quarantine.")
@encoder_option
@json_option
def add(file: Path, bank: Path | None, accept: bool, encoder: str | None, as_json: bool) -> None:
    """Add trajectories from JSON lines, `-` for standard input. They wait in quarantine, unseen by any episode, until accepted.

    Every line is checked before the first is added. What the bank holds already is passed over, so doing it again does no harm.

    \b
    Examples:
      edgexp bank add experience.jsonl
      edgexp bank ls --status quarantined
      edgexp bank accept --all
    """
    import sys

    from edgexp.trajectory import read_lines

    lines = sys.stdin.buffer.readlines() if str(file) == "-" else None
    where = "standard input" if lines is not None else str(file)

    def trajectories() -> Iterator[Any]:
        if lines is not None:
            yield from read_lines(lines, where)
        else:
            with file.open("rb") as source:
                yield from read_lines(source, where)

    total = sum(1 for _ in trajectories())
    with writing(bank, create=True) as opened, progress_bar("adding", quiet=as_json) as progress:
        use_encoder(opened, encoder)
        result = opened.add(trajectories(), "accepted" if accept else "quarantined", lambda done, _: progress(done, total))
    if as_json:
        print_json(result)
        return
    click.echo(f"{len(result.added):,} added, {len(result.known):,} known before")
    if result.added and not accept:
        say("they are in quarantine: look with edgexp bank ls --status quarantined, then edgexp bank accept ID… or --all")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default="-")
@bank_option
@filter_options
@status_option
def export(file: Path, bank: Path | None, status: str, **filters: Any) -> None:
    """Write trajectories as JSON lines to FILE, or to standard output. The file appears when it is complete.

    \b
    Example:
      edgexp bank export won.jsonl --won --env household
    """
    with reading(bank) as opened:
        lines = opened.export(filters_of(filters), status_of(status))
        if str(file) == "-":
            for line in lines:
                click.echo(line, nl=False)
        else:
            say(f"{_write_whole(file, lines):,} trajectories written to {file}")


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@bank_option
@click.option("--all", "everything", is_flag=True, help="All that are in quarantine.")
def accept(ids: tuple[str, ...], bank: Path | None, everything: bool) -> None:
    """Release trajectories from quarantine, so that episodes can retrieve them."""
    _some(ids, everything, "--all")
    with writing(bank) as opened:
        chosen = _chosen(opened, ids, everything)
        click.echo(f"{opened.accept(chosen):,} accepted")


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@bank_option
@click.option("--quarantined", is_flag=True, help="All that are in quarantine.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def forget(ids: tuple[str, ...], bank: Path | None, quarantined: bool, yes: bool) -> None:
    """Remove trajectories for good, from the database and from every index file. The log keeps the ids that were retrieved."""
    _some(ids, quarantined, "--quarantined")
    with writing(bank) as opened:
        chosen = _chosen(opened, ids, quarantined)
        if not yes and chosen:
            click.confirm(f"forget {len(chosen):,} of {opened.count(status=None):,} trajectories for good?", abort=True, err=True)
        click.echo(f"{opened.forget(chosen):,} forgotten")


@click.command()
@bank_option
@json_option
def verify(bank: Path | None, as_json: bool) -> None:
    """Check everything: derive every id anew, read every vector, compare the index with the database. Exit status 1 if one is wrong."""
    with reading(bank) as opened, progress_bar("verifying", quiet=as_json) as progress:
        problems, held = opened.verify(progress), opened.count(status=None)
    if as_json:
        print_json({"trajectories": held, "problems": problems})
    else:
        for problem in problems:
            click.echo(problem)
    if problems:
        raise EdgexpError(f"{len(problems)} problems in a bank of {held:,} trajectories")
    if not as_json:
        click.echo(f"{held:,} trajectories, their vectors and the index: all as they should be")


@click.command()
@bank_option
@click.option("--encoder", metavar="NAME", help="Embed everything anew with this encoder, and use it from now on.")
def rebuild(bank: Path | None, encoder: str | None) -> None:
    """Make the index files anew from the database; compute vectors that are missing or damaged; change the encoder.

    It can be interrupted and started again: vectors that are done are not computed twice, and the old ones serve until all are there.

    \b
    Example:
      edgexp bank rebuild --encoder qwen3-embedding-0.6b
    """
    with writing(bank) as opened, progress_bar("rebuilding") as progress:
        embedded = opened.rebuild(encoder_for(opened, encoder), progress)
    click.echo(f"index files made anew, {embedded:,} trajectories embedded")


def _some(ids: tuple[str, ...], everything: bool, option: str) -> None:
    """Either ids or the option that stands for all."""
    if bool(ids) == everything:
        raise UsageError(f"name some ids, or give {option}" if not ids else f"ids and {option} exclude each other")


def _chosen(opened: "Bank", ids: tuple[str, ...], quarantined: bool) -> list[str]:
    """Full ids: those that were named, or all in quarantine."""
    if quarantined:
        return [entry.id for entry in opened.entries(status="quarantined")]
    return [opened.find(identity) for identity in ids]



def _write_whole(path: Path, lines: Iterable[bytes]) -> int:
    """Write lines to a file that appears when the last one is there; how many there were."""
    partial = path.with_name(f".{path.name}.partial")
    count = 0
    try:
        with partial.open("wb") as out:
            for count, line in enumerate(lines, 1):  # noqa: B007 - the last one is returned
                out.write(line)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count
