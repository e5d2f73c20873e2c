"""The one style of all figures: sizes, colours, markers, files; readable in colour and in grey."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from ...benchmarks.errors import UserError
from ..statistics import Row, Setting

COLUMN, PAGE = 3.4, 7.0  # inches: one column of a two-column page, and its whole width
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
    "text.parse_math": False,  # a "$" in a name is a dollar
    "savefig.dpi": 200,
    "svg.hashsalt": "ltbench",  # else ids inside an SVG differ from run to run
    "pdf.fonttype": 42,  # text stays text; some publishers refuse type 3 fonts
}
HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "oooo", "||||", "++++")
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":")
# A date would make two builds of one report differ.
METADATA: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the suite, whatever the user's own settings."""
    with matplotlib.style.context(["default", "tableau-colorblind10", _STYLE]):
        yield


def picture_format(path: Path) -> str:
    """`png`, `svg` or `pdf`, by the name of the file.

    Raises:
        UserError: it is none of these.
    """
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in METADATA:
        raise UserError(f"{path}: a picture is a .png, .svg or .pdf file.")
    return suffix


@style()
def save(figure: Figure, suffix: str) -> bytes:
    """The contents of a `png`, `svg` or `pdf` file; for one figure the same bytes every time."""
    stream = io.BytesIO()
    figure.savefig(stream, format=suffix, metadata=METADATA[suffix])
    return stream.getvalue()


@style()
def light(figure: Figure) -> bytes:
    """A small SVG for a page: transparent, text as text, and without hatches, which the figure loses for good."""
    for patch in figure.findobj(Patch):
        patch.set_hatch("")
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata=METADATA["svg"], transparent=True)
    return stream.getvalue()


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def legend(figure: Figure, axes: Axes) -> None:
    """Above the axes, where it covers nothing; as many columns as the longest entry leaves room for."""
    handles, labels = axes.get_legend_handles_labels()
    width, height = figure.get_size_inches()
    columns = min(len(labels), max(1, int(width * 18 / (max(map(len, labels)) + 8))))  # about 18 letters per inch
    figure.set_size_inches(width, height + 0.15 * math.ceil(len(labels) / columns))  # the axes keep their height
    # Rows are filled from left to right, in the order of the table; matplotlib would fill columns.
    order = [k for start in range(columns) for k in range(start, len(labels), columns)]
    figure.legend(
        [handles[k] for k in order], [labels[k] for k in order], loc="outside upper center", ncols=columns,
        handlelength=2.2, columnspacing=1.2,
    )  # fmt: skip


def short(label: str, letters: int = 32) -> str:
    """A label that fits a legend."""
    return label if len(label) <= letters else label[: letters - 1] + "…"


def look(setting: Setting, row: Row) -> dict[str, Any]:
    """Colour, marker and line of a row, the same in every figure of a setting; the baseline is black."""
    r = setting.rows.index(row)
    if row is setting.baseline:
        return {"color": "black", "marker": "X", "linestyle": (0, (4, 1.5))}
    return {
        "color": f"C{r % 10}",
        "marker": MARKERS[r % len(MARKERS)],
        "linestyle": LINES[(r + r // 10) % len(LINES)],
    }


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis with numbers instead of powers, which would need formulas."""
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_formatter(NullFormatter())


def accuracy_axis(axes: Axes) -> None:
    """Accuracy in percent, from 0 to 100."""
    axes.set(ylabel="test accuracy (%)", ylim=(0, 100), yticks=range(0, 101, 20))
