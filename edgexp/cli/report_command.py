"""`edgexp report`: a page of evaluation results."""

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgexp.cli.options import say
from edgexp.errors import EdgexpError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from edgexp.evaluation.results import Results
    from edgexp.evaluation.retrieval_quality import Quality

folder = click.Path(path_type=Path)


@click.command()
@click.argument("results", nargs=-1, required=True, type=folder)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The page to write.  [default: report.html in RESULTS]")
@click.option("--training", "trainings", multiple=True, type=folder, metavar="FOLDER",
              help="Show the course of this training: an adapter, or a run's folder (may be given again).")
@click.option("--retrieval", "banks", multiple=True, type=folder, metavar="BANK",
              help="Measure how relevant what this bank gives is for the tasks of RESULTS (may be given again).")
@click.option("-k", default=2, show_default=True, type=click.IntRange(1), help="With --retrieval: trajectories to retrieve.")
@click.option("--no-plots", is_flag=True, help="Leave the plots out; they need the extra `report`.")
@click.option("--plot", "drawing", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.svg",
              help="No page: the plot of success by condition, of the first of RESULTS.")
@click.option("--markdown", "form", flag_value="markdown", help="No page: tables for a README on standard output.")
@click.option("--json", "form", flag_value="json", help="No page: the figures on standard output, for scripts.")
def report(results: tuple[Path, ...], out: Path | None, trainings: tuple[Path, ...], banks: tuple[Path, ...], k: int, no_plots: bool,
           drawing: Path | None, form: str | None) -> None:
    """Make one self-contained page of RESULTS, folders that `edgexp eval` filled: tables with intervals, plots, every episode.

    A suite's name stands for its folder in edgexp's home.

    \b
    Examples:
      edgexp report household
      edgexp report household --training runs/exprag-lora --retrieval banks/default
      edgexp report results/today results/yesterday --markdown
      edgexp report household --plot success.svg
    """
    import msgspec

    from edgexp.evaluation import results as reading
    from edgexp.evaluation.report import figures, page, training_curves

    results = tuple(_find(folder) for folder in results)
    read = [reading.read(folder) for folder in results]
    if drawing is not None:
        from edgexp.evaluation.report.plots import picture
        from edgexp.files import write_atomic

        return write_atomic(drawing, picture(figures.count(read[0])).encode())
    measured = [quality for bank in banks for quality in _measure(bank, read, k)]
    if form == "markdown":
        counted = [figures.count(one) for one in read]
        return click.echo(page.render(counted, _commands(read, results, (), banks), measured), nl=False)
    curves = [training_curves.read(folder) for folder in trainings]
    if form == "json":
        counted = [figures.count(one) for one in read]
        body = {"results": counted, "training": curves, "retrieval": measured}
        return click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2))
    from edgexp.evaluation.report.page import Material, build
    from edgexp.files import write_atomic

    path = out or results[0] / "report.html"
    write_atomic(path, build(Material(read, curves, measured, _commands(read, results, trainings, banks)), draw=not no_plots).encode())
    click.echo(f"{path}  {path.stat().st_size / 1e6:.1f} MB")


def _find(named: Path) -> Path:
    """A folder, or what `edgexp eval` made for a suite of that name."""
    from edgexp.home import home

    own = home() / "results" / named
    return own if own.is_dir() and not named.is_dir() else named


def _measure(folder: Path, read: "list[Results]", k: int) -> "list[Quality]":
    """A bank's quality for the tasks of every environment that both the bank and the results are of."""
    from edgexp.bank import Bank, Filters
    from edgexp.environments.registry import make
    from edgexp.evaluation.retrieval_quality import measure
    from edgexp.play.session import open_encoder
    from edgexp.progress import bar

    found = []
    tasks = dict.fromkeys((row.environment, row.task_id) for one in read for row in one.rows)
    with Bank.open(folder, readonly=True) as bank, bar("retrieving") as progress:
        bank.use(open_encoder(bank.encoder_name, say) if bank.encoder_name else open_encoder(say=say))
        names = dict.fromkeys(environment for environment, _ in tasks)
        held = [name for name in names if bank.count(Filters(environment=name))]
        if not held:
            raise EdgexpError(f"--retrieval {folder}: the bank holds no episode of {' or '.join(names)}, which the results are of")
        for name in held:
            environment, line = make(name), progress.add_task(name, total=None)
            try:
                own = [environment.task(identity) for other, identity in tasks if other == name]
                advance = partial(_advance, progress, line)
                found.append(measure(bank, environment, own, k, advance))
            finally:
                environment.close()
    return found


def _advance(progress: "Progress", line: "TaskID", done: int, of: int) -> None:
    progress.update(line, completed=done, total=of)


def _commands(read: "list[Results]", results: tuple[Path, ...], trainings: tuple[Path, ...], banks: tuple[Path, ...]) -> str:
    """How to play and report again; folders by their names, as paths are nobody's business but their owner's."""
    names = [shlex.quote(folder.absolute().name) for folder in results]
    suites = [shlex.quote(one.header.suite) for one in read]
    evals = [f"edgexp eval {suite}" + ("" if suite == name else f" --out {name}") for suite, name in zip(suites, names, strict=True)]
    options = [f"--{option} {shlex.quote(folder.absolute().name)}"
               for option, folders in (("training", trainings), ("retrieval", banks)) for folder in folders]  # fmt: skip
    return "\n".join([*evals, " ".join(["edgexp report", *names, *options])])
