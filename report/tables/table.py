"""What a table is, whatever computes it and whatever renders it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd


@dataclass(frozen=True)
class Column:
    """How a column differs from a plain column of numbers.

    Attributes:
        kind: decides on the alignment, and whether lines may break.
        short: heading for a terminal, which may have two lines; "" for the usual one.
        part: number of the table that the column goes to when a terminal has to divide a table.
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
        """Headings of the columns, in their order."""
        return list(self.lines[0]) if self.lines else []

    @property
    def frame(self) -> pd.DataFrame:
        """The texts, one column per heading."""
        return pd.DataFrame(self.lines)

    @property
    def parts(self) -> list[tuple[str, list[Mapping[str, str]]]]:
        """The lines by why they stand apart, those that do not ("") first."""
        parts: dict[str, list[Mapping[str, str]]] = {}
        for line in self.lines:
            parts.setdefault(self.apart.get(line[self.headings[0]], ""), []).append(line)
        return sorted(parts.items(), key=lambda part: part[0] != "")

    def column(self, heading: str) -> Column:
        """What is special about a column; of the first one, that it holds words."""
        return self.columns.get(heading, WORDS if heading == self.headings[0] else Column())
