"""Common style of all figures: sizes, colours, markers, file formats; readable in colour and in greyscale."""

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
HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "oooo", "||||", "++++")
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":")
# Without dates, so that two builds of a report are identical.
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
    columns = min(len(labels), max(1, int(width * 18 / (max(map(len, labels)) + 8))))  # about 18 letters per inch
    figure.set_size_inches(width, height + 0.15 * math.ceil(len(labels) / columns))  # the axes keep their height
    # Entries are reordered to run row by row, as in the table; matplotlib fills column by column.
    order = [k for start in range(columns) for k in range(start, len(labels), columns)]
    figure.legend(
        [handles[k] for k in order], [labels[k] for k in order], loc="outside upper center", ncols=columns,
        handlelength=2.2, columnspacing=1.2,
    )  # fmt: skip


def short(label: str, letters: int = 32) -> str:
    """A label cut to a number of letters, for a legend."""
    return label if len(label) <= letters else label[: letters - 1] + "…"


def look(setting: Setting, row: Row) -> dict[str, Any]:
    """Colour, marker and line style of a row, the same in every figure of a setting; the baseline is black."""
    r = setting.rows.index(row)
    if row is setting.baseline:
        return {"color": "black", "marker": "X", "linestyle": (0, (4, 1.5))}
    return {
        "color": f"C{r % 10}",
        "marker": MARKERS[r % len(MARKERS)],
        "linestyle": LINES[(r + r // 10) % len(LINES)],
    }


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers instead of powers."""
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_formatter(NullFormatter())


def accuracy_axis(axes: Axes) -> None:
    """Label and scale the y-axis for accuracy in percent, from 0 to 100."""
    axes.set(ylabel="test accuracy (%)", ylim=(0, 100), yticks=range(0, 101, 20))
