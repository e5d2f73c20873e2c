"""Tables of a setting as Markdown and as LaTeX, their circumstances below."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from .statistics import Setting
from .tables import Table

_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#",
    "_": r"\_\allowbreak{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "[": "{[}", "]": "{]}", "=": r"=\allowbreak{}",
    "±": r"$\pm$", "–": "--", "−": "$-$",
}  # fmt: skip


_WORDS = {"protocol differs in": "16em"}  # columns of sentences
# The names of rows have less room the more columns stand beside them: least number of columns to width.
_FIRST = {11: "5.4em", 9: "6.5em", 8: "8.5em", 0: "11em"}
_TALLEST = 20  # rows of one float
_LONGEST = 2500  # letters of notes within a float


def markdown(setting: Setting, tables: Sequence[Table]) -> str:
    """The tables of one setting: heading, leaderboard, notes, then the others under headings of their own."""
    parts = [f"## {escape_markdown(setting.title)}\n"]
    for k, table in enumerate(tables):
        frame = table.frame.map(escape_markdown).rename(columns=escape_markdown)
        align = ["left"] + ["right"] * (frame.shape[1] - 1)
        text = frame.to_markdown(index=False, tablefmt="pipe", disable_numparse=True, colalign=align)
        below = "\n".join(f"- {escape_markdown(note)}" for note in table.notes)
        parts += [f"### {escape_markdown(table.title)}\n"] * (k > 0) + [f"{text}\n", f"{below}\n"]
    return "\n".join(parts)


def latex(setting: Setting, tables: Sequence[Table]) -> str:
    r"""The tables of one setting, each a `table*` for `\input`, long ones several; needs the package booktabs."""
    parts = [(table, start) for table in tables for start in range(0, len(table.frame), _TALLEST)]
    return "\n".join(_float(setting, table, start) for table, start in parts)


def _float(setting: Setting, table: Table, start: int) -> str:
    frame = table.frame[start : start + _TALLEST].map(escape_latex)
    last = start + _TALLEST >= len(table.frame)
    # A standard deviation in full size would make the table wider than a page.
    frame = frame.replace(r" ?\$\\pm\$ ?([\d.]+)", r"\,{\\tiny$\\pm$\1}", regex=True)
    frame.iloc[:, 0] = r"\raggedright\hangindent1em " + frame.iloc[:, 0]
    for name, wide in _WORDS.items():
        if name in frame:
            frame[name] = rf"\parbox[t]{{{wide}}}{{\raggedright\strut " + frame[name] + r"\strut}"
    names = list(table.frame.columns)
    frame.columns = pd.Index([_heading(name) for name in names])
    width = next(width for least, width in _FIRST.items() if len(names) >= least)
    lines = f"p{{{width}}}" + "".join("l" if name in _WORDS or name == "verdict" else "r" for name in names[1:])
    body = frame.style.hide(axis="index").to_latex(hrules=True, column_format=f"@{{}}{lines}@{{}}")
    below = "\n".join(f"{escape_latex(note)}\\par" for note in table.notes) if last else "Continued.\\par"
    long = len(below) > _LONGEST  # a float does not break over pages, a paragraph does
    after = f"\n{{\\scriptsize\\raggedright\\noindent {escape_latex(table.title)}:\\par\n{below}\n}}\n" if long else ""
    below = "Notes: in the text.\\par" if long else below
    part = f" (part {start // _TALLEST + 1})" if len(table.frame) > _TALLEST else ""
    label = f"tab:{setting.id}-{table.name}{start // _TALLEST + 1 if start else ''}"
    return (
        "\\begin{table*}\n\\centering\n"
        f"\\caption{{{escape_latex(table.title)}{part}: {escape_latex(setting.title)}.}}\n\\label{{{label}}}\n"
        f"\\footnotesize\\setlength{{\\tabcolsep}}{{2pt}}\n{body}"
        f"\n\\smallskip\n\\begin{{minipage}}{{\\linewidth}}\\scriptsize\\raggedright\n{below}\n\\end{{minipage}}\n"
        f"\\end{{table*}}\n{after}"
    )


def _heading(name: str) -> str:
    """A heading in two lines where it is long, so that the table fits a text width of 5.5 inches."""
    breaks = [match.start() for match in re.finditer(" ", name)]
    if not breaks or (len(name) < 9 and "(" not in name):
        return escape_latex(name)
    middle = name.index(" (") if " (" in name else min(breaks, key=lambda k: abs(k - len(name) / 2))
    first, second = escape_latex(name[:middle]), escape_latex(name[middle + 1 :])
    return rf"\shortstack[r]{{\strut {first}\\{second}}}"


def escape_markdown(text: str) -> str:
    """Text that a Markdown table shows literally."""
    return re.sub(r"([\\|*<>\[\]`]|(?<!\w)_|_(?!\w))", r"\\\1", text)  # "_" inside a word is no mark-up


def escape_latex(text: str) -> str:
    """Text that LaTeX shows literally."""
    return "".join(_TEX.get(letter, letter) for letter in text)
