"""Tables of the report and of the other commands: one function per table, all listed in `TABLES`."""

from __future__ import annotations

from collections.abc import Callable

from ..sources import Evidence
from ..statistics import Setting
from .ablations import ablations
from .accuracy import accuracy
from .adjusted import adjusted
from .comparison import comparison
from .cost import cost
from .families import by_family
from .one_record import classes, groups
from .published import published
from .table import Table

# Command to the functions of its tables. The first table of `report` and `run` is the leaderboard; the outputs print it
# without a heading.
TABLES: dict[str, tuple[Callable[[Setting, Evidence], Table], ...]] = {
    "report": (accuracy, cost, adjusted, by_family, ablations, published),
    "run": (accuracy, ablations),
    "compare": (comparison,),
    "show": (groups, classes),
}


def tables(setting: Setting, evidence: Evidence, shown_by: str = "report") -> list[Table]:
    """The tables of a setting that a command shows, in order, including tables without rows."""
    return [table(setting, evidence) for table in TABLES[shown_by]]
