"""Leaderboards as Markdown, as LaTeX and for the terminal: one table per setting, its circumstances below."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pandas as pd
from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from ..benchmarks.record import Record
from .notes import missing_groups, notes, warnings
from .statistics import Setting, Spread, settings

_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#",
    "_": r"\_\allowbreak{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "[": "{[}", "]": "{]}", "=": r"=\allowbreak{}",
    "±": r"$\pm$", "–": "--",
}  # fmt: skip


def markdown(setting: Setting) -> str:
    """The leaderboard of one setting: heading, table, notes."""
    frame = _frame(setting, "{mean} ± {sd}").map(escape_markdown)
    align = ["left"] + ["right"] * (frame.shape[1] - 1)
    table = frame.to_markdown(index=False, tablefmt="pipe", disable_numparse=True, colalign=align)
    below = "\n".join(f"- {escape_markdown(note)}" for note in notes(setting))
    return f"## {escape_markdown(setting.title)}\n\n{table}\n\n{below}\n"


def latex(setting: Setting) -> str:
    r"""The leaderboard of one setting as a `table*` for `\input`; needs the package booktabs."""
    frame = _frame(setting, "{mean}±{sd}").map(escape_latex)
    # A standard deviation in full size would make the table wider than a page.
    frame = frame.replace(r"\$\\pm\$([\d.]+)$", r"\,{\\tiny$\\pm$\1}", regex=True)
    # Long names and the numbers of classes take a line of their own, so that the table fits a text width of 5.5 inches.
    frame["method"] = r"\raggedright\hangindent1em " + frame["method"]
    frame.columns = [re.sub(r"(.*) (\(.*)", r"\\shortstack[r]{\\strut \1\\\\\2}", name) for name in frame.columns]
    lines = "p{7em}" + "r" * (frame.shape[1] - 1)
    table = frame.style.hide(axis="index").to_latex(hrules=True, column_format=f"@{{}}{lines}@{{}}")
    below = "\n".join(f"{escape_latex(note)}\\par" for note in notes(setting))
    return (
        "\\begin{table*}\n\\centering\n"
        f"\\caption{{Test accuracy (\\%) on {escape_latex(setting.title)}.}}\n\\label{{tab:{setting.id}}}\n"
        f"\\footnotesize\\setlength{{\\tabcolsep}}{{2pt}}\n{table}"
        f"\n\\smallskip\n\\begin{{minipage}}{{\\linewidth}}\\scriptsize\\raggedright\n{below}\n\\end{{minipage}}\n"
        "\\end{table*}\n"
    )


def run_table(records: Iterable[Record], rule: str = "A") -> Group:
    """The tables of some records for the terminal, one per setting; `print` it on a rich console.

    Each takes the most spacious of three layouts that the width of the console has room for. `n` counts the seeds.
    """
    parts: list[RenderableType] = []
    for setting in settings(records, rule):
        parts += [_Terminal(setting), ""]
    return Group(*parts[:-1])


def escape_markdown(text: str) -> str:
    """Text that a Markdown table shows literally."""
    return re.sub(r"([\\|*<>\[\]`]|(?<!\w)_|_(?!\w))", r"\\\1", text)  # "_" inside a word is no mark-up


def escape_latex(text: str) -> str:
    """Text that LaTeX shows literally."""
    return "".join(_TEX.get(letter, letter) for letter in text)


def _cell(value: Spread | None, form: str) -> str:
    """Percent with one decimal; `form` has the places {mean} and {sd}."""
    if value is None:
        return "–"
    mean = f"{100 * value.mean:.1f}"
    return mean if value.sd is None else form.format(mean=mean, sd=f"{100 * value.sd:.1f}")


def _frame(setting: Setting, form: str) -> pd.DataFrame:
    """One line per row: method, overall, the groups (with their number of classes), seeds."""
    lines = [
        {
            "method": row.label,
            "overall": _cell(row.overall, form),
            **{f"{g.name} ({len(g.classes)})": _cell(row.groups[g.name], form) for g in setting.groups},
            "seeds": str(len(row.runs)),
        }
        for row in setting.rows
    ]
    return pd.DataFrame(lines)


@dataclass(frozen=True)
class _Terminal:
    """A setting's table that looks at the width of the console before it chooses its layout."""

    setting: Setting

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        names = [group.name for group in self.setting.groups]
        beside = self._table("{mean} ± {sd}", ["overall", *names, "n"])
        below = self._table("{mean}\n±{sd}", ["overall", *names, "n"], method=16)
        shots = len(self.setting.shots.groups)
        yield f"[bold]{escape(self.setting.title)}[/bold]"
        for table in (beside, below):
            needed = console.measure(table, options=options.update(max_width=1000)).maximum
            if needed <= options.max_width:
                yield table
                break
        else:
            yield self._table("{mean}\n±{sd}", ["overall", *names[:shots], "n"])
            yield ""
            yield self._table("{mean}\n±{sd}", names[shots:])
        yield ""
        rules = (self.setting.shots.rule, self.setting.parts.rule)
        for note in (*warnings(self.setting), *missing_groups(self.setting), *rules):
            yield f"[dim]{escape(note)}[/dim]"

    def _table(self, form: str, columns: list[str], method: int = 24) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column("method\n[dim]classes[/dim]", overflow="fold", max_width=method)
        for column in columns:
            classes = {group.name: len(group.classes) for group in self.setting.groups}
            classes["overall"] = len(self.setting.dataset.train_counts)
            size = f"\n[dim]{classes[column]}[/dim]" if column in classes else ""
            table.add_column(f"{column}{size}", justify="right", no_wrap=True)
        for row in self.setting.rows:
            values: dict[str, Spread | None] = {"overall": row.overall, **row.groups}
            cells = [str(len(row.runs)) if c == "n" else _cell(values[c], form) for c in columns]
            table.add_row(escape(row.label), *cells)
        return table
