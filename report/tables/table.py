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
        name: short, of letters.
        title: heading.
        lines: one mapping per row from heading to text, numbers rounded; all have the same headings.
        notes: sentences below it.
        brief: those notes that a terminal shows.
        numbers: name of a row of the setting to its unrounded numbers, as CSV holds them.
        columns: what is special about a column, by its heading.
        spare: headings of the columns that a narrow terminal may leave out, the first one first.
        apart: name of a row to why it stands apart from the others and is not ranked with them.
    """

    name: str
    title: str
    lines: Sequence[Mapping[str, str]]
    notes: Sequence[str] = ()
    brief: Sequence[str] = ()
    numbers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    columns: Mapping[str, Column] = field(default_factory=dict)
    spare: Sequence[str] = ()
    apart: Mapping[str, str] = field(default_factory=dict)

    @property
    def headings(self) -> list[str]:
        """Headings of the columns in order; empty if there are no lines."""
        return list(self.lines[0]) if self.lines else []

    @property
    def frame(self) -> pd.DataFrame:
        """The texts as a data frame, one column per heading."""
        return pd.DataFrame(self.lines)

    @property
    def parts(self) -> list[tuple[str, list[Mapping[str, str]]]]:
        """The lines by why they stand apart, those that do not ("") first."""
        parts: dict[str, list[Mapping[str, str]]] = {}
        for line in self.lines:
            parts.setdefault(self.apart.get(line[self.headings[0]], ""), []).append(line)
        return sorted(parts.items(), key=lambda part: part[0] != "")

    def column(self, heading: str) -> Column:
        """Layout of a column; by default words for the first column and numbers for the others."""
        return self.columns.get(heading, WORDS if heading == self.headings[0] else Column())
