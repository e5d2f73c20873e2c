"""Figures of a setting: one function per figure, all listed in `FIGURES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from ..logits import Scores
from ..statistics import Row, Setting
from ..variants import by_family, families, main_rows, variants
from .bars import confusions, group_bars
from .classes import class_counts, class_differences, class_lines, class_sizes
from .curves import cost_scatter, reliability, shifted_priors, trade_off, training_curves, training_losses
from .style import MOST_LINES

MOST_ROWS = 40  # more named rows do not fit on a page


def bar_rows(setting: Setting) -> Setting:
    """Reduce a setting to its main rows, at most 40; if there are more than ten, they are sorted by family."""
    cut = _cut(setting, main_rows(setting).rows, MOST_ROWS)
    return cut if len(cut.rows) <= MOST_LINES else replace(cut, rows=tuple(by_family(cut.rows)))


def line_rows(setting: Setting) -> Setting:
    """Reduce a setting to its main rows; if they are more than ten, to nine of each family at most and the baseline."""
    rows = main_rows(setting).rows
    if len(rows) > MOST_LINES:
        best = {row.label for of_family in families(rows).values() for row in of_family[: MOST_LINES - 1]}
        rows = tuple(row for row in rows if row.label in best or row is setting.baseline)
    return replace(setting, rows=rows)


def few_rows(setting: Setting) -> Setting:
    """Reduce a setting to at most ten of its main rows, so that lines can be distinguished.

    The best row of each family is preferred, then the next best rows; the baseline is always kept.
    """
    rows = main_rows(setting).rows
    best = {of_family[0].label for of_family in families(rows).values()}
    chosen = _cut(setting, sorted(rows, key=lambda row: row.label not in best), MOST_LINES).rows
    labels = {row.label for row in chosen}
    return replace(setting, rows=tuple(row for row in rows if row.label in labels))


def variant_rows(setting: Setting) -> Setting:
    """Reduce a setting to the methods that have several rows, at most 40 rows in total."""
    return replace(setting, rows=variants(setting).rows[:MOST_ROWS])


def _cut(setting: Setting, rows: Sequence[Row], most: int) -> Setting:
    kept = list(rows[:most])
    if setting.baseline and not any(row is setting.baseline for row in kept):
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
    rows: Callable[[Setting], Setting] = bar_rows


# Kinds of figures by short name, which is part of the file names, in the order of the report.
FIGURES: dict[str, Kind] = {
    "shots": Kind("Accuracy by number of training images: many, medium, few", lambda s, _: group_bars(s, s.shots)),
    "groups": Kind("Accuracy by equal groups of classes", lambda s, _: group_bars(s, s.parts)),
    "differences": Kind("Accuracy of each class minus the baseline's", lambda s, _: class_differences(s)),
    "classes": Kind("Accuracy of each class", lambda s, _: class_lines(s), line_rows),
    "ablations": Kind("Methods with several variants", lambda s, _: group_bars(s, s.shots), variant_rows),
    "sizes": Kind("Accuracy against the number of training images of a class", lambda s, _: class_sizes(s)),
    "confusions": Kind("Predictions for the test images of each group", lambda s, _: confusions(s)),
    "tradeoff": Kind(
        "Accuracy of the rarest against the most frequent classes under logit adjustment", trade_off, few_rows
    ),
    "priors": Kind("Accuracy on test sets with other class frequencies", shifted_priors, few_rows),
    "reliability": Kind("Calibration", reliability, few_rows),
    "training": Kind("Training curves", lambda s, _: training_curves(s), line_rows),
    "losses": Kind("Training loss by epoch", lambda s, _: training_losses(s), line_rows),
    "cost": Kind("Accuracy against training cost", lambda s, _: cost_scatter(s), few_rows),
    "counts": Kind("Number of training images of each class", lambda s, _: class_counts(s)),
}
_WITHOUT_ROWS = ("sizes", "counts")  # figures of at most two rows, which need no remark on the rows left out


def figures(setting: Setting, scores: Mapping[str, Scores]) -> dict[str, Figure]:
    """Figures of a setting by short name, except those for which the records or logits lack the data."""
    drawings = {name: kind.draw(kind.rows(setting), scores) for name, kind in FIGURES.items()}
    return {name: figure for name, figure in drawings.items() if figure is not None}


def caption(setting: Setting, name: str) -> str:
    """Caption of a figure, with a remark on the rows that it leaves out."""
    kind = FIGURES[name]
    shown, main = len(kind.rows(setting).rows), len(main_rows(setting).rows)
    if name in _WITHOUT_ROWS or kind.rows is variant_rows or shown == len(setting.rows):
        return kind.caption
    if shown == main:
        return f"{kind.caption} (variants have a figure of their own)"
    which = "best ones" if kind.rows is bar_rows else "best ones of each family"
    return f"{kind.caption} ({shown} of {len(setting.rows)} rows: the {which}, and the baseline)"
