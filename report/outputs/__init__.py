"""Outputs of a report: one function per output, all listed in `OUTPUTS`."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Group

from ..document import Document
from .csv import csv
from .latex import latex
from .markdown import markdown
from .page import page
from .terminal import terminal

# File name to the function that returns the text of the file; `terminal` returns a rich group, which is printed.
OUTPUTS: dict[str, Callable[[Document], str | Group]] = {
    "leaderboard.md": markdown,
    "leaderboard.tex": latex,
    "leaderboard.csv": csv,
    "index.html": page,
    "terminal": terminal,
}
