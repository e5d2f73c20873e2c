"""Common style of all figures: sizes, colours, markers, file formats; readable in colour and in greyscale."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter, StrMethodFormatter
from scipy.optimize import isotonic_regression

from ...benchmarks.errors import UserError, printable
from ...benchmarks.utils.docstrings import FAMILIES
from ..hues import HUES
from ..statistics import FEWER_SEEDS, Row, Setting
from ..variants import families

COLUMN, PAGE = 3.4, 7.0  # width in inches of one column of a two-column page, and of the whole page
FORMATS = ("png", "svg", "pdf")

_STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "0.88",
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "text.parse_math": False,  # a "$" in a name is literal
    "savefig.dpi": 200,
    "svg.hashsalt": "ltbench",  # makes the ids inside an SVG reproducible
    "pdf.fonttype": 42,  # TrueType fonts; some publishers refuse type 3 fonts
}
MOST_LINES = 10  # more lines cannot be distinguished, and more named rows need an order by family
SHADES = (0.0, 0.45, -0.4, 0.25, -0.2, 0.65)  # of a family's colour: towards white, or if negative towards black
MARKERS = ("o", "s", "^", "D", "v", "P", "<", "p", ">", "h", "d")
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (2, 1)))
DIVIDER: dict[str, Any] = {"color": "0.6", "linewidth": 0.5, "zorder": 1}  # look of a line between groups of rows
LINE = 0.125  # height of a line of text in inches
# A date would make two builds of one report differ.
METADATA: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


@contextmanager
def style() -> Iterator[None]:
    """Context in which figures have the style of the suite, independent of the user's matplotlib settings."""
    with matplotlib.style.context(["default", "tableau-colorblind10", _STYLE]):
        yield


def picture_format(path: Path) -> str:
    """Format of a picture file by its extension: `png`, `svg` or `pdf`.

    Raises:
        UserError: the file has another extension.
    """
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in METADATA:
        raise UserError(f"{path}: a picture must be a .png, .svg or .pdf file.")
    return suffix


@style()
def save(figure: Figure, suffix: str) -> bytes:
    """Contents of a `png`, `svg` or `pdf` file; the same figure always gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format=suffix, metadata=METADATA[suffix])
    return stream.getvalue()


@style()
def light(figure: Figure) -> bytes:
    """Contents of a small transparent SVG for the HTML page, without hatches, which are removed from the figure."""
    for patch in figure.findobj(Patch):
        patch.set_hatch("")
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata=METADATA["svg"], transparent=True)
    return stream.getvalue()


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; width and height in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def legend(figure: Figure, axes: Axes) -> None:
    """Add a legend above the axes, with as many columns as the longest entry allows."""
    handles, labels = axes.get_legend_handles_labels()
    width, height = figure.get_size_inches()
    columns = min(len(labels), max(1, int(width * 18 / (max(map(len, labels)) + 8))))  # about 18 characters per inch
    figure.set_size_inches(width, height + 0.15 * math.ceil(len(labels) / columns))  # the axes keep their height
    # Entries are reordered to run row by row, as in the table; matplotlib fills column by column.
    order = [k for start in range(columns) for k in range(start, len(labels), columns)]
    figure.legend(
        [handles[k] for k in order], [labels[k] for k in order], loc="outside upper center", ncols=columns,
        handlelength=2.2, columnspacing=1.2,
    )  # fmt: skip


def short(text: str, letters: int = 32) -> str:
    """A string for a figure: control characters become visible escapes, and it is cut to `letters` characters."""
    text = printable(text)
    return text if len(text) <= letters else text[: letters - 1] + "…"


def name_of(row: Row, width: int = 30) -> str:
    """Label of a row in up to three lines, with the number of its seeds if it has fewer than other rows."""
    seeds = f" [{row.overall.n}\N{NO-BREAK SPACE}seed{'s' * (row.overall.n > 1)}]" if row.apart == FEWER_SEEDS else ""
    lines = textwrap.wrap(printable(row.label) + seeds, width, subsequent_indent="  ", max_lines=3, placeholder=" …")
    return "\n".join(lines)


def look(setting: Setting, row: Row) -> dict[str, Any]:
    """Colour, marker and line style of a row, the same for a method in all figures; the baseline is black.

    Methods of one family have shades of one colour. Markers of rows that are not ranked with the others are hollow.
    """
    hollow = {"markerfacecolor": "white"} if row.apart else {}
    if row is setting.baseline:
        return {"color": "black", "marker": "X", "linestyle": (0, (4, 1.5))} | hollow
    relatives = [method for method, family in setting.methods.items() if family == row.family]
    k = relatives.index(row.method) if row.method in relatives else len(relatives)
    return {
        "color": shade(HUES[row.family], SHADES[k % len(SHADES)]),
        "marker": MARKERS[(FAMILIES.index(row.family) + k) % len(MARKERS)],
        "linestyle": LINES[k % len(LINES)],
    } | hollow


def shade(colour: str, amount: float) -> str:
    """A colour mixed with white, or with black if the amount is negative; the amount is in [-1, 1]."""
    red, green, blue = ((1 - abs(amount)) * part + max(amount, 0) for part in to_rgb(colour))
    return to_hex((red, green, blue))


def panels(rows: Sequence[Row], titles: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Axes side by side, one per title; they share a vertical axis with one position per row, named at the left."""
    names = [name_of(row) for row in rows]
    step = 0.05 + 0.115 * max(name.count("\n") + 1 for name in names)
    longest = max(len(line) for name in names for line in name.split("\n"))
    width = COLUMN if len(titles) <= 4 and longest <= 24 and len(rows) <= MOST_LINES else PAGE
    figure = Figure(figsize=(width, 0.9 + step * len(rows)), layout="constrained")
    all_axes = list(figure.subplots(1, len(titles), sharey=True, squeeze=False)[0])
    for axes, title in zip(all_axes, titles, strict=True):
        axes.set_title(title.replace(" (", "\n("), fontsize=7)
        axes.set(ylim=(len(rows) - 0.4, -0.6))
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    all_axes[0].set_yticks(range(len(rows)), names, fontsize=7)
    _divide(all_axes, [row.method for row in rows])
    if len(rows) > MOST_LINES:
        _name_families(all_axes, rows)
    return figure, all_axes


