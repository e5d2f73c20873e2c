"""One record for the terminal: accuracies, provenance, and the command that reproduces it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table as RichTable

from ..benchmarks.errors import UserError
from ..benchmarks.records.checks import class_mean_accuracy, plain_accuracy
from ..benchmarks.records.schema import Record
from ..benchmarks.records.store import read_all, read_record
from .describe import circumstances, command
from .outputs.terminal import FittedTable, literal
from .sources import Evidence, left_out
from .statistics import changes, settings
from .tables import tables

_SHORTEST = 4  # smallest number of digits that an abbreviated id may have


def find_record(text: str, results: Path, warn: Callable[[str], None] = lambda text: None) -> Record:
    """Find and read a record, given its path or the first digits of its id.

    Args:
        text: path of the record, or first digits of its id, at least four.
        results: folder that is searched for the id.
        warn: callback that receives a sentence for each invalid file in the folder.

    Raises:
        UserError: `text` is too short for an id, no record or several records match, or the file is not a valid
            record.
    """
    if text.endswith(".json") or Path(text).is_file():
        return read_record(Path(text))
    if len(text) < _SHORTEST:
        raise UserError(f"'{text}' is too short: give a record's file, or at least {_SHORTEST} digits of its id.")
    usable, problems = read_all(results)
    records = {record.id: record for record in usable if record.id.startswith(text)}
    if len(records) != 1:
        some = f"{len(records)} records in {results} have ids that begin"
        many = some if records else f"No record in {results} begins"
        hint = f"`bench show` takes a record's file, or the first digits of its id.{left_out(problems)}"
        raise UserError(f"{many} with '{text}'. {hint}")
    for problem in problems:
        warn(problem)
    return next(iter(records.values()))


def show(record: Record) -> Group:
    """Output for the terminal that describes a record."""
    return Group(*_parts(record))


def _parts(record: Record) -> Iterator[RenderableType]:
    (setting,) = settings([record])
    (row,) = setting.rows
    best, last, tests = record.best, record.final, record.dataset.test_counts
    chosen = "plain accuracy" if record.version == 2 and len(set(tests)) > 1 else "mean per-class accuracy"
    plain, top = plain_accuracy(last.correct, tests), class_mean_accuracy(best.correct, tests)
    yield literal(f"{row.label} on {setting.title}", "bold")
    yield (
        f"Mean per-class accuracy {100 * row.overall.mean:.2f} %, plain accuracy {100 * plain:.2f} "
        f"%, last epoch ({last.epoch + 1}). Not the result: epoch {best.epoch + 1}, which has the best {chosen} on the "
        f"test split, with a mean per-class accuracy of {100 * top:.2f} %."
    )
    yield ""
    for table in tables(setting, Evidence(), "show"):
        yield FittedTable(table)
        yield ""
    if record.history.measures:
        last_values = {name: pairs[-1][1] for name, pairs in record.history.measures.items() if pairs}
        yield literal(f"last values measured by the method: {changes(last_values)}")
        yield ""
    facts = RichTable.grid(padding=(0, 2))
    facts.add_column(min_width=10)
    facts.add_column(overflow="fold")
    for name, text in circumstances(record).items():
        facts.add_row(name, literal(text))
    yield from (facts, "", "command", literal(command(record)))
