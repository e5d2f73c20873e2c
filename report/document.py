"""Contents of a report before rendering: the input of the functions in `OUTPUTS`."""

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
    """A figure of a report.

    Attributes:
        caption: caption without the setting.
        files: file name in the folder `figures`, by format.
        svg: contents of a small SVG for the HTML page.
    """

    caption: str
    files: Mapping[str, str]
    svg: bytes


@dataclass(frozen=True)
class Section:
    """Contents of a report for one setting.

    Attributes:
        id: id of the setting, 8 hex digits.
        title: dataset and recipe.
        dataset: name of the dataset.
        warnings: sentences that restrict the use of the numbers.
        tables: tables that have rows; the first one is printed directly below the title, without a heading.
        numbers: unrounded numbers of all tables by CSV column, one mapping for each row of the setting.
        pictures: figures of the setting.
        details: description of each row of the setting, shown on the page when the row is expanded.
        families: family of each row of the setting by its label, in the order of the rows.
    """

    id: str
    title: str
    dataset: str
    warnings: Sequence[str]
    tables: Sequence[Table]
    numbers: Sequence[Mapping[str, Any]]
    pictures: Sequence[Picture] = ()
    details: Sequence[Detail] = ()
    families: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """Contents of a whole report.

    Attributes:
        sections: one section per setting, in the order of the report.
        ranks: sentences on the ranks over several datasets.
        diagrams: rank diagram of each track that has ranks; empty without figures.
        cards: documentation cards by method, for the methods that have a row.
    """

    sections: Sequence[Section]
    ranks: Sequence[str] = ()
    diagrams: Sequence[Picture] = ()
    cards: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """Result of a command that reads records.

    Attributes:
        paths: files written.
        warnings: one sentence for each file that was left out because it is unusable.
        printed: output for a rich console.
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
    """The section of a setting, with the tables that `TABLES` lists for a command."""
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
        {row.label: row.family for row in setting.rows},
    )


def run_document(records: Sequence[Record]) -> Document:
    """Document with the leaderboards of some records, one per setting, which `bench run` prints at its end."""
    return Document([section(setting, Evidence(), "run") for setting in settings(records)])
