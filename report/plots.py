"""Figures of one setting: bars per group, class counts, accuracy per class; readable in colour and in grey."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from .groups import Group, Grouping, by_size
from .statistics import Row, Setting, class_accuracies

COLUMN, PAGE = 3.4, 7.0  # inches: one column of a two-column page, and its whole width
FORMATS = ("png", "svg", "pdf")
NAMED_CLASSES = 20  # up to so many classes are named on an axis; more are numbered

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
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "oooo", "||||", "++++")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", "-.", ":")
# A date would make two builds of one report differ.
METADATA: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the suite, whatever the user's own settings."""
    with matplotlib.style.context(["default", "tableau-colorblind10", _STYLE]):
        yield


def figures(setting: Setting) -> dict[str, Figure]:
    """Short name to figure, in the order of a report."""
    return {
        "shots": group_bars(setting, setting.shots),
        "groups": group_bars(setting, setting.parts),
        "classes": class_lines(setting),
        "counts": class_counts(setting),
    }


@style()
def save(figure: Figure, suffix: str) -> bytes:
    """The contents of a `png`, `svg` or `pdf` file; for one figure the same bytes every time."""
    stream = io.BytesIO()
    figure.savefig(stream, format=suffix, metadata=METADATA[suffix])
    return stream.getvalue()


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _legend(figure: Figure, axes: Axes) -> None:
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


def _short(label: str, letters: int = 32) -> str:
    return label if len(label) <= letters else label[: letters - 1] + "…"


@style()
def group_bars(setting: Setting, grouping: Grouping) -> Figure:
    """Accuracy of every method in every group, with standard deviations over seeds; an empty group keeps its place."""
    rows, groups = setting.rows, grouping.groups
    width = COLUMN if len(rows) * len(groups) <= 15 else PAGE
    figure, axes = _canvas(width, 2.1)
    step = 0.84 / len(rows)
    for r, row in enumerate(rows):
        _bars(axes, row, r, [row.groups[g.name] is not None for g in groups], [g.name for g in groups], step, len(rows))
    for x, group in enumerate(groups):
        if group.missing:
            axes.text(x, 2, "–", ha="center", va="bottom", fontsize=12)
    sizes = [f"({len(g.classes)})" if g.classes else "no class" for g in groups]
    axes.set_xticks(range(len(groups)), [f"{g.name}\n{size}" for g, size in zip(groups, sizes, strict=True)])
    axes.tick_params(axis="x", length=0)
    axes.set(xlabel=f"groups (classes), {grouping.first} training images first", xlim=(-0.55, len(groups) - 0.45))
    _accuracy_axis(axes)
    _legend(figure, axes)
    return figure


def _bars(axes: Axes, row: Row, r: int, filled: list[bool], names: list[str], step: float, many: int) -> None:
    spreads = [row.groups[name] for name in names]
    places = [x + (r - (many - 1) / 2) * step for x in range(len(names)) if filled[x]]
    found = [s for s in spreads if s is not None]
    axes.bar(
        places, [100 * s.mean for s in found], step * 0.92, color=f"C{r % 10}", label=_short(row.label),
        hatch=_HATCHES[r % len(_HATCHES)], edgecolor="black", linewidth=0.5,
    )  # fmt: skip
    for x, s in zip(places, found, strict=True):
        if s.sd is not None:
            axes.errorbar(x, 100 * s.mean, 100 * s.sd, color="black", linewidth=0.8, capsize=min(2.5, 12 * step))


@style()
def class_counts(setting: Setting) -> Figure:
    """Training images of every class, largest first, in the shades of many, medium and few."""
    counts = setting.dataset.train_counts
    order = by_size(counts)
    figure, axes = _canvas(COLUMN, 1.9)
    log = max(counts) >= 10 * min(counts)
    bottom = min(counts) / 2 if log else 0
    start = 0
    groups = setting.shots.groups
    if all(group.missing for group in groups):
        groups = (Group("all", tuple(order)),)
    for group, colour, hatch in zip(groups, ("C0", "C4", "C7"), ("", "....", "////"), strict=False):
        edges = np.arange(start, start + len(group.classes) + 1) + 0.5  # groups lie side by side in the order of size
        axes.stairs(
            [counts[k] for k in group.classes], edges, baseline=bottom, fill=True, facecolor=colour, hatch=hatch,
            edgecolor="black", linewidth=0.5, label=f"{group.name} ({len(group.classes) or 'no class'})",
        )  # fmt: skip
        start += len(group.classes)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(counts) < 100 * min(counts) else (1,)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(ylabel="training images", ylim=(bottom, max(counts) * (1.3 if log else 1.05)))
    _class_axis(axes, setting, order)
    _legend(figure, axes)
    return figure


@style()
def class_lines(setting: Setting) -> Figure:
    """Accuracy of every class, mean over seeds, classes sorted by training images.

    With many classes the points would hide each other's lines: the line is then a moving mean over a tenth of them.
    """
    order = by_size(setting.dataset.train_counts)
    named = len(order) <= NAMED_CLASSES
    at = np.arange(len(order)) + 1
    figure, axes = _canvas(PAGE, 2.4)
    for r, row in enumerate(setting.rows):
        values = 100 * np.mean([class_accuracies(run) for run in row.runs], axis=0)[order]
        look: dict[str, Any] = {"color": f"C{r % 10}", "marker": _MARKERS[r % len(_MARKERS)]}
        line = _LINES[(r + r // 10) % len(_LINES)]
        if named:
            axes.plot(at, values, linestyle=line, label=_short(row.label), alpha=0.9, **look)
            continue
        axes.plot(at, values, linestyle="", alpha=0.3, markersize=2, markeredgewidth=0, **look)
        smooth = moving_mean(values, _window(len(order)))
        middle = at[_window(len(order)) // 2 :][: len(smooth)]
        every = max(1, len(smooth) // 8)
        start = (r * every // max(1, len(setting.rows))) % every  # so that markers of two lines do not coincide
        axes.plot(middle, smooth, linestyle=line, label=_short(row.label), markevery=(start, every), **look)
    _accuracy_axis(axes)
    _class_axis(axes, setting, order)
    if not named:
        axes.set_title(f"dots: one class; lines: mean of {_window(len(order))} neighbouring classes", color="0.3")
    _legend(figure, axes)
    return figure


def _window(classes: int) -> int:
    return classes // 10 // 2 * 2 + 1


def moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Means of `window` neighbours, (N - window + 1,); none where neighbours are lacking."""
    return np.convolve(values, np.full(window, 1 / window), "valid")


def _accuracy_axis(axes: Axes) -> None:
    axes.set(ylabel="test accuracy (%)", ylim=(0, 100), yticks=range(0, 101, 20))


def _class_axis(axes: Axes, setting: Setting, order: list[int]) -> None:
    if len(order) <= NAMED_CLASSES:
        names = [_short(setting.dataset.class_names[k], 14) for k in order]
        axes.set_xticks(range(1, len(order) + 1), names, rotation=45, ha="right")
        axes.tick_params(axis="x", length=0)
    axes.set(xlabel="class, most training images first", xlim=(0.3, len(order) + 0.7))
