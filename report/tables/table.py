"""Data of a table, independent of its computation and of its rendering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd


@dataclass(frozen=True)
class Column:
    """Layout of a column; the default is a plain column of numbers.

    Attributes:
        kind: determines the alignment and whether lines may break.
        short: heading in a terminal, of one or two lines; "" for the usual heading.
        part: index of the part that contains the column when a terminal splits the table.
    """

    kind: Literal["numbers", "words", "sentences"] = "numbers"
    short: str = ""
    part: int = 0


WORDS, SENTENCES = Column("words"), Column("sentences")


@dataclass(frozen=True)
class Table:
    """One table; its first column names the rows.

    Attributes:
        name: short name of letters only.
        title: heading of the table.
        lines: one mapping per line from heading to text with rounded numbers; all have the same headings.
        notes: sentences below the table.
        brief: sentences below the table in a terminal.
        numbers: row label to the unrounded numbers of the row, for CSV.
        columns: heading to layout, for columns without the default layout.
        spare: headings of the columns that a narrow terminal may leave out, in this order.
    """

    name: str
    title: str
    lines: Sequence[Mapping[str, str]]
    notes: Sequence[str] = ()
    brief: Sequence[str] = ()
    numbers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    columns: Mapping[str, Column] = field(default_factory=dict)
    spare: Sequence[str] = ()

    @property
    def headings(self) -> list[str]:
        """Headings of the columns in order; empty if there are no lines."""
        return list(self.lines[0]) if self.lines else []

    @property
    def frame(self) -> pd.DataFrame:
        """The texts as a data frame, one column per heading."""
        return pd.DataFrame(self.lines)

    def column(self, heading: str) -> Column:
        """Layout of a column; by default words for the first column and numbers for the others."""
        return self.columns.get(heading, WORDS if heading == self.headings[0] else Column())
