"""A report for a console: each table in the most spacious of its layouts that the width has room for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from ...benchmarks.errors import printable
from ..document import Document, Section
from ..tables.table import Column, Table

_UNLIMITED = 1000  # letters in a line of a console that has room for every table
_SENTENCES = 24  # letters that a column of sentences needs at least


def terminal(document: Document) -> Group:
    """The tables of all settings."""
    parts = [part for section in document.sections for part in (*_section(section), "")]
    return Group(*parts[:-1])


def _section(section: Section) -> Iterator[RenderableType]:
    for k, table in enumerate(section.tables):
        yield from ("",) * (k > 0)
        yield from table_with_notes(table.title if k else section.title, table)


def table_with_notes(title: str, table: Table) -> Iterator[RenderableType]:
    """A table below its title, and above its brief notes."""
    yield literal(title, "bold")
    yield FittedTable(table)
    if table.brief:
        yield ""
        yield from (literal(note, "dim") for note in table.brief)


def literal(text: str, style: str = "") -> Text:
    """Text that a console shows as it is: no mark-up, no emoji codes, no control characters."""
    return Text(printable(text), style)


@dataclass(frozen=True)
class Layout:
    """One way to print a table.

    Attributes:
        parts: headings of the columns of each part; the parts stand below one another.
        left_out: headings of the columns that are in none.
        below: standard deviations and intervals stand below the means instead of beside them.
        first: largest width of the first column, in letters.
        narrowest: headings and words are broken wherever they can be.
    """

    parts: list[list[str]]
    left_out: list[str]
    below: bool = False
    first: int = 24
    narrowest: bool = False


def layouts(table: Table) -> Iterator[Layout]:
    """All ways to print a table, the most spacious one first.

    Columns that can be spared go one by one; then standard deviations move below the means and names of rows are
    broken earlier; then the table is divided.
    """
    spare = [heading for heading in table.spare if heading in table.headings]
    for count in range(len(spare) + 1):
        kept = [heading for heading in table.headings if heading not in spare[:count]]
        yield Layout([kept], spare[:count])
    for width in (24, 16):
        yield Layout([kept], spare, below=True, first=width)
    first, *others = kept
    parts: dict[int, list[str]] = {}
    for heading in others:
        parts.setdefault(table.column(heading).part, [first]).append(heading)
    yield Layout(list(parts.values()), spare, below=True)
    yield Layout(list(parts.values()), spare, below=True, first=12, narrowest=True)


@dataclass(frozen=True)
class FittedTable:
    """A table that looks at the width of the console before it chooses its layout."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        for layout in layouts(self.table):
            if self._width(layout, console, options) <= options.max_width:
                break
        for k, headings in enumerate(layout.parts):
            yield from ("",) * (k > 0)
            yield self._part(layout, headings)
        if layout.left_out:
            yield literal(f"Not shown for lack of width: {', '.join(layout.left_out)}.", "dim")

    def _width(self, layout: Layout, console: Console, options: ConsoleOptions) -> int:
        """Width of the widest part, in letters, with no more room for sentences than they need at least."""
        unlimited = options.update(max_width=_UNLIMITED)
        parts = [self._part(layout, headings, _SENTENCES) for headings in layout.parts]
        return max(console.measure(part, options=unlimited).maximum for part in parts)

    def _part(self, layout: Layout, headings: list[str], sentences: int | None = None) -> RichTable:
        """Some columns of the table; columns of sentences not wider than so many letters."""
        part = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
        for heading in headings:
            column = self.table.column(heading)
            title = _title(heading, column, layout)
            if heading == headings[0]:
                fixed = layout.first if layout.narrowest else None  # rich narrows columns without a fixed width
                part.add_column(title, overflow="fold", max_width=layout.first, width=fixed)
            elif column.kind == "numbers":
                part.add_column(title, justify="right", no_wrap=True)
            elif column.kind == "sentences":
                part.add_column(title, overflow="fold", max_width=sentences)
            else:
                texts = [heading, *(line[heading] for line in self.table.lines)]
                longest = max(cell_len(word) for text in texts for word in printable(text).split())
                part.add_column(title, overflow="fold", width=longest if layout.narrowest else None)
        for reason, lines in self.table.parts:
            if reason:
                part.add_section()
                part.add_row(literal(f"{reason}:", "dim"))
            for line in lines:
                part.add_row(*(_cell(line[heading], layout) for heading in headings))
        return part


def _title(heading: str, column: Column, layout: Layout) -> Text:
    """The heading of a column; a second line of it is dim."""
    title, *second = (column.short or printable(heading)).split("\n")
    if layout.narrowest and column.kind == "numbers":
        title = re.sub(r"(?<=\w) (?=[\w(])", "\n", title)
    return Text.assemble(Text(title), *((f"\n{line}", "dim") for line in second))


def _cell(text: str, layout: Layout) -> Text:
    text = printable(text)
    return Text(text.replace(" ± ", "\n±").replace(" [", "\n[") if layout.below else text)
