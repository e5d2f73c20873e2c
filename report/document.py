"""What a report holds when everything is computed and nothing is rendered yet: what the functions of `OUTPUTS` take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from ..benchmarks.records.schema import Record
from .describe import Detail
from .notes import warnings
from .sources import Evidence
from .statistics import Setting, settings
from .tables import tables
from .tables.table import Table


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        caption: what it shows.
        files: format to the name of the file in the folder `figures`.
        svg: a small SVG for a page.
    """

    caption: str
    files: Mapping[str, str]
    svg: bytes


@dataclass(frozen=True)
class Section:
    """A setting in a report.

    Attributes:
        id: 8 hex digits.
        title: dataset and recipe.
        dataset: its name alone.
        warnings: sentences that restrict what the numbers may be used for.
        tables: those that have lines; the first one belongs to the title and needs no heading of its own.
        numbers: per row of the setting, name to unrounded number of all tables.
        pictures: figures.
        details: per row of the setting, what the page unfolds.
    """

    id: str
    title: str
    dataset: str
    warnings: Sequence[str]
    tables: Sequence[Table]
    numbers: Sequence[Mapping[str, Any]]
    pictures: Sequence[Picture] = ()
    details: Sequence[Detail] = ()


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        sections: settings in the order of the report.
        ranks: sentences on the ranks over several datasets.
        diagram: figure of these ranks; None where there is none.
        cards: name to card of the methods that have a row.
    """

    sections: Sequence[Section]
    ranks: Sequence[str] = ()
    diagram: Picture | None = None
    cards: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What a command has made.

    Attributes:
        paths: files written.
        warnings: one sentence for each file that could not be used and was left out.
        printed: for a rich console.
    """

    paths: Sequence[Path]
    warnings: Sequence[str]
    printed: RenderableType


def section(
    setting: Setting,
    evidence: Evidence,
    shown_by: str = "report",
    pictures: Sequence[Picture] = (),
    details: Sequence[Detail] = (),
) -> Section:
    """A setting with the tables that a command shows, named as in `TABLES`."""
    computed = tables(setting, evidence, shown_by)
    numbers: list[dict[str, Any]] = []
    for row in setting.rows:
        numbers.append({})
        for table in computed:
            numbers[-1] |= table.numbers.get(row.label, {})
    return Section(
        setting.id,
        setting.title,
        setting.dataset.name,
        warnings(setting),
        [table for table in computed if table.lines],
        numbers,
        pictures,
        details,
    )


def run_document(records: Sequence[Record]) -> Document:
    """The leaderboards of some records, one per setting, as a run shows them at its end."""
    return Document([section(setting, Evidence(), "run") for setting in settings(records)])
