"""Figures of single classes: number of training images, accuracies, and differences from the baseline."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ..groups import Group, by_size
from ..paired_tests import paired_runs
from ..statistics import Row, Setting, class_accuracies
from .lines import heights, line_plot
from .style import COLUMN, PAGE, accuracy_axis, canvas, legend, look, name_of, panels, plain_numbers, short, style

NAMED_CLASSES = 20  # largest number of classes that an axis names; more are numbered
_MOST_COLUMNS = 200  # largest number of columns of a heat map; with more classes, neighbours are averaged


@style()
def class_counts(setting: Setting) -> Figure:
    """Number of training images of every class, largest first, coloured by group: many, medium and few."""
    counts = setting.dataset.train_counts
    order = by_size(counts)
    figure, axes = canvas(COLUMN, 1.9)
    log = max(counts) >= 10 * min(counts)
    bottom = min(counts) / 2 if log else 0
    start = 0
    groups = setting.shots.groups
    if all(group.missing for group in groups):
        groups = (Group("all", tuple(order)),)
    shades = zip(("#0072B2", "#56B4E9", "#C6E2F5"), ("", "....", "////"), strict=True)
    for group, (colour, hatch) in zip(groups, shades, strict=False):
        if not group.classes:
            continue
        edges = (
            np.arange(start, start + len(group.classes) + 1) + 0.5
        )  # groups are adjacent, as classes are sorted by size
        axes.stairs(
            [counts[k] for k in group.classes], edges, baseline=bottom, fill=True, facecolor=colour, hatch=hatch,
            edgecolor="black", linewidth=0.5, label=f"{group.name} ({len(group.classes)})",
        )  # fmt: skip
        start += len(group.classes)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(counts) < 100 * min(counts) else (1,)))
        plain_numbers(axes.yaxis)
    axes.set(ylabel="training images", ylim=(bottom, max(counts) * (1.3 if log else 1.05)))
    _class_axis(axes, setting, order)
    legend(figure, axes)
    return figure


@style()
def class_lines(setting: Setting) -> Figure:
    """Line plot of per-class accuracy, averaged over seeds; classes with the most training images come first.

    With many classes, lines through all points would overlap too much to be read; each line is then a moving mean over
    a tenth of the classes.
    """
    order = by_size(setting.dataset.train_counts)
    named = len(order) <= NAMED_CLASSES
    window = 1 if named else _window(len(order))
    at = np.arange(len(order))[window // 2 :] + 1

    def plot(axes: Axes, row: Row, shown: dict[str, Any]) -> tuple[float, float]:
        values = 100 * np.mean([class_accuracies(run) for run in row.runs], axis=0)[order]
        smooth = moving_mean(values, window)
        axes.plot(at[: len(smooth)], smooth, alpha=0.9, **(shown | ({} if named else {"marker": ""})))
        return float(at[len(smooth) - 1]), float(smooth[-1])

    def scale(axes: Axes) -> None:
        accuracy_axis(axes, heights(axes))
        _class_axis(axes, setting, order)
        if not named:
            axes.set_xlabel(f"{axes.get_xlabel()}\n(mean of {window} neighbouring classes)")

    figure = Figure(figsize=(PAGE, 2.4), layout="constrained")
    line_plot(figure, setting, plot, scale)
    return figure


@style()
def class_differences(setting: Setting) -> Figure | None:
    """Heat map of rows by classes: accuracy minus that of the baseline, mean over shared seeds.

    The colour scale covers at least +-10 percentage points, so that differences within the noise are pale. None if
    there is no baseline or no other row.
    """
    base = setting.baseline
    rows = [row for row in setting.rows if row is not base]
    if not base or not rows:
        return None
    order = by_size(setting.dataset.train_counts)
    bins = np.array_split(np.array(order), min(len(order), _MOST_COLUMNS))
    pairs = [[class_accuracies(x) - class_accuracies(y) for x, y in paired_runs(row, base)] for row in rows]
    by_class = [100 * np.mean(of_row, axis=0) if of_row else np.full(len(order), np.nan) for of_row in pairs]
    values = np.array([[of_row[classes].mean() for classes in bins] for of_row in by_class])
    limit = max(10.0, float(np.ceil(np.nanmax(np.abs(values), initial=0))))
    figure, (axes,) = panels(rows, [""])
    figure.set_size_inches(PAGE, figure.get_figheight() + 0.35)
    image = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    image.set_extent((0.5, len(order) + 0.5, len(rows) - 0.5, -0.5))
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=max(8, 3 * len(rows)))
    axes.set_title(f"test accuracy minus that of {short(base.label)} (percentage points)", fontsize=7)
    bar.outline.set_visible(False)
    axes.grid(visible=False)
    for edge in np.cumsum([len(group.classes) for group in setting.shots.groups])[:-1]:
        axes.axvline(edge + 0.5, color="black", linewidth=0.6)
    _class_axis(axes, setting, order)
    axes.set(xlim=(0.5, len(order) + 0.5), ylim=(len(rows) - 0.5, -0.5))
    names = ", ".join(group.name for group in setting.shots.groups if group.classes)
    axes.set_xlabel(f"class, most training images first; lines divide {names}" if names else axes.get_xlabel())
    return figure


def _window(classes: int) -> int:
    return classes // 10 // 2 * 2 + 1


def moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Moving mean over `window` neighbours without padding, float64 (N - window + 1,)."""
    return np.convolve(values, np.full(window, 1 / window), "valid")


def _class_axis(axes: Axes, setting: Setting, order: list[int]) -> None:
    if len(order) <= NAMED_CLASSES:
        names = [short(setting.dataset.class_names[k], 14) for k in order]
        axes.set_xticks(range(1, len(order) + 1), names, rotation=45, ha="right")
        axes.tick_params(axis="x", length=0)
    axes.set(xlabel="class, most training images first", xlim=(0.3, len(order) + 0.7))


@style()
def class_sizes(setting: Setting) -> Figure:
    """Accuracy of each class against its size, for the baseline (or else the last row) and the best other row."""
    counts = np.array(setting.dataset.train_counts)
    rows = list(setting.rows)
    base = setting.baseline or rows[-1]
    pair = [base, *[row for row in rows if row is not base][:1]]
    figure, axes = canvas(COLUMN, 2.3)
    values = [100 * np.mean([class_accuracies(run) for run in row.runs], axis=0) for row in pair]
    if len(values) == 2:
        axes.vlines(counts, *values, color="0.7", linewidth=0.7, zorder=1)
    for row, accuracies in zip(pair, values, strict=True):
        axes.plot(
            counts,
            accuracies,
            label=short(name_of(row).replace("\n", ""), 40),
            **(look(setting, row) | {"linestyle": ""}),
        )
    _count_axis(axes, counts)
    accuracy_axis(axes)
    legend(figure, axes)
    return figure


def _count_axis(axes: Axes, counts: np.ndarray) -> None:
    if counts.max() >= 10 * counts.min():
        axes.set_xscale("log")
        plain_numbers(axes.xaxis)
    axes.set(xlabel="training images of the class")
