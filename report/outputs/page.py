"""index.html: a self-contained page with sortable and filterable leaderboards, figures and method cards."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...benchmarks.errors import printable
from ..document import Document, Section
from ..hues import HUES
from ..tables.table import Table
from ..text import NONE

FOLDER = Path(__file__).parent


def page(document: Document) -> str:
    """Contents of index.html; strings from records are escaped."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["headings_of"] = _headings
    return environment.get_template("page.html.jinja").render(
        style=(FOLDER / "page.css").read_text("utf-8"),
        script=(FOLDER / "page.js").read_text("utf-8"),
        sections=[_view(section) for section in document.sections],
        datasets=sorted({section.dataset for section in document.sections}),
        records=sum(len(detail.runs) for section in document.sections for detail in section.details),
        over=document.ranks,
        diagrams=[(picture.caption, _address(picture.svg)) for picture in document.diagrams],
        hues=HUES,
        cards={name: _paragraphs(card) for name, card in sorted(document.cards.items())},
    )


def _headings(table: Table) -> list[str]:
    """Headings of the columns that have a value in any row; the columns of empty groups have none."""
    return [name for name in table.headings if any(line[name] != NONE for line in table.lines)]


def _shown(value: Any) -> Any:
    """A value as the template inserts it: strings with visible escapes for control characters, safe HTML unchanged."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _view(section: Section) -> dict[str, Any]:
    board, *others = section.tables
    details = {
        name: {"id": f"d-{section.id}-{k}", "detail": detail}
        for k, (name, detail) in enumerate(zip(section.families, section.details, strict=True), 1)
    }
    on_board = {line[board.headings[0]] for line in board.lines}
    return {
        "id": section.id,
        "title": section.title,
        "dataset": section.dataset,
        "warnings": section.warnings,
        "board": board,
        "details": {name: detail for name, detail in details.items() if name in on_board},
        "details_of_variants": {name: detail for name, detail in details.items() if name not in on_board},
        "families": section.families,
        "others": others,
        "figures": [(picture.caption, _address(picture.svg)) for picture in section.pictures],
    }


def _address(svg: bytes) -> str:
    """Data URL of an SVG; unlike those of inline SVGs, its ids and styles cannot clash with those of other pictures."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _paragraphs(card: str) -> list[str]:
    """Paragraphs of a card, each on one line; an empty line or a line `Key: ...` begins a new paragraph."""
    parts: list[str] = []
    for line in card.splitlines():
        head, colon, _ = line.partition(":")
        begins = not parts or not line.strip() or (bool(colon) and line[:1].isupper() and len(head) < 30)
        if begins:
            parts.append(line.strip())
        else:
            parts[-1] += " " + line.strip()
    return [part for part in parts if part]
