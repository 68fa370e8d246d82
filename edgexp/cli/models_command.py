"""`edgexp models`: which models there are, bringing them here, checking their bytes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgexp.cli.options import Place, reserve
from edgexp.errors import EdgexpError
from edgexp.terminal import Styled, clean, echo, echo_json, style

if TYPE_CHECKING:
    from edgexp.models.pull import Report


@click.group()
def models() -> None:
    """List, fetch and check model weights.

    \b
    Examples:
      edgexp models ls
      edgexp models pull
      edgexp models verify
    """


@models.command("ls")
@click.option("--json", "as_json", is_flag=True, callback=reserve, help="Print one JSON array to standard output.")
def ls(as_json: bool) -> None:
    """Show every model, and whether it is ready.

    The list also says where each model is or would come from.

    \b
    Examples:
      edgexp models ls
      edgexp models ls --json
    """
    rows = list(_rows())
    if as_json:
        return _print_json(rows)
    for line in _table(rows, shutil.get_terminal_size((200, 24)).columns):
        echo(line)


@models.command("pull")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--from", "given", type=Place(path_type=Path), help="Take the files from this folder or file, without a network.")
@click.option("--json", "as_json", is_flag=True, callback=reserve, help="At the end, print as JSON what is ready.")
def pull(names: tuple[str, ...], given: Path | None, as_json: bool) -> None:
    """Fetch models and make them ready.

    Without NAME it fetches the two default models. This command uses the network. If it is interrupted, the same command goes on from
    there.

    \b
    Examples:
      edgexp models pull
      edgexp models pull qwen2.5-1.5b-instruct
      edgexp models pull qwen2.5-1.5b-instruct --from /media/stick
    """
    from edgexp.models import DEFAULT_EMBEDDER, DEFAULT_POLICY
    from edgexp.models.manifest import require
    from edgexp.models.pull import pull as pull_model

    if given is not None and len(names) != 1:
        raise click.UsageError("--from needs exactly one NAME")
    wanted = [require(name) for name in names or (DEFAULT_POLICY, DEFAULT_EMBEDDER)]
    done = []
    try:
        with _report(quiet=as_json) as report:
            for manifest in wanted:
                ready = pull_model(manifest, report, given)
                done.append({"name": ready.name, "role": ready.role, "path": str(ready.path), "sha256": ready.sha256})
                report.say(f"{ready.name}: ready, {ready.path}")
    except KeyboardInterrupt:
        raise EdgexpError("interrupted; what was fetched is kept, the same command goes on from it") from None
    if as_json:
        _print_json(done)


@models.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, callback=reserve, help="Print one JSON array to standard output.")
def verify(names: tuple[str, ...], as_json: bool) -> None:
    """Check the files of models against their SHA-256.

    Without NAME it checks every model that is here. The exit status is 1 if a file is wrong.

    \b
    Examples:
      edgexp models verify
      edgexp models verify smollm2-135m-instruct
    """
    from edgexp.models import pull as checking
    from edgexp.models.manifest import require

    results = [row for name in names for row in checking.verify(require(name))] if names else list(checking.verify_all())
    if as_json:
        _print_json(results)
    else:
        for row in results:
            echo(f"{row.name}: {row.path}: {row.problem or 'ok'}")
    bad = sum(1 for row in results if row.problem)
    if bad:
        raise EdgexpError(f"{bad} of {len(results)} files are wrong; edgexp models pull NAME fetches or makes them again")
    if not results and not as_json:
        echo("no model is here yet; edgexp models pull fetches the two defaults")


def _rows() -> Iterator[dict[str, Any]]:
    from edgexp.models.manifest import files, read
    from edgexp.models.ready import state

    for name, path in sorted(files()):
        try:
            manifest = read(path)
        except EdgexpError as error:
            yield {"name": name, "role": "", "licence": "", "size": None, "state": "broken", "where": str(error)}
            continue
        now, where = state(manifest)
        yield {"name": name, "role": manifest.role, "licence": manifest.licence, "size": manifest.size, "state": now, "where": where}


def _table(rows: list[dict[str, Any]], width: int) -> Iterator[Styled]:
    """One line a model where that fits, else the place on a line of its own under it."""
    rows = [{key: clean(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows]
    titles = {"name": "model", "role": "role", "licence": "licence", "size": "size", "state": "state"}
    colours = {"ready": ("green",), "source here": ("cyan",), "broken": ("red",)}
    lines = [titles, *({**row, "size": _size(row["size"])} for row in rows)]
    widths = {key: max(len(line[key]) for line in lines) for key in ("name", "role", "licence", "size", "state")}
    for line in lines:
        cells = [line[key].rjust(w) if key == "size" else line[key].ljust(w) for key, w in widths.items()]
        left = "  ".join(cells)
        if line is titles:
            yield style(left.rstrip(), "bold")
            continue
        gap = "  " if len(left) + 2 + len(line["where"]) <= width else "\n    "
        state = style(cells[-1], *colours.get(line["state"], ()))
        yield Styled(left[: -len(cells[-1])] + state + gap + style(line["where"], "dim"))


def _print_json(value: Any) -> None:
    import msgspec

    echo_json(msgspec.json.format(msgspec.json.encode(value)))


def _size(size: int | None) -> str:
    if size is None:
        return "?"
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


@contextmanager
def _report(quiet: bool) -> "Iterator[Report]":
    """Lines and progress bars on standard error."""
    from edgexp.progress import Bars

    with Bars("bytes", quiet=quiet) as bars:
        yield bars
