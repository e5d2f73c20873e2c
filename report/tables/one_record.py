"""Accuracy of the groups and the classes of one record, for `bench show`."""

from __future__ import annotations

from ..groups import by_size
from ..sources import Evidence
from ..statistics import Setting, class_accuracies
from ..text import NONE
from .table import Table

_ALL = 20  # largest number of classes that are all shown
_ENDS = 5  # number of largest and of smallest classes that are shown otherwise


def groups(setting: Setting, evidence: Evidence) -> Table:
    """Table of the accuracy of each group of classes, for a setting with one row."""
    (row,) = setting.rows
    lines = [
        {
            "group": group.name,
            "classes": str(len(group.classes)),
            "accuracy (%)": f"{100 * value.mean:.1f}" if (value := row.groups[group.name]) else NONE,
        }
        for group in setting.groups
    ]
    return Table("groups", "Groups", lines)


def classes(setting: Setting, evidence: Evidence) -> Table:
    """Table of the accuracy of each class, most training images first, for a setting with one record.

    Of more than 20 classes, only the five with the most and the five with the fewest training images are shown.
    """
    (run,) = setting.runs
    order = by_size(run.dataset.train_counts)
    shown = order if len(order) <= _ALL else [*order[:_ENDS], *order[-_ENDS:]]
    accuracies = class_accuracies(run)
    lines = [
        {
            "class": run.dataset.class_names[k],
            "training images": f"{run.dataset.train_counts[k]:,}",
            "test images": f"{run.dataset.test_counts[k]:,}",
            "accuracy (%)": f"{100 * accuracies[k]:.1f}",
        }
        for k in shown
    ]
    if len(shown) < len(order):
        lines.insert(_ENDS, dict.fromkeys(lines[0], "…"))
    return Table("classes", "Classes", lines)
