"""`edgexp report`: a page of evaluation results."""

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgexp.cli.options import Place, reserve, say
from edgexp.errors import EdgexpError
from edgexp.terminal import echo, echo_json

if TYPE_CHECKING:
    from edgexp.evaluation.results import Results
    from edgexp.evaluation.retrieval_quality import Quality

folder = Place(path_type=Path)


def _reserve(context: click.Context, parameter: click.Parameter, form: str | None) -> str | None:
    reserve(context, parameter, form == "json")
    return form


@click.command()
@click.argument("results", nargs=-1, required=True, type=folder)
@click.option("--out", type=Place(path_type=Path, dir_okay=False), help="The page to write.  [default: report.html in RESULTS]")
@click.option("--training", "trainings", multiple=True, type=folder, metavar="FOLDER",
              help="Show the course of this training: an adapter's folder, or a run's. May be given again.")
@click.option("--retrieval", "banks", multiple=True, type=folder, metavar="BANK",
              help="Measure how much of what this bank gives is like the tasks of RESULTS. May be given again.")
@click.option("-k", default=2, show_default=True, type=click.IntRange(1, 10_000),
              help="With --retrieval: past episodes to retrieve for a task.")
@click.option("--no-plots", is_flag=True, help="Leave the plots out. They need the extra `report`.")
@click.option("--plot", "drawing", type=Place(path_type=Path, dir_okay=False), metavar="FILE.svg",
              help="Write no page, but the plot of success by condition, of the first of RESULTS.")
@click.option("--markdown", "form", flag_value="markdown", help="Write no page, but tables for a README on standard output.")
@click.option("--json", "form", flag_value="json", callback=_reserve,
              help="Write no page, but the figures on standard output, for scripts.")
def report(results: tuple[Path, ...], out: Path | None, trainings: tuple[Path, ...], banks: tuple[Path, ...], k: int, no_plots: bool,
           drawing: Path | None, form: str | None) -> None:
    """Make one HTML page of RESULTS: tables with intervals, plots, and every episode.

    RESULTS are folders that `edgexp eval` filled. A suite's name stands for its folder in edgexp's home. The page needs no network.

    \b
    Examples:
      edgexp report household
      edgexp report household --training runs/lora --retrieval banks/default
      edgexp report results/today results/yesterday --markdown
      edgexp report household --plot success.svg
    """
    import msgspec

    from edgexp.evaluation import results as reading
    from edgexp.evaluation.report.figures import count_figures
    from edgexp.evaluation.report.training_curves import read_curve

    results = tuple(_find(folder) for folder in results)
    read = [reading.read(folder) for folder in results]
    if drawing is not None:
        from edgexp.evaluation.report.plots import draw_picture
        from edgexp.files import write_atomic

        return write_atomic(drawing, draw_picture(count_figures(read[0])).encode())
    measured = [quality for bank in banks for quality in _measure(bank, read, k)]
    if form == "markdown":
        from edgexp.evaluation.report.wording import write_markdown

        counted = [count_figures(one) for one in read]
        return echo(write_markdown(counted, _commands(read, results, (), banks), measured).rstrip("\n"), longest=None)
    curves = [read_curve(folder) for folder in trainings]
    if form == "json":
        counted = [count_figures(one) for one in read]
        body = {"results": counted, "training": curves, "retrieval": measured}
        return echo_json(msgspec.json.format(msgspec.json.encode(body), indent=2))
    from edgexp.evaluation.report.page import Material, build_page
    from edgexp.files import write_atomic

    path = out or results[0] / "report.html"
    text = build_page(Material(read, curves, measured, _commands(read, results, trainings, banks)), draw=not no_plots)
    write_atomic(path, text.encode())
    echo(f"{path}  {path.stat().st_size / 1e6:.1f} MB")


def _find(named: Path) -> Path:
    """A folder, or what `edgexp eval` made for a suite of that name."""
    from edgexp.home import home

    own = home() / "results" / named
    return own if own.is_dir() and not named.is_dir() else named


def _measure(folder: Path, read: "list[Results]", k: int) -> "list[Quality]":
    """A bank's quality for the tasks of every environment that both the bank and the results are of."""
    from edgexp.bank import Bank, Filters
    from edgexp.embedding import open_encoder
    from edgexp.environments.registry import make
    from edgexp.evaluation.retrieval_quality import measure_quality
    from edgexp.progress import Bars

    found = []
    tasks = dict.fromkeys((row.environment, row.task_id) for one in read for row in one.rows)
    with Bank.open(folder, readonly=True) as bank, Bars() as bars:
        bank.use(open_encoder(bank.encoder_name, say) if bank.encoder_name else open_encoder(say=say))
        names = dict.fromkeys(environment for environment, _ in tasks)
        held = [name for name in names if bank.count(Filters(environment=name))]
        if not held:
            raise EdgexpError(f"--retrieval {folder}: the bank holds no episode of {' or '.join(names)}, which the results are of")
        for name in held:
            environment = make(name)
            try:
                own = [environment.task(identity) for other, identity in tasks if other == name]
                found.append(measure_quality(bank, environment, own, k, partial(bars.tell, f"retrieving, {name}")))
            finally:
                environment.close()
    return found


def _commands(read: "list[Results]", results: tuple[Path, ...], trainings: tuple[Path, ...], banks: tuple[Path, ...]) -> str:
    """How to play and report again; folders by their names, as paths are nobody's business but their owner's."""
    from edgexp.evaluation.report.figures import name_folder

    names = [shlex.quote(name_folder(folder)) for folder in results]
    suites = [shlex.quote(one.header.suite) for one in read]
    evals = [f"edgexp eval {suite}" + ("" if suite == name else f" --out {name}") for suite, name in zip(suites, names, strict=True)]
    options = [f"--{option} {shlex.quote(name_folder(folder))}"
               for option, folders in (("training", trainings), ("retrieval", banks)) for folder in folders]  # fmt: skip
    return "\n".join([*evals, " ".join(["edgexp report", *names, *options])])
