"""Writes the report of an ablation: report.html, report.md, decision.json, tables and figures."""

from __future__ import annotations

from pathlib import Path

from tokenmill.ablate.analysis import Analysis, analyse
from tokenmill.ablate.decision import decide, write_decision
from tokenmill.ablate.report.page import Picture, contents, render_html, render_markdown
from tokenmill.ablate.report.style import Drawing, drawing_style, inline, store
from tokenmill.ablate.report.tables import all_tables
from tokenmill.ablate.scores import load


def write_report(folder: str | Path) -> list[Path]:
    """Analyses the runs below `folder` and writes the report beside them. Returns the files, the page first.

    The same runs give the same bytes. Unfinished ablations have reports as well, which say what is missing.
    ConfigError where the folder is not that of an ablation.
    """
    root = Path(folder)
    return write_analysis(analyse(load(root)), root)


def write_analysis(analysis: Analysis, root: Path) -> list[Path]:
    """The same for an analysis that is at hand."""
    paths = []
    pictures = []
    for drawing in draw(analysis):
        stored = store(drawing, root / "figures")
        svg = inline(stored[0].read_text(encoding="utf-8"), drawing.key)
        pictures.append(Picture(drawing.key, drawing.title, drawing.caption, svg, f"figures/{drawing.key}.png"))
        paths.extend(stored)
    tables = all_tables(analysis)
    (root / "tables").mkdir(parents=True, exist_ok=True)
    for table in tables:
        path = root / "tables" / f"{table.key}.csv"
        path.write_text(table.to_csv(), encoding="utf-8")
        paths.append(path)
    page = contents(analysis, decide(analysis), tables, pictures)
    html, markdown = root / "report.html", root / "report.md"
    html.write_text(render_html(page), encoding="utf-8")
    markdown.write_text(render_markdown(page), encoding="utf-8")
    return [html, markdown, write_decision(analysis, root), *paths]


def draw(analysis: Analysis) -> list[Drawing]:
    """All figures that there is something to show in."""
    from tokenmill.ablate.report.curves import aggregate_figure, tasks_figure
    from tokenmill.ablate.report.pairs import forest_figure, matrix_figure, ranks_figure
    from tokenmill.ablate.report.studies import ladder_figure, mixture_figure

    makers = (
        aggregate_figure, forest_figure, ladder_figure, mixture_figure, tasks_figure, ranks_figure, matrix_figure,
    )  # fmt: skip
    with drawing_style():
        return [drawing for make in makers if (drawing := make(analysis)) is not None]
