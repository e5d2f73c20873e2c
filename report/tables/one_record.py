"""The groups and the classes of one record, for `bench show`."""

from __future__ import annotations

from ..groups import by_size
from ..sources import Evidence
from ..statistics import Setting, class_accuracies
from ..text import NONE
from .table import Table

_ALL = 20  # classes up to which all are shown
_ENDS = 5  # else so many at either end


def groups(setting: Setting, evidence: Evidence) -> Table:
    """Accuracy of each group of classes, in the only row of a setting."""
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
    """Accuracy of each class in the only record of a setting, most training images first; of many, both ends."""
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
