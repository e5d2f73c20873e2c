"""leaderboard.md: tables, notes and figures of all settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pandas as pd

from ...benchmarks.errors import printable
from ..document import Document, Picture, Section
from ..tables.table import Table


def markdown(document: Document) -> str:
    """Contents of leaderboard.md."""
    parts = ["# Leaderboard\n"]
    if len(document.sections) > 1:
        parts.append(
            "One leaderboard per setting (images and recipe); numbers of different settings must not be ranked "
            "together.\n"
        )
    for section in document.sections:
        parts.append(section_markdown(section))
        parts += [_figure(f"{picture.caption}: {section.title}", picture) for picture in section.pictures]
    parts.append("## Over several datasets\n")
    parts += [_figure(diagram.caption, diagram) for diagram in document.diagrams if diagram.files]
    parts.append(_list(document.ranks))
    return "\n".join(parts)


def section_markdown(section: Section) -> str:
    """Heading and tables of a setting; every table except the first has its own heading."""
    return "\n".join([f"## {escape_markdown(section.title)}\n", *_tables(section.tables)])


def _tables(tables: Sequence[Table]) -> Iterator[str]:
    for k, table in enumerate(tables):
        if k > 0:
            yield f"### {escape_markdown(table.title)}\n"
        empty = dict.fromkeys(table.headings[1:], "")
        lines = []
        for reason, part in table.parts:
            lines += [{table.headings[0]: reason + ":"} | empty] * bool(reason) + part
        frame = pd.DataFrame(lines).map(escape_markdown).rename(columns=escape_markdown)
        align = ["left"] + ["right"] * (frame.shape[1] - 1)
        yield frame.to_markdown(index=False, tablefmt="pipe", disable_numparse=True, colalign=align) + "\n"
        yield _list(table.notes)


def _list(sentences: Sequence[str]) -> str:
    items = (re.sub(r"^(\d*)(?=[-+.)])", r"\1\\", escape_markdown(sentence)) for sentence in sentences)  # no inner list
    return "\n".join(f"- {item}" for item in items) + "\n"


def _figure(title: str, picture: Picture) -> str:
    """Markdown of a figure: the PNG, or else the SVG (if either exists), the title, and links to the other formats."""
    title = escape_markdown(title)
    shown = picture.files.get("png") or picture.files.get("svg")
    others = [f"[{suffix.upper()}](figures/{file})" for suffix, file in picture.files.items() if file != shown]
    image = f"![{title}](figures/{shown})\n\n" if shown else ""
    return image + title + (f" ({', '.join(others)})" if others else "") + "\n"


def escape_markdown(text: str) -> str:
    """Escape a string so that Markdown shows it literally on one line; a "_" inside a word needs no escape."""
    return re.sub(r"([\\|*<>\[\]`~$&@]|:(?=//)|(?<=www)\.|(?<!\w)[_#]|_(?!\w))", r"\\\1", printable(text).strip())
