"""The figures of a setting, and the bars of its groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .class_plots import class_counts, class_lines, class_sizes, confusions
from .curves import cost_scatter, reliability, shifted_priors, trade_off, training_curves
from .groups import Grouping
from .logits import Scores
from .statistics import Setting, Spread
from .style import COLUMN, HATCHES, PAGE, accuracy_axis, canvas, legend, look, short, style

MOST_ROWS = 10  # more lines or bars are no longer told apart
CAPTIONS = {
    "shots": "Accuracy by many, medium and few training images",
    "groups": "Accuracy by equal groups of classes",
    "classes": "Accuracy of each class",
    "sizes": "Accuracy against the training images of a class",
    "confusions": "What test images of each group are taken for",
    "tradeoff": "Head against tail accuracy under logit adjustment",
    "priors": "Accuracy on test sets with another long tail",
    "reliability": "Calibration",
    "training": "Training loss and test accuracy by epoch",
    "cost": "Accuracy against training cost",
    "counts": "Training images of each class",
}


def figures(setting: Setting, found: dict[str, Scores]) -> dict[str, Figure]:
    """Short name to figure, in the order of a report: those that the records and the logits of a setting allow."""
    setting = drawn(setting)
    made = {
        "shots": group_bars(setting, setting.shots),
        "groups": group_bars(setting, setting.parts),
        "classes": class_lines(setting),
        "sizes": class_sizes(setting),
        "confusions": confusions(setting),
        "tradeoff": trade_off(setting, found),
        "priors": shifted_priors(setting, found),
        "reliability": reliability(setting, found),
        "training": training_curves(setting),
        "cost": cost_scatter(setting),
        "counts": class_counts(setting),
    }
    return {name: figure for name, figure in made.items() if figure is not None}


def caption(setting: Setting, name: str) -> str:
    """What a figure shows, and that it leaves rows out."""
    left_out = len(setting.rows) - len(drawn(setting).rows)
    some = f" ({MOST_ROWS} of {len(setting.rows)} rows: the best ones, and the baseline)"
    return CAPTIONS[name] + some * (left_out > 0 and name not in ("counts", "sizes"))


def drawn(setting: Setting) -> Setting:
    """The setting with the rows that figures show: the best ten; the baseline stays among them."""
    rows = setting.rows[:MOST_ROWS]
    if setting.baseline and setting.baseline not in rows:
        rows = (*rows[:-1], setting.baseline)
    return replace(setting, rows=rows)


@style()
def group_bars(setting: Setting, grouping: Grouping) -> Figure:
    """Accuracy of every method in every group, with standard deviations over seeds; an empty group keeps its place."""
    rows, groups = setting.rows, grouping.groups
    width = COLUMN if len(rows) * len(groups) <= 15 else PAGE
    figure, axes = canvas(width, 2.1)
    step = 0.84 / len(rows)
    for r, row in enumerate(rows):
        spreads = [row.groups[g.name] for g in groups]
        _bars(axes, row.label, spreads, (r - (len(rows) - 1) / 2) * step, step, look(setting, row), r)
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


def _bars(
    axes: Axes, label: str, spreads: list[Spread | None], shift: float, step: float, colours: dict[str, Any], r: int
) -> None:
    found = {x + shift: s for x, s in enumerate(spreads) if s is not None}
    base = colours["color"] == "black"
    axes.bar(
        list(found), [100 * s.mean for s in found.values()], step * 0.92, color=colours["color"],
        label=short(label), hatch="" if base else HATCHES[r % len(HATCHES)], edgecolor="black", linewidth=0.5,
    )  # fmt: skip
    for x, s in found.items():
        if s.sd is not None:
            axes.errorbar(x, 100 * s.mean, 100 * s.sd, color="black", linewidth=0.8, capsize=min(2.5, 12 * step))
