"""The plot of a README: success by condition as an SVG file of its own, with the page's colours, light and dark. Draws nothing itself."""

from importlib.resources import files

from edgexp.evaluation.report import plots
from edgexp.evaluation.report.figures import Figures


def picture(figures: Figures) -> str:
    """The file's text. Raises UsageError where Matplotlib is not installed."""
    svg = plots.success(figures, "success").svg
    sheet = (files(__package__ or "edgexp.evaluation.report") / "page.css").read_text(encoding="utf-8")
    colours = sheet[: sheet.index("}") + 1]
    style = f"<style>{colours}\nsvg {{ font-family: var(--sans); background: var(--panel); }}</style>"
    head, _, body = svg.partition(">")
    return f"{head}>{style}{body}\n"
