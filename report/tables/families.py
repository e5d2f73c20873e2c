"""The methods of each family, best first."""

from __future__ import annotations

from ..sources import Evidence
from ..statistics import Row, Setting
from ..text import NONE, percent
from ..variants import families, main_rows
from .table import SENTENCES, WORDS, Table

_NOTE = (
    "Family: what a method mainly changes. Others: other methods, best first, with their overall "
    "accuracy. Rows that are not ranked are left out."
)


def by_family(setting: Setting, evidence: Evidence) -> Table:
    """Table with one row per family: number of methods, the best, and the others; empty if all have only one."""
    of_each = families(row for row in main_rows(setting).rows if not row.apart)
    several = any(len(rows) > 1 for rows in of_each.values())
    return Table(
        "families",
        "Methods by family",
        [_line(family, rows) for family, rows in of_each.items()] if several else [],
        [_NOTE],
        columns={"best": WORDS, "others": SENTENCES},
        spare=("methods",),
    )


def _line(family: str, rows: list[Row]) -> dict[str, str]:
    best, *others = rows
    return {
        "family": family,
        "methods": str(len(rows)),
        "best": best.label,
        "overall": percent(best.overall),
        "others": ", ".join(f"{row.label} {100 * row.overall.mean:.1f}" for row in others) or NONE,
    }
