"""Bar chart of the accuracy of every row in the groups of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..groups import Grouping
from ..statistics import Setting, Spread
from .style import COLUMN, HATCHES, PAGE, accuracy_axis, canvas, legend, look, short, style


@style()
def group_bars(setting: Setting, grouping: Grouping) -> Figure:
    """Bars for every row and group, with standard deviations over seeds; an empty group leaves a gap."""
    rows, groups = setting.rows, grouping.groups
    width = COLUMN if len(rows) * len(groups) <= 15 else PAGE
    figure, axes = canvas(width, 2.1)
    step = 0.84 / len(rows)
    for r, row in enumerate(rows):
        spreads = [row.groups[g.name] for g in groups]
        at = np.arange(len(groups)) + (r - (len(rows) - 1) / 2) * step
        hatch = "" if row is setting.baseline else HATCHES[r % len(HATCHES)]
        bars = {"label": short(row.label), "color": look(setting, row)["color"], "hatch": hatch}
        _bars(axes, at, spreads, step, bars)
    for x, group in enumerate(groups):
        if group.missing:
            axes.text(x, 2, "–", ha="center", va="bottom", fontsize=12)
    sizes = [f"({len(g.classes)})" if g.classes else "no class" for g in groups]
    axes.set_xticks(range(len(groups)), [f"{g.name}\n{size}" for g, size in zip(groups, sizes, strict=True)])
    axes.tick_params(axis="x", length=0)
    axes.set(xlabel=f"groups (classes), {grouping.first} training images first", xlim=(-0.55, len(groups) - 0.45))
    accuracy_axis(axes)
    legend(figure, axes)
    return figure


def _bars(axes: Axes, at: np.ndarray, spreads: list[Spread | None], width: float, bars: dict[str, Any]) -> None:
    """Draw the bars of one row at positions `at`, except where a spread is None."""
    heights = {float(x): spread for x, spread in zip(at, spreads, strict=True) if spread is not None}
    percents = [100 * spread.mean for spread in heights.values()]
    axes.bar(list(heights), percents, width * 0.92, edgecolor="black", linewidth=0.5, **bars)
    for x, spread in heights.items():
        if spread.sd is not None:
            cap = min(2.5, 12 * width)
            axes.errorbar(x, 100 * spread.mean, 100 * spread.sd, color="black", linewidth=0.8, capsize=cap)
