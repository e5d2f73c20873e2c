"""Line plots of all rows: in one pair of axes, or with many rows in small multiples, one per family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..hues import HUES
from ..statistics import Row, Setting
from ..variants import families
from .style import MOST_LINES, PAGE, height_of, label_ends, legend, look, name_of, shade

End = tuple[Row, float, float]  # a row, and the coordinates of the point that its name labels
Plot = Callable[[Axes, Row, dict[str, Any]], tuple[float, float]]  # draws a row with a look; returns its last point
_COLUMNS = 2
_HEIGHT = 1.4  # height of each of several axes, in inches
_NAME = 24  # width of a name in characters


def line_plot(
    figure: Figure, setting: Setting, plot: Plot, scale: Callable[[Axes], None], axes: Axes | None = None
) -> None:
    """Draw a line per row; with more than ten rows, in small multiples, which enlarge the figure.

    Args:
        figure: figure without axes, apart from `axes`.
        setting: the rows to draw.
        plot: function that draws one row.
        scale: function that sets limits and names of axes, after all lines are drawn.
        axes: axes for at most ten rows; new ones by default.
    """
    if len(setting.rows) > MOST_LINES:
        _small_multiples(figure, setting, plot, scale)
        return
    axes = axes or figure.subplots()
    ends = [(row, *plot(axes, row, look(setting, row))) for row in setting.rows]
    scale(axes)
    name_ends(axes, setting, ends)


def _small_multiples(figure: Figure, setting: Setting, plot: Plot, scale: Callable[[Axes], None]) -> None:
    """Draw the rows of each family in axes of their own, with the baseline in grey in all of them."""
    base, of_each = setting.baseline, _rows_by_title(setting)
    height = -(-len(of_each) // _COLUMNS)
    figure.set_size_inches(PAGE, _HEIGHT * height)
    grid = list(figure.subplots(height, _COLUMNS, sharex=True, sharey=True, squeeze=False).flat)
    for spare in grid[len(of_each) :]:
        spare.remove()
    all_axes, ends = grid[: len(of_each)], []
    for axes, rows in zip(all_axes, of_each.values(), strict=True):
        if base:
            plot(axes, base, {"color": "0.55", "linestyle": "--", "marker": "", "linewidth": 0.9, "label": base.label})
        ends.append([(row, *plot(axes, row, look(setting, row))) for row in rows])
    for k, (axes, title) in enumerate(zip(all_axes, of_each, strict=True)):
        scale(axes)
        axes.set_title(title, color=shade(HUES.get(title, "black"), -0.2), fontsize=7, loc="left")
        below, beside = k + _COLUMNS < len(of_each), k % _COLUMNS > 0
        axes.tick_params(labelbottom=not below)
        axes.set(**({"xlabel": ""} if below else {}), **({"ylabel": ""} if beside else {}))
    if base:
        legend(figure, all_axes[0])
    tallest = max(height_of([name_of(row, _NAME) for row in rows]) for rows in of_each.values())
    room = _make_room(figure, all_axes, tallest + 0.1)
    for axes, of_axes in zip(all_axes, ends, strict=True):
        name_ends(axes, setting, of_axes, height=room)


def _rows_by_title(setting: Setting) -> dict[str, list[Row]]:
    """Rows other than the baseline, by the title of their axes: their family. Families of one method share axes."""
    every = families(row for row in setting.rows if row is not setting.baseline)
    of_each = {family: rows for family, rows in every.items() if len(rows) > 1}
    single = [rows[0] for rows in every.values() if len(rows) == 1]
    return of_each | ({"families of one method": single} if single else {})


def _make_room(figure: Figure, all_axes: Sequence[Axes], least: float) -> float:
    """Enlarge a figure until its axes are at least `least` inches high; return their height."""
    figure.draw_without_rendering()
    height = float(all_axes[0].get_window_extent().height) / figure.dpi
    if height < least:
        rows = -(-len(all_axes) // _COLUMNS)
        figure.set_size_inches(PAGE, figure.get_figheight() + rows * (least - height))
    return max(height, least)


def heights(axes: Axes) -> list[float]:
    """Vertical coordinates of all lines in axes and in those that share their vertical axis."""
    lines = [line for other in axes.get_shared_y_axes().get_siblings(axes) for line in other.lines]
    return [float(y) for line in lines for y in np.asarray(line.get_ydata())]


def name_ends(
    axes: Axes, setting: Setting, ends: Sequence[End], more: Sequence[str] | None = None, height: float = 0
) -> None:
    """Label the ends of lines with the names of their rows, each followed by a string of `more`."""
    texts = [name_of(row, _NAME) + after for (row, _, _), after in zip(ends, more or [""] * len(ends), strict=True)]
    colours = [look(setting, row)["color"] for row, _, _ in ends]
    label_ends(axes, [(x, y) for _, x, y in ends], texts, colours, height)
