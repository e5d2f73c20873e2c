"""Inputs of a report: records, stored logits, published numbers, method cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..benchmarks.errors import UserError, unknown
from ..benchmarks.records.schema import Record
from ..benchmarks.records.store import read_all
from .logits import Scores
from .published import FILE, PublishedTable


@dataclass(frozen=True)
class Sources:
    """Folders and files that a report reads.

    Attributes:
        results: folder of records.
        runs: folder of runs, which may contain stored logits; may be missing.
        published: TOML file of published numbers.
        cards: documentation cards by method.
    """

    results: Path
    runs: Path = Path("runs")
    published: Path = FILE
    cards: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """Input of the tables in addition to the records.

    Attributes:
        scores: scores by record id, for the runs whose logits are stored.
        published: tables of published numbers; empty unless requested.
    """

    scores: Mapping[str, Scores] = field(default_factory=dict)
    published: Sequence[PublishedTable] = ()


def read_records(results: Path, datasets: Sequence[str] | None = None) -> tuple[list[Record], list[str]]:
    """All valid records below a folder, of some datasets or of all, and one sentence for each invalid file.

    Raises:
        UserError: there is no valid record, or none for one of the datasets.
    """
    records, problems = read_all(results)
    if not records:
        raise UserError(
            f"There is no record in {results}. Create one with `bench run --dataset <name> --method <name>`, or name "
            f"the folder that contains your results.{left_out(problems)}"
        )
    names = {record.dataset.name for record in records}
    for name in datasets or ():
        if name not in names:
            raise unknown("dataset in the results", name, names)
    return [record for record in records if not datasets or record.dataset.name in datasets], problems


def left_out(problems: Sequence[str]) -> str:
    """Sentence on the number of files left out and the reason for the first, after a space; "" if there are none."""
    return f" Left out there: {len(problems)}; the first: {problems[0]}" if problems else ""
