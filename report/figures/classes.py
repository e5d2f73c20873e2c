"""Figures of classes: counts, accuracies, and kinds of predictions per group."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ..groups import Group, by_size
from ..statistics import Setting, class_accuracies
from .style import COLUMN, PAGE, accuracy_axis, canvas, legend, look, plain_numbers, short, style

NAMED_CLASSES = 20  # largest number of classes that are named on an axis; more are numbered


@style()
def class_counts(setting: Setting) -> Figure:
    """Training images of every class, largest first, coloured by many, medium and few."""
    counts = setting.dataset.train_counts
    order = by_size(counts)
    figure, axes = canvas(COLUMN, 1.9)
    log = max(counts) >= 10 * min(counts)
    bottom = min(counts) / 2 if log else 0
    start = 0
    groups = setting.shots.groups
    if all(group.missing for group in groups):
        groups = (Group("all", tuple(order)),)
    for group, colour, hatch in zip(groups, ("C0", "C4", "C7"), ("", "....", "////"), strict=False):
        edges = np.arange(start, start + len(group.classes) + 1) + 0.5  # groups are adjacent, largest classes first
        axes.stairs(
            [counts[k] for k in group.classes], edges, baseline=bottom, fill=True, facecolor=colour, hatch=hatch,
            edgecolor="black", linewidth=0.5, label=f"{group.name} ({len(group.classes) or 'no class'})",
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
    """Accuracy of every class, mean over seeds, classes sorted by training images.

    With many classes, lines through all points would hide each other; each line is then a moving mean over a tenth of
    the classes.
    """
    order = by_size(setting.dataset.train_counts)
    named = len(order) <= NAMED_CLASSES
    at = np.arange(len(order)) + 1
    figure, axes = canvas(PAGE, 2.4)
    for r, row in enumerate(setting.rows):
        values = 100 * np.mean([class_accuracies(run) for run in row.runs], axis=0)[order]
        if named:
            axes.plot(at, values, label=short(row.label), alpha=0.9, **look(setting, row))
            continue
        axes.plot(
            at,
            values,
            alpha=0.3,
            markersize=2,
            markeredgewidth=0,
            **(look(setting, row) | {"linestyle": ""}),
        )
        smooth = moving_mean(values, _window(len(order)))
        middle = at[_window(len(order)) // 2 :][: len(smooth)]
        every = max(1, len(smooth) // 8)
        start = (r * every // max(1, len(setting.rows))) % every  # staggers the markers of different lines
        axes.plot(middle, smooth, label=short(row.label), markevery=(start, every), **look(setting, row))
    accuracy_axis(axes)
    _class_axis(axes, setting, order)
    if not named:
        axes.set_title(f"dots: one class; lines: mean of {_window(len(order))} neighbouring classes", color="0.3")
    legend(figure, axes)
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
    """Accuracy of each class against its training images, for the best row and the baseline (or else the last row)."""
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
            label=short(row.label),
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


@style()
def confusions(setting: Setting) -> Figure | None:
    """Predictions for the test images of each group: correct, a class with more training images, or one with fewer.

    One bar per row and group, from the confusion matrices. None if no row has them (above 200 classes) or there are no
    groups.
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
    figure, axes = canvas(PAGE, 2.2)
    step = 0.84 / len(rows)
    for r in range(len(rows)):
        positions = np.arange(len(groups)) + (r - (len(rows) - 1) / 2) * step
        bottom = np.zeros(len(groups))
        for k in kinds:
            kind, colour, hatch = _KINDS[k]
            part, label = 100 * fractions[r][:, k], kind if r == 0 else None
            axes.bar(
                positions, part, step * 0.9, bottom, color=colour, hatch=hatch, label=label, edgecolor="0.3", lw=0.4
            )
            bottom += part
    names = ", ".join(short(row.label, 28) for row in rows)
    axes.set_xticks(range(len(groups)), [f"{g.name} ({len(g.classes)})" for g in groups])
    axes.tick_params(axis="x", length=0)
    axes.set(xlabel=f"bars from left to right: {names}", ylabel="test images (%)", ylim=(0, 100))
    axes.xaxis.label.set_wrap(True)
    legend(figure, axes)
    return figure


_KINDS = (
    ("correct", "C0", ""),
    ("mistaken for a class with more training images", "C1", "////"),
    ("mistaken for a class with fewer", "C2", "...."),
    ("mistaken for a class with equally many", "C8", "xxxx"),
)


def _fractions(confusion: np.ndarray, counts: np.ndarray, groups: list[Group]) -> np.ndarray:
    """Fraction of each kind of prediction, mean over the classes of a group, float64 (groups, 4)."""
    rates = confusion / confusion.sum(1, keepdims=True)
    wrong = rates * ~np.eye(len(counts), dtype=bool)
    true, predicted = counts[:, None], counts[None, :]
    parts = [rates.diagonal(), *((wrong * where).sum(1) for where in (predicted > true, predicted < true))]
    by_class = np.stack([*parts, (wrong * (predicted == true)).sum(1)], axis=1)
    return np.array([by_class[list(group.classes)].mean(0) for group in groups])
