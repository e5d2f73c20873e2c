"""Contents of a table as text and numbers, independent of how it is rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

Kind = Literal["numbers", "words", "sentences"]


@dataclass(frozen=True)
class Column:
    """Layout of a column; the default is a plain column of numbers.

    Attributes:
        kind: kind of contents, which determines the alignment and whether text may wrap.
        short: heading for the terminal, one or two lines; "" for the usual heading.
        part: index of the part that contains the column when a terminal splits the table.
    """

    kind: Kind = "numbers"
    short: str = ""
    part: int = 0


WORDS, SENTENCES = Column("words"), Column("sentences")


@dataclass(frozen=True)
class Table:
    """One table; its first column names the rows.

    Attributes:
        name: short identifier, such as `cost`.
        title: heading of the table.
        lines: one mapping from heading to text per table row, with rounded numbers; all have the same headings.
        notes: sentences to print below the table.
        brief: shorter notes for the terminal.
        numbers: unrounded numbers by CSV column, for each row of the setting by its label.
        columns: layout of the columns that differ from the default, by heading.
        spare: headings of the columns that a narrow terminal may leave out, in this order.
        apart: reason why a row is not ranked with the others, by its name in the first column.
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
        """Headings of the columns in order; empty if the table has no rows."""
        return list(self.lines[0]) if self.lines else []

    @property
    def frame(self) -> pd.DataFrame:
        """The lines as a data frame of strings, one column per heading."""
        return pd.DataFrame(self.lines)

    @property
    def parts(self) -> list[tuple[str, list[Mapping[str, str]]]]:
        """Table rows grouped by the reason why they are not ranked; ranked rows (reason "") come first."""
        parts: dict[str, list[Mapping[str, str]]] = {}
        for line in self.lines:
            parts.setdefault(self.apart.get(line[self.headings[0]], ""), []).append(line)
        return sorted(parts.items(), key=lambda part: part[0] != "")

    def column(self, heading: str) -> Column:
        """Layout of a column; by default words for the first column and numbers for the others."""
        return self.columns.get(heading, WORDS if heading == self.headings[0] else Column())
