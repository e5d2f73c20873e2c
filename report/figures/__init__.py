"""Figures of a setting: one function per figure, all listed in `FIGURES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from ..logits import Scores
from ..statistics import Row, Setting
from .bars import confusions, group_bars
from .classes import class_counts, class_differences, class_lines, class_sizes
from .curves import cost_scatter, reliability, shifted_priors, trade_off, training_curves

MOST_LINES = 8  # more lines cannot be distinguished
MOST_ROWS = 40  # more named rows do not fit on a page


def main_rows(setting: Setting) -> Setting:
    """One row per method, with default hyper-parameters or else the best one, and the baseline; at most 40 rows."""
    first = {row.runs[0].method: row for row in reversed(setting.rows)}
    first |= {row.runs[0].method: row for row in setting.rows if row.label == row.runs[0].method}
    kept = [row for row in setting.rows if row is first[row.runs[0].method] or row is setting.baseline]
    return _cut(setting, kept, MOST_ROWS)


def few_rows(setting: Setting) -> Setting:
    """The best of the main rows, and the baseline; at most 8 rows, so that lines can be distinguished."""
    return _cut(setting, main_rows(setting).rows, MOST_LINES)


def variants(setting: Setting) -> Setting:
    """The rows of the methods that have several rows, method by method; at most 40 rows."""
    by_method: dict[str, list[Row]] = {}
    for row in setting.rows:
        by_method.setdefault(row.runs[0].method, []).append(row)
    rows = [row for of_method in by_method.values() if len(of_method) > 1 for row in of_method]
    return replace(setting, rows=tuple(rows[:MOST_ROWS]))


def _cut(setting: Setting, rows: Sequence[Row], most: int) -> Setting:
    kept = list(rows[:most])
    if setting.baseline and setting.baseline not in kept:
        kept[-1] = setting.baseline
    return replace(setting, rows=tuple(kept))


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Attributes:
        caption: caption without the setting.
        draw: function that draws the figure of a setting, given scores by record id; None if the data do not allow it.
        rows: function that reduces a setting to the rows that the figure shows.
    """

    caption: str
    draw: Callable[[Setting, Mapping[str, Scores]], Figure | None]
    rows: Callable[[Setting], Setting] = main_rows


# Short name, used in file names, to kind of figure, in the order of the report.
FIGURES: dict[str, Kind] = {
    "shots": Kind("Accuracy by many, medium and few training images", lambda s, _: group_bars(s, s.shots)),
    "groups": Kind("Accuracy by equal groups of classes", lambda s, _: group_bars(s, s.parts)),
    "differences": Kind("Accuracy of each class minus the baseline's", lambda s, _: class_differences(s)),
    "classes": Kind("Accuracy of each class", lambda s, _: class_lines(s), few_rows),
    "ablations": Kind("Methods with several variants", lambda s, _: group_bars(s, s.shots), variants),
    "sizes": Kind("Accuracy against the training images of a class", lambda s, _: class_sizes(s)),
    "confusions": Kind("Predictions for the test images of each group", lambda s, _: confusions(s)),
    "tradeoff": Kind(
        "Accuracy of the rarest against the most frequent classes under logit adjustment", trade_off, few_rows
    ),
    "priors": Kind("Accuracy on test sets with other class frequencies", shifted_priors, few_rows),
    "reliability": Kind("Calibration", reliability, few_rows),
    "training": Kind("Training loss and test accuracy by epoch", lambda s, _: training_curves(s), few_rows),
    "cost": Kind("Accuracy against training cost", lambda s, _: cost_scatter(s), few_rows),
    "counts": Kind("Training images of each class", lambda s, _: class_counts(s)),
}
_WITHOUT_ROWS = ("sizes", "counts")  # figures of at most two rows, which need no remark on the rows left out


def figures(setting: Setting, scores: Mapping[str, Scores]) -> dict[str, Figure]:
    """Figures of a setting by short name, without those for which records or logits lack data."""
    drawings = {name: kind.draw(kind.rows(setting), scores) for name, kind in FIGURES.items()}
    return {name: figure for name, figure in drawings.items() if figure is not None}


def caption(setting: Setting, name: str) -> str:
    """Caption of a figure, with a remark on the rows that it leaves out."""
    kind = FIGURES[name]
    shown, main = len(kind.rows(setting).rows), len(main_rows(setting).rows)
    if name in _WITHOUT_ROWS or kind.rows is variants or shown == len(setting.rows):
        return kind.caption
    if shown == main < MOST_ROWS:
        return f"{kind.caption} (variants have a figure of their own)"
    return f"{kind.caption} ({shown} of {len(setting.rows)} rows: the best ones, and the baseline)"
