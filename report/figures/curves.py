"""Figures of training curves, cost, calibration, shifted priors, and the frequent-rare trade-off."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..costs import costs
from ..logits import TAUS, Scores, group_curve, tail_priors
from ..statistics import Row, Setting, class_accuracies
from .style import COLUMN, PAGE, accuracy_axis, canvas, legend, look, plain_numbers, short, style

_MARKED = {0.0: ("o", "as trained"), 1.0: ("s", "tau = 1")}  # strengths marked on a trade-off curve


@style()
def training_curves(setting: Setting) -> Figure:
    """Training loss of each epoch and test accuracy of each evaluated epoch, means over seeds."""
    figure = Figure(figsize=(PAGE, 2.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for row in setting.rows:
        plain = look(setting, row) | {"marker": ""}
        epochs = min(len(run.history.loss) for run in row.runs)
        losses = np.mean([run.history.loss[:epochs] for run in row.runs], axis=0)
        left.plot(np.arange(epochs) + 1, losses, **plain)
        shared = set.intersection(*(set(run.history.evaluated_epochs) for run in row.runs))
        epochs_of_all = sorted(shared)
        by_run = [dict(zip(run.history.evaluated_epochs, run.history.accuracy, strict=True)) for run in row.runs]
        values = [100 * np.mean([accuracy[epoch] for accuracy in by_run]) for epoch in epochs_of_all]
        right.plot(np.array(epochs_of_all) + 1, values, label=short(row.label), **look(setting, row))
    lines = [line.get_ydata() for line in left.lines]
    wide = max(map(np.max, lines)) > 100 * min(map(np.max, lines))  # losses of different methods have different units
    left.set(xlabel="epoch", ylabel="training loss", **({"yscale": "log"} if wide else {"ylim": (0, None)}))
    if wide:
        plain_numbers(left.yaxis)
    right.set(xlabel="epoch", ylabel="test accuracy (%)")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, right)
    return figure


@style()
def cost_scatter(setting: Setting) -> Figure:
    """Accuracy against the seconds of a run with its prerequisites; a line joins the rows on the Pareto front."""
    figure, axes = canvas(COLUMN, 2.2)
    points = [(costs(row).total, 100 * row.overall.mean) for row in setting.rows]
    front, best = [], -np.inf
    for seconds, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if accuracy > best:
            front.append((seconds, accuracy))
            best = accuracy
    axes.plot(*zip(*front, strict=True), color="0.6", linewidth=0.8, zorder=1, drawstyle="steps-post")
    for row, (seconds, accuracy) in zip(setting.rows, points, strict=True):
        axes.errorbar(
            seconds, accuracy, 100 * row.overall.sd if row.overall.sd is not None else None, capsize=2,
            elinewidth=0.8, label=short(row.label), **(look(setting, row) | {"linestyle": ""}),
        )  # fmt: skip
    axes.set(xlabel="seconds of a run with its prerequisites", ylabel="test accuracy (%)")
    axes.margins(y=0.15)
    axes.set_xlim(0, 1.08 * max(seconds for seconds, _ in points))
    legend(figure, axes)
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
        axes.plot(head, tail, label=short(row.label), **(look(setting, row) | {"marker": ""}))
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
    )
    legend(figure, axes)
    return figure


@style()
def reliability(setting: Setting, scores: Mapping[str, Scores]) -> Figure | None:
    """Reliability diagram: accuracy against confidence, with perfect calibration as diagonal. None without logits."""
    figure, axes = canvas(COLUMN, 2.6)
    axes.plot([0, 100], [0, 100], color="0.6", linewidth=0.8)
    drawn = False
    for row in setting.rows:
        runs = [run for run in row.runs if run.id in scores]
        if not runs:
            continue
        images, confidence, hits = np.sum([scores[run.id].bins for run in runs], axis=0).T
        full = images >= max(1, 0.002 * images.sum())  # bins with fewer images are too noisy to show
        ece = 100 * np.mean([scores[run.id].ece for run in runs])
        shown = look(setting, row) | {"label": f"{short(row.label, 24)}, ECE {ece:.1f}"}
        axes.plot(100 * confidence[full] / images[full], 100 * hits[full] / images[full], **shown)
        drawn = True
    if not drawn:
        return None
    accuracy_axis(axes)
    axes.set(xlabel="confidence (%)", ylabel="accuracy at that confidence (%)", xlim=(0, 100))
    legend(figure, axes)
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
    for row in setting.rows:
        accuracies = np.mean([class_accuracies(run) for run in row.runs], axis=0)
        axes.plot(at, 100 * weights @ accuracies, label=short(row.label), **look(setting, row))
    _adjusted(axes, setting.baseline, scores, weights)
    axes.set_xticks(at, [name.replace(" ", "\n") for name in names])
    axes.set(xlabel="imbalance of the test set; forward: as in training", ylabel="test accuracy (%)")
    legend(figure, axes)
    return figure


def _adjusted(axes: Axes, row: Row | None, scores: Mapping[str, Scores], weights: np.ndarray) -> None:
    runs = [run for run in row.runs if run.id in scores] if row else []
    if row and runs:
        accuracies = np.mean([scores[run.id].hits_by_prior / np.array(run.dataset.test_counts) for run in runs], axis=0)
        label = f"{short(row.label, 20)}, adjusted to the test prior"
        axes.plot(100 * (weights * accuracies).sum(1), color="black", linestyle=":", label=label)
