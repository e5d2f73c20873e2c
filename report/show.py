"""One record for the terminal: its numbers, its circumstances, and the command that makes it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table as RichTable

from ..benchmarks.errors import UserError
from ..benchmarks.records.schema import Record
from ..benchmarks.records.store import find_records, read_record
from .describe import circumstances, command
from .outputs.terminal import FittedTable, literal
from .sources import Evidence
from .statistics import changes, settings
from .tables import tables

_SHORTEST = 4  # digits of an id


def find_record(text: str, results: Path) -> Record:
    """The record of a path, or of the first digits of an id among the valid records of a folder.

    Raises:
        UserError: there is none, or several, or the file is no valid record.
    """
    if text.endswith(".json") or Path(text).is_file():
        return read_record(Path(text))
    if len(text) < _SHORTEST:
        raise UserError(f"'{text}' is too short: give a record's file, or at least {_SHORTEST} digits of its id.")
    records = {}
    for path in find_records(results):
        try:
            record = read_record(path)
        except UserError:
            continue  # `bench check-records` reports it
        if record.id.startswith(text):
            records[record.id] = record
    if len(records) != 1:
        some = f"{len(records)} records in {results} have ids that begin"
        many = some if records else f"No record in {results} begins"
        raise UserError(f"{many} with '{text}'. `bench show` takes a record's file, or the first digits of its id.")
    return next(iter(records.values()))


def show(record: Record) -> Group:
    """A record for the terminal."""
    return Group(*_parts(record))


def _parts(record: Record) -> Iterator[RenderableType]:
    (setting,) = settings([record])
    (row,) = setting.rows
    best, last, tests = record.best, record.final, sum(record.dataset.test_counts)
    yield literal(f"{row.label} on {setting.title}", "bold")
    yield (
        f"Mean per-class accuracy {100 * row.overall.mean:.2f} %, plain accuracy {100 * sum(last.correct) / tests:.2f} "
        f"%, last epoch ({last.epoch + 1}). Not the result: best epoch on the test split ({best.epoch + 1}), plain "
        f"accuracy {100 * sum(best.correct) / tests:.2f} %."
    )
    yield ""
    for table in tables(setting, Evidence(), "show"):
        yield FittedTable(table)
        yield ""
    if record.history.measures:
        last_values = {name: pairs[-1][1] for name, pairs in record.history.measures.items() if pairs}
        yield literal(f"measured by the method in its last epoch: {changes(last_values)}")
        yield ""
    facts = RichTable.grid(padding=(0, 2))
    facts.add_column(min_width=10)
    facts.add_column(overflow="fold")
    for name, text in circumstances(record).items():
        facts.add_row(name, literal(text))
    yield from (facts, "", "command", literal(command(record)))
