"""The tables of the report and of its commands: one function each, all in `TABLES`."""

from __future__ import annotations

from collections.abc import Callable

from ..sources import Evidence
from ..statistics import Setting
from .accuracy import accuracy
from .adjusted import adjusted
from .comparison import comparison
from .cost import cost
from .one_record import classes, groups
from .published import published
from .table import Table

# Where tables are shown, to the functions that make them. The first of a report names its rows and has no heading.
TABLES: dict[str, tuple[Callable[[Setting, Evidence], Table], ...]] = {
    "report": (accuracy, cost, adjusted, published),
    "run": (accuracy,),
    "compare": (comparison,),
    "show": (groups, classes),
}


def tables(setting: Setting, evidence: Evidence, shown_by: str = "report") -> list[Table]:
    """The tables of a setting, in their order, with those that have no line."""
    return [table(setting, evidence) for table in TABLES[shown_by]]
