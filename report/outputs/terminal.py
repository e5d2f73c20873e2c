"""Output for the terminal: each table is printed in the most spacious layout that fits the width."""

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

_UNLIMITED = 1000  # line width that fits every table, in characters
_SENTENCES = 24  # smallest width of a column of sentences, in characters


def terminal(document: Document) -> Group:
    """Tables of all settings, with titles and brief notes."""
    parts = [part for section in document.sections for part in (*_section(section), "")]
    return Group(*parts[:-1])


def _section(section: Section) -> Iterator[RenderableType]:
    for k, table in enumerate(section.tables):
        yield from ("",) * (k > 0)
        yield from table_with_notes(table.title if k else section.title, table)


def table_with_notes(title: str, table: Table) -> Iterator[RenderableType]:
    """Title, table and brief notes, in this order."""
    yield literal(title, "bold")
    yield FittedTable(table)
    if table.brief:
        yield ""
        yield from (literal(note, "dim") for note in table.brief)


def literal(text: str, style: str = "") -> Text:
    """Text that a console prints literally: mark-up and emoji codes are ignored, control characters are escaped."""
    return Text(printable(text), style)


@dataclass(frozen=True)
class Layout:
    """Layout of a printed table.

    Attributes:
        parts: headings of the columns of each part; parts are printed one below the other.
        left_out: headings of the columns that are not printed.
        below: print standard deviations and intervals below the means instead of beside them.
        first: largest width of the first column, in characters.
        narrowest: break headings and words wherever possible.
    """

    parts: list[list[str]]
    left_out: list[str]
    below: bool = False
    first: int = 24
    narrowest: bool = False


def layouts(table: Table) -> Iterator[Layout]:
    """All layouts of a table, the most spacious one first.

    Spare columns are left out one by one; then standard deviations move below the means and row names are broken
    earlier; finally the table is split into parts.
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
    """Renderable that chooses the layout of a table by the width of the console."""

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
        """Width of the widest part in characters, with columns of sentences at their smallest width."""
        unlimited = options.update(max_width=_UNLIMITED)
        parts = [self._part(layout, headings, _SENTENCES) for headings in layout.parts]
        return max(console.measure(part, options=unlimited).maximum for part in parts)

    def _part(self, layout: Layout, headings: list[str], sentences: int | None = None) -> RichTable:
        """Part of the table with some columns; `sentences` limits the width of columns of sentences, in characters."""
        part = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
        for heading in headings:
            column = self.table.column(heading)
            title = _title(heading, column, layout)
            if heading == headings[0]:
                fixed = layout.first if layout.narrowest else None  # rich shrinks columns without a fixed width
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
    """Heading of a column; its second line is dim."""
    title, *second = (column.short or printable(heading)).split("\n")
    if layout.narrowest and column.kind == "numbers":
        title = re.sub(r"(?<=\w) (?=[\w(])", "\n", title)
    return Text.assemble(Text(title), *((f"\n{line}", "dim") for line in second))


def _cell(text: str, layout: Layout) -> Text:
    text = printable(text)
    return Text(text.replace(" ± ", "\n±").replace(" [", "\n[") if layout.below else text)
