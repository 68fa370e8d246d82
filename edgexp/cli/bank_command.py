"""`edgexp bank`: look into a bank, bring episodes in, take them out, keep it in order. Knows neither SQL nor the index."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
import msgspec

from edgexp.cli.import_command import import_sessions
from edgexp.cli.options import (
    MOST_EPISODES,
    Place,
    bank_option,
    encoder_for,
    encoder_option,
    filter_options,
    filters_of,
    json_option,
    print_json,
    print_lines,
    progress_bar,
    reading,
    say,
    status_of,
    status_option,
    use_encoder,
    writing,
)
from edgexp.cli.review_command import accept, forget, review
from edgexp.cli.vault_command import vault
from edgexp.cli.warm_command import warm
from edgexp.errors import EdgexpError, UsageError
from edgexp.terminal import echo, echo_json

if TYPE_CHECKING:
    from edgexp.bank import Kind


@click.command()
@bank_option
@json_option
def stats(bank: Path | None, as_json: bool) -> None:
    """Show how much is in the bank, of what, and how large it is.

    \b
    Examples:
      edgexp bank stats
      edgexp bank stats --bank banks/mine --json
    """
    from edgexp.cli import screens

    with reading(bank) as opened:
        figures = opened.stats()
    print_json(figures) if as_json else screens.stats(figures)


@click.command()
@bank_option
@filter_options
@status_option
@click.option("-n", "--number", type=click.IntRange(0, MOST_EPISODES), default=20, show_default=True,
              help="Show at most this many. 0: all.")
@json_option
def ls(bank: Path | None, status: str, number: int, as_json: bool, **filters: Any) -> None:
    """List episodes, the newest first.

    \b
    Examples:
      edgexp bank ls --lost                 what failed lately
      edgexp bank ls --status quarantined   what waits for: edgexp bank accept
    """
    from edgexp.cli import screens

    with reading(bank) as opened:
        entries = opened.entries(filters_of(filters), status_of(status), number or -1)
        if as_json:
            useful = opened.usefulness([entry.id for entry in entries])
            print_lines({**msgspec.structs.asdict(entry), "usefulness": useful[entry.id]} for entry in entries)
        else:
            screens.entries(entries, opened.read([entry.id for entry in entries]), opened.count(filters_of(filters), status_of(status)))


@click.command()
@click.argument("text")
@bank_option
@click.option("--by", type=click.Choice(["task", "course"]), default="task", show_default=True,
              help="Compare TEXT with goal and first observation, or with goal and actions.")
@click.option("-k", default=5, show_default=True, type=click.IntRange(1, MOST_EPISODES), help="Episodes to find.")
@filter_options
@encoder_option
@json_option
def search(text: str, bank: Path | None, by: str, k: int, encoder: str | None, as_json: bool, **filters: Any) -> None:
    """Find the past episodes that are most like TEXT.

    A new episode searches in the same way. The score is a cosine: 1 means the same. Episodes in quarantine are not found.

    \b
    Examples:
      edgexp bank search "put a hot egg on the table"
      edgexp bank search --by course "clean the mug. go to sinkbasin 1"
    """
    from edgexp.cli import screens

    with reading(bank) as opened:
        use_encoder(opened, encoder)
        hits = opened.search(cast("Kind", by), text, k, filters_of(filters))
        found = opened.read([hit.id for hit in hits])
    if as_json:
        print_lines({"score": hit.score, "id": hit.id, "task": t.task, "goal": t.goal, "success": t.success, "steps": len(t.steps)}
                     for hit, t in zip(hits, found, strict=True))
    else:
        screens.hits(hits, found)


@click.command()
@click.argument("identity", metavar="ID")
@bank_option
@json_option
def show(identity: str, bank: Path | None, as_json: bool) -> None:
    """Show one episode whole.

    You see who played it, its goal, every action and every observation. You also see how many episodes had it in their prompt, and how
    these ended. ID is the start of an id that `edgexp bank ls` shows. With --json the line is what `edgexp bank add` takes; what the
    counters say is in `edgexp bank ls --json`.

    \b
    Examples:
      edgexp bank show t1c9
      edgexp bank show t1c9 --json
    """
    from edgexp.cli import screens
    from edgexp.trajectory import encode

    with reading(bank) as opened:
        trajectory = opened.get(opened.find(identity))
        useful = opened.usefulness([trajectory.id])[trajectory.id]
    echo_json(encode(trajectory)) if as_json else screens.trajectory(trajectory, useful)


@click.command()
@click.argument("episode", required=False)
@click.argument("step", required=False, type=click.IntRange(0))
@bank_option
@json_option
def why(episode: str | None, step: int | None, bank: Path | None, as_json: bool) -> None:
    """Show what an episode remembered, and why.

    You see each past episode with its score, and what was left out for which reason. Where they counted you also see how alike the frames
    of the goals are, and how useful the past episode had proved by then. Without EPISODE the command lists the latest episodes.
    STEP is the number of actions taken before: 0 is the beginning.

    \b
    Examples:
      edgexp bank why
      edgexp bank why e41d20b7
      edgexp bank why e41d 0
    """
    from edgexp.cli import screens

    with reading(bank) as opened:
        if episode is None:
            latest = opened.episodes()
            return print_lines(latest) if as_json else screens.episodes(latest)
        found = opened.why(episode)
        recalls = [recall for recall in found.recalls if step is None or recall.step == step]
        if step is not None and not recalls:
            at = ", ".join(str(recall.step) for recall in found.recalls) or "none"
            raise UsageError(f"nothing was retrieved at step {step} of {found.id}; there were retrievals at: {at}")
        if as_json:
            return print_json(found if step is None else recalls[0])
        ids = {hit.id for recall in recalls for hit in recall.hits}
        goals = {entry.id: opened.get(entry.id).goal for entry in opened.entries(filters_of({"ids": tuple(ids)}))}
        screens.why(found, recalls, goals)


@click.command()
@click.argument("file", type=Place(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@bank_option
@click.option("--accept", is_flag=True, help="Trust them: skip quarantine.")
@encoder_option
@json_option
def add(file: Path, bank: Path | None, accept: bool, encoder: str | None, as_json: bool) -> None:
    """Add episodes from a file.

    FILE has one trajectory in JSON on each line. It may be - for standard input. The bank checks every line before it adds the first, and
    skips what it holds already. New episodes wait in quarantine, where no prompt sees them, until you accept them. Their source is then
    "import"; what the file says it was is kept as a claim.

    \b
    Examples:
      edgexp bank add experience.jsonl
      edgexp bank ls --status quarantined
      edgexp bank accept --all
    """
    import io
    import sys

    from edgexp.bank.soundness import check_sound
    from edgexp.files import shown, text_lines
    from edgexp.trajectory import as_import, read_lines

    where = "standard input" if str(file) == "-" else shown(file)
    # What comes through a pipe, as from `<(zcat …)`, can be read once only, and every line is looked at before the first is added.
    data = sys.stdin.buffer.read() if str(file) == "-" else None if file.is_file() else file.read_bytes()

    def trajectories() -> Iterator[Any]:
        with file.open("rb") if data is None else io.BytesIO(data) as source:
            yield from map(as_import, read_lines(text_lines(source, where), where))

    total = sum(1 for _ in map(check_sound, trajectories()))
    with writing(bank, create=True) as opened, progress_bar("adding", quiet=as_json) as progress:
        use_encoder(opened, encoder)
        result = opened.add(trajectories(), "accepted" if accept else "quarantined", lambda done, _: progress(done, total))
    if as_json:
        print_json(result)
        return
    repeated = f", {result.repeated:,} equal to others of them" if result.repeated else ""
    echo(f"{len(result.added):,} added, {len(result.known):,} known before{repeated}")
    if result.added and not accept:
        say("they are in quarantine: look with edgexp bank ls --status quarantined, then edgexp bank accept ID… or --all")


@click.command()
@click.argument("file", type=Place(dir_okay=False, allow_dash=True, path_type=Path), default="-")
@bank_option
@filter_options
@status_option
def export(file: Path, bank: Path | None, status: str, **filters: Any) -> None:
    """Write episodes to a file.

    Each line is one trajectory in JSON. Without FILE they go to standard output. FILE appears when it is complete.

    \b
    Examples:
      edgexp bank export won.jsonl --won --env household
      edgexp bank export | gzip > bank.jsonl.gz
    """
    from edgexp.files import shown

    with reading(bank) as opened:
        lines = opened.export(filters_of(filters), status_of(status))
        if str(file) == "-":
            for line in lines:
                echo_json(line)
        else:
            say(f"{_write_whole(file, lines):,} trajectories written to {shown(file)}")


@click.command()
@bank_option
@json_option
def verify(bank: Path | None, as_json: bool) -> None:
    """Check the whole bank.

    The command computes every id again, reads every vector, and compares the index with the database. The exit status is 1 if anything is
    wrong.

    \b
    Examples:
      edgexp bank verify
      edgexp bank verify --bank banks/mine --json
    """
    with reading(bank) as opened, progress_bar("verifying", quiet=as_json) as progress:
        problems, held = opened.verify(progress), opened.count(status=None)
    if as_json:
        print_json({"trajectories": held, "problems": problems})
    else:
        for problem in problems:
            echo(problem)
    if problems:
        raise EdgexpError(f"{len(problems)} problems in a bank of {held:,} trajectories")
    if not as_json:
        echo(f"{held:,} trajectories, their vectors and the index: all as they should be")


@click.command()
@bank_option
@click.option("--encoder", metavar="NAME", help="Compute every vector again with this encoder, and use it from now on.")
def rebuild(bank: Path | None, encoder: str | None) -> None:
    """Build the index again, or change the encoder.

    The index files are made from the database. The command computes vectors that are missing or damaged. You can interrupt it and start it
    again: it computes no vector twice, and the old vectors serve until all new ones are there.

    \b
    Examples:
      edgexp bank rebuild
      edgexp bank rebuild --encoder qwen3-embedding-0.6b
    """
    with writing(bank) as opened, progress_bar("rebuilding") as progress:
        embedded = opened.rebuild(encoder_for(opened, encoder), progress)
    echo(f"index files made anew, {embedded:,} trajectories embedded")


def _write_whole(path: Path, lines: Iterable[bytes]) -> int:
    """Write lines to a file that appears when the last one is there; how many there were."""
    from edgexp.files import whole_file

    count = 0
    with whole_file(path) as out:
        for count, line in enumerate(lines, 1):  # noqa: B007 - the last one is returned
            out.write(line)
    return count


@click.group()
def bank() -> None:
    """Look into banks of past episodes and keep them in order.

    A bank is a folder. --bank names it; the default is the one in edgexp's home. For an id, its first characters are enough.

    \b
    Examples:
      edgexp bank ls
      edgexp bank search "put a hot egg on the table"
      edgexp bank why
    """


for command in (
    stats,
    ls,
    search,
    show,
    why,
    add,
    import_sessions,
    export,
    review,
    accept,
    forget,
    verify,
    rebuild,
    warm,
    vault,
):
    bank.add_command(command)
