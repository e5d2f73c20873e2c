"""Choice of the main row and the variants of each method, and order of rows by family."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..benchmarks.utils.docstrings import FAMILIES
from .statistics import Row, Setting


def main_rows(setting: Setting) -> Setting:
    """Reduce a setting to one row per method, that with default hyper-parameters or else the best, and the baseline."""
    first = {row.method: row for row in reversed(setting.rows)}
    first |= {row.method: row for row in reversed(setting.rows) if row.default}
    kept = [row for row in setting.rows if row is first[row.method] or row is setting.baseline]
    return replace(setting, rows=tuple(kept))


def variants(setting: Setting) -> Setting:
    """Reduce a setting to the methods that have several rows, method by method, the main row of each first."""
    main = {row.label for row in main_rows(setting).rows}
    by_method: dict[str, list[Row]] = {}
    for row in sorted(by_family(setting.rows), key=lambda row: row.label not in main):
        by_method.setdefault(row.method, []).append(row)
    rows = [row for of_method in by_method.values() if len(of_method) > 1 for row in of_method]
    return replace(setting, rows=tuple(rows))


def by_family(rows: Iterable[Row]) -> list[Row]:
    """Rows sorted by family; rows of one family keep their order."""
    return sorted(rows, key=lambda row: FAMILIES.index(row.family))


def families(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each family that has any, in the order of `FAMILIES`."""
    of_each: dict[str, list[Row]] = {}
    for row in by_family(rows):
        of_each.setdefault(row.family, []).append(row)
    return of_each
