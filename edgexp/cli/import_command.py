"""`edgexp bank import`: sessions of other programs into quarantine. Knows no format."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgexp.cli.options import Place, bank_option, encoder_option, json_option, print_json, progress_bar, say, use_encoder, writing
from edgexp.errors import EdgexpError
from edgexp.terminal import echo

if TYPE_CHECKING:
    from edgexp.importing.importer import Import

_MOST_TOLD = 20
"""Problems that are told one by one."""
_FORMATS = ("auto", "openai", "sharegpt", "claude-code", "goose", "hermes", "llm", "open-webui", "inspect", "art", "eto", "edgexp")


@click.command("import")
@click.argument("places", nargs=-1, required=True, metavar="FILE|FOLDER...", type=Place(exists=True, allow_dash=True, path_type=Path))
@bank_option
@click.option("--format", "form", type=click.Choice(_FORMATS), default="auto", show_default=True, metavar="FORMAT",
              help=f"What the files are: {', '.join(_FORMATS[1:])}; or auto: edgexp looks at what is in them.")
@click.option("--keep-secrets", is_flag=True, help="Store keys, tokens and passwords as they stand there.")
@encoder_option
@json_option
def import_sessions(places: tuple[Path, ...], bank: Path | None, form: str, keep_secrets: bool, encoder: str | None, as_json: bool) -> None:
    """Bring in sessions that other programs have kept.

    edgexp reads OpenAI's fine-tuning files, ShareGPT, and what Claude Code, goose, Hermes agent, llm, Open WebUI, Inspect, ART and ETO
    write. In a folder it looks at every file. FILE may be - for standard input. A session waits in quarantine, where no prompt sees it and
    no training, until you accept it. Keys, tokens and passwords are taken out before anything is stored.

    What cannot be read is told and passed over. The exit status is 1 if nothing could be read.

    \b
    Examples:
      edgexp bank import ~/.claude/projects
      edgexp bank import chats.jsonl --format sharegpt
      edgexp bank review
    """
    from edgexp.bank.soundness import check_sound
    from edgexp.importing.importer import Import

    with _told() as tell:
        reading = Import(form, keep_secrets, tell, check_sound)
        with writing(bank, create=True) as opened, progress_bar("importing", quiet=as_json) as progress:
            use_encoder(opened, encoder)
            found = (trajectory for place in places for trajectory in reading.read(place))
            result = opened.add(found, "quarantined", lambda done, _: progress(done, 0))
    if as_json:
        print_json({**_figures(reading), "added": result.added, "known": result.known, "repeated": result.repeated})
    else:
        _show(reading, len(result.added), len(result.known) + result.repeated)
    if reading.problems and not reading.formats:
        raise EdgexpError("nothing was imported: no session could be read")


@contextmanager
def _told() -> Iterator["Problems"]:
    """Tells the first problems one by one, and at the end how many more there were."""
    problems = Problems()
    try:
        yield problems
    finally:
        if problems.count > _MOST_TOLD:
            say(f"and {problems.count - _MOST_TOLD:,} more of such lines")


class Problems:
    """Hears of problems."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, line: str) -> None:
        """Tell one, while they are few."""
        self.count += 1
        if self.count <= _MOST_TOLD:
            say(line)


def _figures(reading: "Import") -> dict[str, object]:
    return {"formats": dict(reading.formats), "files": reading.files, "unknown_outcome": reading.unknown, "problems": reading.problems,
            "redacted": dict(reading.tally.secrets), "shortened": reading.tally.shortened}


def _show(reading: "Import", added: int, known: int) -> None:
    from edgexp.redaction import tell

    forms = ", ".join(f"{name} {count:,}" for name, count in sorted(reading.formats.items())) or "nothing"
    echo(f"{added:,} added, {known:,} known before, out of {reading.files:,} file{'s' * (reading.files != 1)} ({forms})")
    if reading.tally.secrets:
        echo(f"taken out: {tell(reading.tally.secrets)}")
    if reading.tally.shortened:
        echo(f"shortened in the middle: {reading.tally.shortened:,} long texts")
    if reading.problems:
        echo(f"not read: {reading.problems:,}")
    if added:
        unknown = f"; of {reading.unknown:,} nobody has said how they ended" if reading.unknown else ""
        say(f"they are in quarantine{unknown}: look at them one by one with edgexp bank review")
