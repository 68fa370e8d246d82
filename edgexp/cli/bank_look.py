"""`edgexp bank stats|ls|search|show|why`: the commands that only read."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from edgexp.cli.bank_common import (
    encoder_option,
    filter_options,
    filters_of,
    print_json,
    print_lines,
    reading,
    status_of,
    status_option,
    use_encoder,
)
from edgexp.cli.options import bank_option, json_option
from edgexp.errors import UsageError

if TYPE_CHECKING:
    from edgexp.bank import Kind


@click.command()
@bank_option
@json_option
def stats(bank: Path | None, as_json: bool) -> None:
    """How much is in the bank, of what, and how large it is."""
    from edgexp.cli import bank_print

    with reading(bank) as opened:
        figures = opened.stats()
    print_json(figures) if as_json else bank_print.stats(figures)


@click.command()
@bank_option
@filter_options
@status_option
@click.option("-n", "--number", default=20, show_default=True, help="At most so many, the newest; 0 for all.")
@json_option
def ls(bank: Path | None, status: str, number: int, as_json: bool, **filters: Any) -> None:
    """List trajectories, the newest first.

    \b
    Examples:
      edgexp bank ls --lost                 what went wrong lately
      edgexp bank ls --status quarantined   what was imported and waits for: edgexp bank accept
    """
    from edgexp.cli import bank_print

    with reading(bank) as opened:
        entries = opened.entries(filters_of(filters), status_of(status), number or -1)
        if as_json:
            print_lines(entries)
        else:
            bank_print.entries(entries, opened.read([entry.id for entry in entries]), opened.count(filters_of(filters), status_of(status)))


@click.command()
@click.argument("text")
@bank_option
@click.option("--by", type=click.Choice(["task", "course"]), default="task", show_default=True,
              help="Compare with goal and first observation, or with goal and actions.")
@click.option("-k", default=5, show_default=True, type=click.IntRange(1), help="How many to find.")
@filter_options
@encoder_option
@json_option
def search(text: str, bank: Path | None, by: str, k: int, encoder: str | None, as_json: bool, **filters: Any) -> None:
    """Find the accepted trajectories most like TEXT, as an episode would; the score is a cosine.

    \b
    Examples:
      edgexp bank search "put a hot egg on the table"
      edgexp bank search --by course "clean the mug. go to sinkbasin 1" --won
    """
    from edgexp.cli import bank_print

    with reading(bank) as opened:
        use_encoder(opened, encoder)
        hits = opened.search(cast("Kind", by), text, k, filters_of(filters))
        found = opened.read([hit.id for hit in hits])
    if as_json:
        print_lines({"score": hit.score, "id": hit.id, "task": t.task, "goal": t.goal, "success": t.success, "steps": len(t.steps)}
                     for hit, t in zip(hits, found, strict=True))
    else:
        bank_print.hits(hits, found)


@click.command()
@click.argument("identity", metavar="ID")
@bank_option
@json_option
def show(identity: str, bank: Path | None, as_json: bool) -> None:
    """Show one trajectory whole: where it comes from, its goal, every action and observation."""
    from edgexp.cli import bank_print
    from edgexp.trajectory import encode

    with reading(bank) as opened:
        trajectory = opened.get(opened.find(identity))
    click.echo(encode(trajectory)) if as_json else bank_print.trajectory(trajectory)


@click.command()
@click.argument("episode", required=False)
@click.argument("step", required=False, type=click.IntRange(0))
@bank_option
@json_option
def why(episode: str | None, step: int | None, bank: Path | None, as_json: bool) -> None:
    """Why an episode had the memory it had: what was retrieved when, with which score, and what was left out.

    Without EPISODE, the latest played episodes. STEP is how many actions had been taken: 0 is the beginning.

    \b
    Examples:
      edgexp bank why
      edgexp bank why e41d20b7
      edgexp bank why e41d 0
    """
    from edgexp.cli import bank_print

    with reading(bank) as opened:
        if episode is None:
            latest = opened.episodes()
            return print_lines(latest) if as_json else bank_print.episodes(latest)
        found = opened.why(episode)
        recalls = [recall for recall in found.recalls if step is None or recall.step == step]
        if step is not None and not recalls:
            at = ", ".join(str(recall.step) for recall in found.recalls) or "none"
            raise UsageError(f"nothing was retrieved at step {step} of {found.id}; there were retrievals at: {at}")
        if as_json:
            return print_json(found if step is None else recalls[0])
        ids = {hit.id for recall in recalls for hit in recall.hits}
        goals = {entry.id: opened.get(entry.id).goal for entry in opened.entries(filters_of({"ids": tuple(ids)}))}
        bank_print.why(found, recalls, goals)
