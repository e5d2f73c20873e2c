"""Figures of all rows by group of classes: accuracies as points, predictions as stacked bars."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..groups import Group, Grouping
from ..statistics import Setting
from .style import accuracy_axis, legend, look, panels, style

_KINDS = (
    ("correct", "#0072B2", ""),
    ("more frequent class", "#E69F00", "////"),
    ("rarer class", "#56B4E9", "...."),
    ("equally frequent class", "0.85", "xxxx"),
)


@style()
def group_bars(setting: Setting, grouping: Grouping) -> Figure | None:
    """Accuracy of every row overall and in each non-empty group, with standard deviations over seeds.

    A dashed line shows the baseline. None if all groups are empty or there is no row.
    """
    groups = [group for group in grouping.groups if group.classes]
    if not groups or not setting.rows:
        return None
    titles = [f"overall ({len(setting.dataset.train_counts)})", *(f"{g.name} ({len(g.classes)})" for g in groups)]
    figure, all_axes = panels(setting.rows, titles)
    spreads = [[row.overall, *(row.groups[group.name] for group in groups)] for row in setting.rows]
    lowest = min(100 * spread.mean for of_row in spreads for spread in of_row if spread)
    for k, axes in enumerate(all_axes):
        for y, (row, of_row) in enumerate(zip(setting.rows, spreads, strict=True)):
            spread = of_row[k]
            if spread is None:
                continue
            error = None if spread.sd is None else 100 * spread.sd
            shown = look(setting, row) | {"linestyle": "", "clip_on": False}  # a marker at 100 is not cut off
            axes.errorbar(100 * spread.mean, y, xerr=error, elinewidth=0.8, capsize=1.5, **shown)
            if row is setting.baseline:
                axes.axvline(100 * spread.mean, color="0.5", linewidth=0.7, linestyle="--", zorder=1)
        accuracy_axis(axes, [lowest], "x")
    figure.supxlabel(f"test accuracy (%); groups (classes), {grouping.first} training images first", fontsize=7)
    return figure


@style()
def confusions(setting: Setting) -> Figure | None:
    """Predictions for the test images of each group: correct, a more frequent class, or a rarer one.

    One bar per row and group, from confusion matrices; a fourth part shows equally frequent classes if there are any.
    None if no row has confusion matrices (records omit them above 200 classes) or all groups are empty.
    """
    groups = [group for group in setting.parts.groups if group.classes]
    rows = [row for row in setting.rows if all(run.final.confusion for run in row.runs)]
    if not rows or not groups:
        return None
    counts = np.array(setting.dataset.train_counts)
    fractions = [
        np.mean([_fractions(np.array(run.final.confusion), counts, groups) for run in row.runs], axis=0) for row in rows
    ]
    kinds = [k for k in range(len(_KINDS)) if any(of_row[:, k].any() for of_row in fractions) or k < 3]
    figure, all_axes = panels(rows, [f"{group.name} ({len(group.classes)})" for group in groups])
    for g, axes in enumerate(all_axes):
        left = np.zeros(len(rows))
        for k in kinds:
            label, colour, hatch = _KINDS[k]
            part = np.array([100 * of_row[g, k] for of_row in fractions])
            bars: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "0.3", "linewidth": 0.3}
            axes.barh(range(len(rows)), part, 0.78, left, label=label, **bars)
            left += part
        axes.set(xlim=(0, 100), xticks=(0, 50))
        axes.grid(visible=False)
    figure.supxlabel("test images (%), by predicted class", fontsize=7)
    legend(figure, all_axes[0])
    return figure


def _fractions(confusion: np.ndarray, counts: np.ndarray, groups: list[Group]) -> np.ndarray:
    """Fraction of each kind of prediction in `_KINDS`, mean over the classes of a group, float64 (groups, 4)."""
    rates = confusion / confusion.sum(1, keepdims=True)
    wrong = rates * ~np.eye(len(counts), dtype=bool)
    true, predicted = counts[:, None], counts[None, :]
    parts = [rates.diagonal(), *((wrong * where).sum(1) for where in (predicted > true, predicted < true))]
    by_class = np.stack([*parts, (wrong * (predicted == true)).sum(1)], axis=1)
    return np.array([by_class[list(group.classes)].mean(0) for group in groups])
