"""leaderboard.tex: the tables of all settings, with their notes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from ...benchmarks.errors import printable
from ..document import Document, Section
from ..tables.table import Table

_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#",
    "_": r"\_\allowbreak{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "[": "{[}", "]": "{]}", "=": r"=\allowbreak{}",
    "\0": "{}",
    "±": r"$\pm$", "–": "--", "−": "$-$", "`": r"\textasciigrave{}",
}  # fmt: skip

_SENTENCES = "16em"  # width of columns of sentences
# Width of the first column by the smallest number of columns for which it is used.
_FIRST = {11: "5.4em", 9: "6.5em", 8: "8.5em", 0: "11em"}
_TALLEST = 20  # largest number of rows in one float
_MOST_COLUMNS = 11  # with more columns, spare ones are left out, because a page has no room
_LONGEST = 2500  # largest number of characters of notes in one float


def latex(document: Document) -> str:
    r"""Contents of leaderboard.tex, for `\input`: one or more floats `table*` per table; needs the package booktabs."""
    floats = [
        _float(section, table, start)
        for section in document.sections
        for table in map(_fitted, section.tables)
        for start in range(0, len(table.lines), _TALLEST)
    ]
    return "% \\input this file; needs \\usepackage{booktabs}\n\n" + "\n".join(floats)


def _fitted(table: Table) -> Table:
    """The table without the spare columns for which a page has no room."""
    spare = table.spare[: max(0, len(table.headings) - _MOST_COLUMNS)]
    lines = [{name: text for name, text in line.items() if name not in spare} for line in table.lines]
    return replace(table, lines=lines)


def _float(section: Section, table: Table, start: int) -> str:
    """A float with up to 20 rows of a table, beginning at row `start`; the last float of a table has the notes."""
    below = "\n".join(f"{escape_latex(note)}\\par" for note in table.notes)
    after = ""
    if start + _TALLEST < len(table.lines):
        below = "Continued.\\par"
    elif len(below) > _LONGEST:  # unlike a float, a paragraph can break over pages
        title = escape_latex(table.title)
        after = f"\n{{\\scriptsize\\raggedright\\noindent {title}:\\par\n{below}\n}}\n"
        below = "Notes: see the text.\\par"
    number = start // _TALLEST + 1
    part = f" (part {number})" if len(table.lines) > _TALLEST else ""
    label = f"tab:{section.id}-{table.name}{number if start else ''}"
    return (
        "\\begin{table*}\n\\centering\n"
        f"\\caption{{{escape_latex(table.title)}{part}: {escape_latex(section.title)}.}}\n\\label{{{label}}}\n"
        f"\\footnotesize\\setlength{{\\tabcolsep}}{{2pt}}\n{_tabular(table, start)}"
        f"\n\\smallskip\n\\begin{{minipage}}{{\\linewidth}}\\scriptsize\\raggedright\n{below}\n\\end{{minipage}}\n"
        f"\\end{{table*}}\n{after}"
    )


def _tabular(table: Table, start: int) -> str:
    frame = table.frame[start : start + _TALLEST].map(escape_latex)
    apart = [table.apart.get(line[table.headings[0]], "") for line in table.lines]
    # A standard deviation in full size would make the table wider than a page.
    frame = frame.replace(r" ?\$\\pm\$ ?([\d.]+)", r"\,{\\tiny$\\pm$\1}", regex=True)
    first, *others = table.headings
    frame[first] = r"\raggedright\hangindent1em " + frame[first]
    alignment = ""
    for name in others:
        kind = table.column(name).kind
        alignment += "r" if kind == "numbers" else "l"
        if kind == "sentences":
            frame[name] = rf"\parbox[t]{{{_SENTENCES}}}{{\raggedright\strut " + frame[name] + r"\strut}"
    width = next(width for least, width in _FIRST.items() if len(table.headings) >= least)
    frame[table.headings[0]] = [_rule(apart, start + k) + text for k, text in enumerate(frame[table.headings[0]])]
    frame.columns = pd.Index([_heading(name) for name in table.headings])
    return frame.style.hide(axis="index").to_latex(hrules=True, column_format=f"@{{}}p{{{width}}}{alignment}@{{}}")


def _rule(apart: Sequence[str], line: int) -> str:
    """Code to insert before a row: a rule and the reason where a group of unranked rows begins, otherwise nothing."""
    if not apart[line] or (line and apart[line] == apart[line - 1]):
        return ""
    return rf"\midrule \multicolumn{{1}}{{@{{}}l}}{{\itshape {escape_latex(apart[line])}}}\\ "


def _heading(name: str) -> str:
    """A heading, broken into two lines if it is long, so that the table fits a text width of 5.5 inches."""
    breaks = [match.start() for match in re.finditer(" ", name)]
    if not breaks or (len(name) < 9 and "(" not in name):
        return escape_latex(name)
    middle = name.index(" (") if " (" in name else min(breaks, key=lambda k: abs(k - len(name) / 2))
    first, second = escape_latex(name[:middle]), escape_latex(name[middle + 1 :])
    return rf"\shortstack[r]{{\strut {first}\\{second}}}"


def escape_latex(text: str) -> str:
    """Escape a string so that LaTeX prints it literally, without commands and without ligatures such as "--"."""
    apart = re.sub(r"([-,'])(?=\1)", r"\1\0", printable(text))
    return "".join(_TEX.get(letter, letter) for letter in apart)
