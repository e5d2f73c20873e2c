"""Figures of a setting: one function per figure, all listed in `FIGURES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from ..logits import Scores
from ..statistics import Setting
from .bars import group_bars
from .classes import class_counts, class_lines, class_sizes, confusions
from .curves import cost_scatter, reliability, shifted_priors, trade_off, training_curves

MOST_ROWS = 10  # more lines or bars cannot be distinguished


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Attributes:
        caption: caption of the figure.
        draw: function from a setting and the scores of its runs, by record id, to a figure; None if data are missing.
        rows: whether the figure shows all rows, of which only the best ten are drawn.
    """

    caption: str
    draw: Callable[[Setting, Mapping[str, Scores]], Figure | None]
    rows: bool = True


# Short name, used in file names, to kind of figure, in the order of the report.
FIGURES: dict[str, Kind] = {
    "shots": Kind("Accuracy by many, medium and few training images", lambda s, _: group_bars(s, s.shots)),
    "groups": Kind("Accuracy by equal groups of classes", lambda s, _: group_bars(s, s.parts)),
    "classes": Kind("Accuracy of each class", lambda s, _: class_lines(s)),
    "sizes": Kind("Accuracy against the training images of a class", lambda s, _: class_sizes(s), rows=False),
    "confusions": Kind("Predictions for the test images of each group", lambda s, _: confusions(s)),
    "tradeoff": Kind("Accuracy of the rarest against the most frequent classes under logit adjustment", trade_off),
    "priors": Kind("Accuracy on test sets with other class frequencies", shifted_priors),
    "reliability": Kind("Calibration", reliability),
    "training": Kind("Training loss and test accuracy by epoch", lambda s, _: training_curves(s)),
    "cost": Kind("Accuracy against training cost", lambda s, _: cost_scatter(s)),
    "counts": Kind("Training images of each class", lambda s, _: class_counts(s), rows=False),
}


def figures(setting: Setting, scores: Mapping[str, Scores]) -> dict[str, Figure]:
    """Short name to figure, for all figures whose data the records and logits of a setting provide."""
    setting = drawn(setting)
    drawings = {name: kind.draw(setting, scores) for name, kind in FIGURES.items()}
    return {name: figure for name, figure in drawings.items() if figure is not None}


def caption(setting: Setting, name: str) -> str:
    """Caption of a figure, with a remark if some rows are not drawn."""
    kind = FIGURES[name]
    if kind.rows and len(setting.rows) > len(drawn(setting).rows):
        return f"{kind.caption} ({MOST_ROWS} of {len(setting.rows)} rows: the best ones, and the baseline)"
    return kind.caption


def drawn(setting: Setting) -> Setting:
    """The setting with the rows that figures show: the best ten, including the baseline."""
    rows = setting.rows[:MOST_ROWS]
    if setting.baseline and setting.baseline not in rows:
        rows = (*rows[:-1], setting.baseline)
    return replace(setting, rows=rows)
