"""The results as Markdown for a README: a table with intervals, the differences, and how to make it again."""

from collections.abc import Sequence

from edgexp.evaluation.report import words
from edgexp.evaluation.report.figures import Figures, Line
from edgexp.evaluation.retrieval_quality import Quality


def render(sections: Sequence[Figures], commands: str, retrieval: Sequence[Quality] = ()) -> str:
    """One table a results folder, and one a measured bank."""
    parts = [_section(figures, len(sections) > 1) for figures in sections] + [_retrieval(quality) for quality in retrieval]
    return "\n".join([*parts, "```console", *(f"$ {line}" for line in commands.splitlines()), "```", ""])


def _section(figures: Figures, named: bool) -> str:
    titles = [column.title for column in figures.columns]
    lines = [f"**{figures.folder}**\n"] if named else []
    lines += [_row(["condition", *titles]), _row(["---"] * (1 + len(titles)))]
    lines += [_row([f"**{_safe(line.condition)}**<br>{_safe(words.about(line))}", *_cells(figures, line)]) for line in figures.lines]
    lines += ["", _below(figures), ""]
    return "\n".join(lines)


def _cells(figures: Figures, line: Line) -> list[str]:
    cells = []
    for column in figures.columns:
        share, change = line.shares.get(column.key), line.changes.get(column.key)
        text = f"{share.won}/{share.count} = {words.percent(share.share)} ({words.interval(share)})" if share else "not played"
        if change:
            text += f"<br>{words.points(change.difference)} ({words.points(change.low)} to {words.points(change.high)}), "
            text += words.p_value(change.p)
        cells.append(text)
    return cells


def _retrieval(quality: Quality) -> str:
    lines = [_row(["retrieval", *(f"same {aspect}" for aspect in quality.aspects)]), _row(["---"] * (1 + len(quality.aspects)))]
    for way in quality.ways:
        means = (way.shares[aspect] for aspect in quality.aspects)
        lines.append(_row([way.name, *(f"{words.percent(mean.mean)} ({words.interval(mean)})" for mean in means)]))
    return "\n".join([*lines, "", quality.about, ""])


def _below(figures: Figures) -> str:
    played = f"{words.counted(figures.episodes, 'episode')} of {words.counted(figures.tasks, 'task')}"
    text = f"{played}; won of played with Wilson intervals (95 %)."
    if not figures.complete:
        text += " Not every condition has played every task yet."
    text = " ".join([text, *words.endings(figures.broken, figures.full)])
    if figures.baseline and len(figures.lines) > 1:
        text += (f" Second line: difference to *{_safe(figures.baseline)}* in percentage points on the same tasks (Newcombe's interval, "
                 "95 %), p of McNemar's exact test, not corrected for the number of comparisons.")  # fmt: skip
    return text


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _safe(text: str) -> str:
    """Text that cannot end its cell or begin a tag."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*").replace("\n", " ")
