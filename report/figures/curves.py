"""Figures of training curves, cost, calibration, shifted priors, and trade-off between frequent and rare classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..costs import costs
from ..logits import TAUS, Scores, group_curve, tail_priors
from ..statistics import Row, Setting, class_accuracies
from .lines import End, heights, line_plot, name_ends
from .style import COLUMN, MOST_LINES, PAGE, accuracy_axis, canvas, legend, look, plain_numbers, style

_MARKED = {0.0: ("o", "as trained"), 1.0: ("s", "tau = 1")}  # strengths that a trade-off curve marks


@style()
def training_curves(setting: Setting) -> Figure:
    """Test accuracy of each evaluated epoch, mean over seeds; with at most ten rows, the training loss beside it."""
    figure = Figure(figsize=(PAGE, 2.2), layout="constrained")
    right = None
    if len(setting.rows) <= MOST_LINES:
        left, right = figure.subplots(1, 2)
        for row in setting.rows:
            _losses(left, row, look(setting, row))
        _loss_axis(left)

    def scale(axes: Axes) -> None:
        accuracy_axis(axes, heights(axes))
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    line_plot(figure, setting, _accuracies, scale, right)
    return figure


@style()
def training_losses(setting: Setting) -> Figure | None:
    """Training loss of each epoch, mean over seeds, in small multiples by family; None for at most ten rows."""
    if len(setting.rows) <= MOST_LINES:
        return None
    figure = Figure(layout="constrained")
    line_plot(figure, setting, _losses, _loss_axis)
    return figure


def _losses(axes: Axes, row: Row, shown: dict[str, Any]) -> tuple[float, float]:
    """Draw the training loss of a row; return the last point."""
    epochs = min(len(run.history.loss) for run in row.runs)
    losses = np.mean([run.history.loss[:epochs] for run in row.runs], axis=0)
    axes.plot(np.arange(epochs) + 1, losses, **(shown | {"marker": ""}))
    return epochs, float(losses[-1])


def _loss_axis(axes: Axes) -> None:
    """Scale an axis for losses; it is logarithmic if the largest losses of two lines differ by over a factor of 100."""
    siblings = axes.get_shared_y_axes().get_siblings(axes)
    highest = [np.max(line.get_ydata()) for other in siblings for line in other.lines]
    wide = max(highest) > 100 * min(highest)
    axes.set(xlabel="epoch", ylabel="training loss", **({"yscale": "log"} if wide else {"ylim": (0, None)}))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if wide:
        plain_numbers(axes.yaxis)


def _accuracies(axes: Axes, row: Row, shown: dict[str, Any]) -> tuple[float, float]:
    """Draw the test accuracy of the epochs that all runs of a row evaluate; return the last point."""
    epochs = sorted(set.intersection(*(set(run.history.evaluated_epochs) for run in row.runs)))
    by_run = [dict(zip(run.history.evaluated_epochs, run.history.accuracy, strict=True)) for run in row.runs]
    values = [100 * np.mean([accuracy[epoch] for accuracy in by_run]) for epoch in epochs]
    axes.plot(np.array(epochs) + 1, values, **shown)
    return epochs[-1] + 1, float(values[-1])


@style()
def cost_scatter(setting: Setting) -> Figure:
    """Accuracy against the time of a run and of the training that it builds on, in seconds.

    A line joins the rows that no cheaper row beats; rows that are not ranked with the others are not considered.
    """
    figure, axes = canvas(COLUMN, 2.2)
    points = [(costs(row).total, 100 * row.overall.mean) for row in setting.rows]
    front, best = [], -np.inf
    ranked = [point for row, point in zip(setting.rows, points, strict=True) if not row.apart]
    for seconds, accuracy in sorted(ranked, key=lambda point: (point[0], -point[1])):
        if accuracy > best:
            front.append((seconds, accuracy))
            best = accuracy
    axes.plot(*zip(*front, strict=True), color="0.6", linewidth=0.8, zorder=1, drawstyle="steps-post")
    for row, (seconds, accuracy) in zip(setting.rows, points, strict=True):
        axes.errorbar(
            seconds, accuracy, 100 * row.overall.sd if row.overall.sd is not None else None, capsize=2,
            elinewidth=0.8, **(look(setting, row) | {"linestyle": ""}),
        )  # fmt: skip
    axes.set(xlabel="seconds of a run with its prerequisites")
    axes.set_xlim(0, 1.08 * max(seconds for seconds, _ in points))
    accuracy_axis(axes, [accuracy for _, accuracy in points])
    name_ends(axes, setting, [(row, *point) for row, point in zip(setting.rows, points, strict=True)])
    return figure


@style()
def trade_off(setting: Setting, scores: Mapping[str, Scores]) -> Figure | None:
    """Accuracy of the rarest against that of the most frequent group, for all strengths of logit adjustment.

    None if no row has logits or there are fewer than two groups.
    """
    groups = [group for group in setting.parts.groups if group.classes]
    if setting.parts.first == "fewest":
        groups = groups[::-1]
    lines = []
    for row in setting.rows:
        runs = [run for run in row.runs if run.id in scores]
        if runs and len(groups) > 1:
            head, tail = (
                100 * np.mean([group_curve(run, scores, group.classes) for run in runs], axis=0)
                for group in (groups[0], groups[-1])
            )
            lines.append((row, head, tail))
    if not lines:
        return None
    figure, axes = canvas(COLUMN, 2.6)
    for row, head, tail in lines:
        axes.plot(head, tail, **(look(setting, row) | {"marker": ""}))
        for tau, (marker, _) in _MARKED.items():
            k = int(np.flatnonzero(tau == TAUS)[0])
            axes.plot(
                head[k],
                tail[k],
                marker=marker,
                color=look(setting, row)["color"],
                markeredgecolor="black",
                linestyle="",
            )
    for marker, words in _MARKED.values():
        axes.plot([], [], marker=marker, color="white", markeredgecolor="black", linestyle="", label=words)
    name, last = groups[0].name, groups[-1].name
    axes.set(
        xlabel=f"{name}: accuracy of the most frequent classes (%)",
        ylabel=f"{last}: accuracy of the rarest classes (%)",
        xlim=(0, 100),
        ylim=(0, 100),
    )
    legend(figure, axes)
    start = int(np.flatnonzero(TAUS == 0)[0])
    name_ends(axes, setting, [(row, head[start], tail[start]) for row, head, tail in lines])
    return figure


@style()
def reliability(setting: Setting, scores: Mapping[str, Scores]) -> Figure | None:
    """Reliability diagram: accuracy against confidence; the diagonal is perfect calibration.

    None if no run has logits.
    """
    figure, axes = canvas(COLUMN, 2.6)
    axes.plot([0, 100], [0, 100], color="0.6", linewidth=0.8)
    ends: list[End] = []
    eces = []
    for row in setting.rows:
        runs = [run for run in row.runs if run.id in scores]
        if not runs:
            continue
        images, confidence, hits = np.sum([scores[run.id].bins for run in runs], axis=0).T
        full = images >= max(1, 0.002 * images.sum())  # a bin of fewer images is too noisy
        x, y = 100 * confidence[full] / images[full], 100 * hits[full] / images[full]
        axes.plot(x, y, **look(setting, row))
        ends.append((row, x[-1], y[-1]))
        eces.append(f", ECE {100 * np.mean([scores[run.id].ece for run in runs]):.1f}")
    if not ends:
        return None
    accuracy_axis(axes)
    axes.set(xlabel="confidence (%)", ylabel="accuracy at that confidence (%)", xlim=(0, 100))
    name_ends(axes, setting, ends, eces)
    return figure


@style()
def shifted_priors(setting: Setting, scores: Mapping[str, Scores]) -> Figure:
    """Accuracy on test sets with shifted class priors, from the order of the training set to the reverse order.

    Predictions are unchanged. If the baseline has logits, a further line shows it with its logits adjusted to the
    class prior of each test set.
    """
    names, weights = tail_priors(setting.dataset.train_counts)
    figure, axes = canvas(PAGE, 2.3)
    at = np.arange(len(names))
    ends: list[End] = []
    for row in setting.rows:
        accuracies = np.mean([class_accuracies(run) for run in row.runs], axis=0)
        axes.plot(at, 100 * weights @ accuracies, **look(setting, row))
        ends.append((row, at[-1], float(100 * weights[-1] @ accuracies)))
    ends += _adjusted(axes, setting.baseline, scores, weights)
    axes.set_xticks(at, [name.removeprefix("forward ").removeprefix("backward ") for name in names])
    axes.set(xlabel="imbalance ratio of the test set; left: as in training, right: reversed")
    accuracy_axis(axes, heights(axes))
    added = len(ends) - len(setting.rows)
    name_ends(axes, setting, ends, [*[""] * len(setting.rows), *[", adjusted to\n  the test prior"] * added])
    return figure


def _adjusted(axes: Axes, row: Row | None, scores: Mapping[str, Scores], weights: np.ndarray) -> list[End]:
    runs = [run for run in row.runs if run.id in scores] if row else []
    if row and runs:
        accuracies = np.mean([scores[run.id].hits_by_prior / np.array(run.dataset.test_counts) for run in runs], axis=0)
        values = 100 * (weights * accuracies).sum(1)
        axes.plot(values, color="black", linestyle=":")
        return [(row, len(values) - 1, float(values[-1]))]
    return []
