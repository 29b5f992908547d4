"""How figures look and how they are stored: colour-blind safe, readable in grey, the same bytes for the same runs.

Colours are Okabe and Ito's without yellow, which is too light for lines on white; every arm has a marker and a dash of
its own as well. No pyplot: it keeps figures in global state.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES: tuple[Any, ...] = ((0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), "-")
BASELINE = ("#000000", "X", "-")
GREY = "#6b6b6b"
FULL_REM = 52
"""Width of a full figure on the page, as the style sheet has it."""
WIDTH = 7.2
"""Inches: a page with margins."""
PNG_DPI = 160
LONGEST = 32
_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "svg.fonttype": "path",
    "figure.facecolor": "white",
    "text.usetex": False,
    "axes.unicode_minus": True,
}


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure with the words that go with it."""

    key: str
    """Name of its files, a plain identifier."""
    title: str
    caption: str
    figure: Any
    """matplotlib.figure.Figure"""


@contextmanager
def drawing_style(salt: str = "tokenmill") -> Iterator[None]:
    """Settings of matplotlib for as long as the block runs; glyphs that the font lacks are boxes, not warnings."""
    import matplotlib

    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(width: float, height: float) -> Any:
    """An empty figure, in inches, whose parts make room for each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def store(drawing: Drawing, folder: Path) -> list[Path]:
    """Writes the figure as SVG and PNG, without dates."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{drawing.key}.svg", folder / f"{drawing.key}.png"]
    with drawing_style(drawing.key):
        FigureCanvasSVG(drawing.figure)
        drawing.figure.savefig(paths[0], format="svg", metadata={"Date": None, "Creator": None})
        FigureCanvasAgg(drawing.figure)
        drawing.figure.savefig(paths[1], format="png", dpi=PNG_DPI, metadata={"Software": None})
    return paths


def inline(svg: str, key: str) -> str:
    """An SVG file as an element of a page: without its head, its names made unique by the figure's key."""
    head, rest = svg[svg.index("<svg") :].split(">", 1)
    # the page sets the width of a full figure, the view box the proportions; a narrow one must not be blown up
    found = re.search(r'viewBox="0 0 ([\d.]+) ', head)
    share = min(1.0, float(found[1]) / (72 * WIDTH)) if found else 1.0
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)
    head = f'{head} style="max-width: {FULL_REM * share:.1f}rem"'
    rest = re.sub(r"<metadata>.*?</metadata>", "", rest, flags=re.DOTALL)
    return re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{key}-", f"{head}>{rest}")


def printable(text: str) -> str:
    """Without characters that are not seen but change what is: of control, and of the direction of writing."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)


def legend_columns(names: Iterable[str], width: float = WIDTH) -> int:
    """How many names fit side by side below a figure of that width, in inches."""
    longest = max((len(name) for name in names), default=1)
    return max(1, min(6, int(width * 13 / (longest + 9))))


def label(name: str) -> str:
    """A name as a text of a figure: no formulas, no line breaks, not hidden from legends, not endless."""
    plain = "".join(c if c.isprintable() else " " for c in name)
    plain = plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"
    plain = f" {plain}" if plain.startswith("_") else plain
    return plain.replace("$", r"\$")


def looks(arms: Sequence[str], baseline: str) -> dict[str, dict[str, Any]]:
    """Arm -> colour, marker and dash; the baseline is black. Beyond six others they repeat with hollow markers."""
    found: dict[str, dict[str, Any]] = {}
    place = 0
    for arm in arms:
        if arm == baseline:
            colour, marker, dash = BASELINE
            fill = colour
        else:
            at, turn = place % len(COLOURS), place // len(COLOURS)
            colour, marker = COLOURS[at], MARKERS[at]
            dash = DASHES[(at + turn) % len(DASHES)]
            fill = colour if turn % 2 == 0 else "white"
            place += 1
        found[arm] = {"color": colour, "marker": marker, "linestyle": dash, "markerfacecolor": fill}
    return found


def token_axis(axes: Any, label: str = "trained tokens") -> None:
    """Tokens with M and B on the horizontal axis."""
    axes.xaxis.set_major_formatter(lambda value, _: amount(value))
    axes.xaxis.set_major_locator(_locator())
    axes.set_xlabel(label)


def _locator() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)


def amount(value: float) -> str:
    """1500000 -> '1.5M'."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
