"""Tables of settings for the terminal, in the layout that its width has room for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.markup import escape
from rich.table import Table as RichTable

from ..benchmarks.records.schema import Record
from .notes import missing_groups, warnings
from .statistics import Setting, Spread, settings
from .tables import Evidence, Table, cell, tables


def run_table(records: Iterable[Record]) -> Group:
    """The leaderboards of some records, one per setting; `print` it on a rich console."""
    return leaderboards(settings(records))


def leaderboards(found: Iterable[Setting], evidence: Evidence | None = None) -> Group:
    """The leaderboards of settings; with evidence, their other tables, too.

    Each leaderboard takes the most spacious of three layouts that the width of the console has room for.
    """
    parts: list[RenderableType] = []
    for setting in found:
        parts += [_Leaderboard(setting), ""]
        for table in tables(setting, evidence)[1:] if evidence else ():
            parts += [f"[bold]{escape(table.title)}[/bold]", Plain(table), ""]
    return Group(*parts[:-1])


@dataclass(frozen=True)
class Plain:
    """One table of texts; where the console is narrow, columns that the table can spare are left out, with a word."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        dropped: list[str] = []
        spare = [name for name in self.table.spare if name in self.table.frame]
        wide = options.update(max_width=1000)
        while spare and console.measure(self._made(dropped), options=wide).maximum > options.max_width:
            dropped.append(spare.pop(0))
        yield self._made(dropped)
        if dropped:
            yield f"[dim]Too narrow for: {', '.join(dropped)}.[/dim]"

    def _made(self, dropped: list[str]) -> RichTable:
        made = _empty()
        kept = [name for name in self.table.frame.columns if name not in dropped]
        for k, name in enumerate(kept):
            made.add_column(
                escape(name),
                justify="left" if k == 0 or name in _WORDS else "right",
                overflow="fold",
                min_width=12 if k == 0 else 9 if name == "verdict" else None,
                max_width=24 if k == 0 else None,
            )
        for line in self.table.frame[kept].itertuples(index=False):
            made.add_row(*map(escape, line))
        return made


_WORDS = ("verdict", "protocol differs in")


def _empty() -> RichTable:
    return RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)


@dataclass(frozen=True)
class _Leaderboard:
    """A setting's table that looks at the width of the console before it chooses its layout."""

    setting: Setting

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        names = [group.name for group in self.setting.groups]
        beside = self._table("{mean} ± {sd}", ["overall", *names, "n"])
        below = self._table("{mean}\n±{sd}", ["overall", *names, "n"], method=16)
        first = len(self.setting.groupings[0].groups)
        yield f"[bold]{escape(self.setting.title)}[/bold]"
        for table in (beside, below):
            needed = console.measure(table, options=options.update(max_width=1000)).maximum
            if needed <= options.max_width:
                yield table
                break
        else:
            yield self._table("{mean}\n±{sd}", ["overall", *names[:first], "n"])
            if names[first:]:
                yield ""
                yield self._table("{mean}\n±{sd}", names[first:])
        yield ""
        rules = [grouping.rule for grouping in self.setting.groupings]
        for note in (*warnings(self.setting), *missing_groups(self.setting), *rules):
            yield f"[dim]{escape(note)}[/dim]"

    def _table(self, form: str, columns: list[str], method: int = 24) -> RichTable:
        table = _empty()
        table.add_column("method\n[dim]classes[/dim]", overflow="fold", max_width=method)
        for column in columns:
            classes = {group.name: len(group.classes) for group in self.setting.groups}
            classes["overall"] = len(self.setting.dataset.train_counts)
            size = f"\n[dim]{classes[column]}[/dim]" if column in classes else ""
            table.add_column(f"{column}{size}", justify="right", no_wrap=True)
        for row in self.setting.rows:
            values: dict[str, Spread | None] = {"overall": row.overall, **row.groups}
            cells = [str(len(row.runs)) if c == "n" else cell(values[c], form) for c in columns]
            table.add_row(escape(row.label), *cells)
        return table
