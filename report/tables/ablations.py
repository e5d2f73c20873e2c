"""Variants of the methods: accuracy of every row with changed hyper-parameters beside the main row of its method."""

from __future__ import annotations

from ..paired_tests import difference, verdict
from ..sources import Evidence
from ..statistics import Row, Setting
from ..text import NONE, in_points
from ..variants import main_rows, variants
from .accuracy import accuracies, layout
from .table import Column, Kind, Table

_NOTE = (
    "The methods that have several rows. The first row of a method is the one in the other tables: the row with "
    "default hyper-parameters, or the best row if that has no records. Minus first: overall accuracy minus that of the "
    "first row in percentage points, mean over the seeds that both have, with its 95 % interval (Student's t)."
)
_AGAINST: dict[str, Kind] = {"minus first": "numbers", "verdict": "words", "pairs": "numbers"}


def ablations(setting: Setting, evidence: Evidence) -> Table:
    """Table of the methods with several rows, each with its difference from the main row of its method."""
    first = {row.method: row for row in reversed(main_rows(setting).rows)}
    return Table(
        "ablations",
        "Variants of the methods",
        [_line(setting, row, first[row.method]) for row in variants(setting).rows],
        [_NOTE],
        columns=layout(setting) | {name: Column(kind, part=1) for name, kind in _AGAINST.items()},
        apart=setting.apart,
    )


def _line(setting: Setting, row: Row, first: Row) -> dict[str, str]:
    gap = difference(row, first)
    against = (
        [NONE, "the first row", NONE] if row is first else [in_points(gap), verdict(gap), str(gap.n if gap else 0)]
    )
    return (
        {"method": row.label}
        | accuracies(row, setting.groupings[0].groups)
        | dict(zip(_AGAINST, against, strict=True))
        | {"seeds": str(len(row.runs))}
    )