def _divide(all_axes: Sequence[Axes], methods: Sequence[str]) -> None:
    """Draw lines between the methods if any of them has several rows."""
    changes = [k for k in range(1, len(methods)) if methods[k] != methods[k - 1]]
    if len(changes) + 1 < len(methods):
        for axes in all_axes:
            for k in changes:
                axes.axhline(k - 0.5, **DIVIDER)


def _name_families(all_axes: Sequence[Axes], rows: Sequence[Row]) -> None:
    """Divide rows that are sorted by family with lines, and name the families at the right, each in its colour."""
    start = 0
    for family, of_family in families(rows).items():
        end = start + len(of_family)
        if start:
            for axes in all_axes:
                axes.axhline(start - 0.5, **DIVIDER)
        all_axes[-1].annotate(
            family, (1, (start + end - 1) / 2), (4, 0), ("axes fraction", "data"), "offset points", va="center",
            fontsize=7, color=shade(HUES[family], -0.2), annotation_clip=False,
        )  # fmt: skip
        start = end


def label_ends(
    axes: Axes, ends: Sequence[tuple[float, float]], texts: Sequence[str], colours: Sequence[str], height: float = 0
) -> None:
    """Label points, such as the ends of lines, at the right of the axes; a thin line joins each label to its point.

    The limits of the axes must be final. `height` is the height of the axes in inches; without it, the axes are assumed
    to fill the figure, which becomes taller if it has no room for all labels.
    """
    if not height:
        figure = axes.figure
        assert isinstance(figure, Figure)
        width, full = figure.get_size_inches()
        figure.set_size_inches(width, max(full, 0.6 + height_of(texts)))
        height = figure.get_figheight() - 0.5
    gaps = [height_of([text]) / height for text in texts]
    low, high = axes.get_ylim()
    order = sorted(range(len(ends)), key=lambda k: ends[k][1])
    places = spread_out([(ends[k][1] - low) / (high - low) for k in order], [gaps[k] for k in order])
    for k, place in zip(order, places, strict=True):
        axes.annotate(
            texts[k], ends[k], (1.06, place), textcoords="axes fraction", va="center", fontsize=7,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colours[k], "linewidth": 0.7, "relpos": (0, 0.5), "shrinkB": 2},
        )  # fmt: skip


def height_of(texts: Sequence[str]) -> float:
    """Height of some labels one below the other, in inches."""
    return LINE * sum(text.count("\n") + 1 for text in texts)


def spread_out(places: Sequence[float], gaps: Sequence[float]) -> np.ndarray:
    """Move ascending places in [0, 1] as little as possible until neighbours are half the sum of their gaps apart."""
    middle = np.cumsum(gaps) - np.array(gaps) / 2
    start = isotonic_regression(np.array(places) - middle).x  # places with the gaps taken out
    moved: np.ndarray = np.clip(start, -middle[0], max(0, 1 - middle[-1])) + middle
    return moved


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers instead of powers."""
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_formatter(NullFormatter())


def accuracy_axis(axes: Axes, values: Iterable[float] = (0,), axis: str = "y") -> None:
    """Scale an axis for accuracies in percent: from a multiple of 10 not above any of `values`, at most 60, to 100.

    The wide range keeps differences within the noise small.
    """
    low = min(60, 10 * math.floor(min(values, default=0) / 10))
    step = 20 if low <= 40 else 10
    ticks = range(100, low - 1, -step)
    if axis == "y":
        axes.set(ylabel="test accuracy (%)", ylim=(low, 100), yticks=ticks)
    else:
        axes.set(xlim=(low, 100), xticks=(low, 100))
