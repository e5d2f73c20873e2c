"""Comparison of two methods in every group of classes, paired by seed, with interval and permutation test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..benchmarks.errors import UserError, unknown
from ..benchmarks.records.schema import Record
from ..benchmarks.utils.atomic_write import write_atomically
from .document import Document, Report, section
from .figures.classes import class_sizes
from .figures.style import picture_format, save
from .logits import read_scores
from .outputs.terminal import terminal
from .sources import Evidence, Sources, read_records
from .statistics import Options, Row, Setting, settings


def compare_rows(
    a: str, b: str, sources: Sources, datasets: Sequence[str] | None, options: Options, out: Path | None = None
) -> Report:
    """Compare two rows in every setting in which both have records.

    Args:
        a: label of a row, or name of a method that has only one row.
        b: label or method of the second row, whose accuracies are subtracted.
        sources: folders of records and logits.
        datasets: names of datasets; None for all.
        options: definition of the groups; the baseline is `b`.
        out: .png, .svg or .pdf file for a figure of accuracy against class size. With several settings, one file
            each, with the setting's id in its name.

    Raises:
        UserError: there are no records, no rows with these names or no setting that has both, or `out` has an
            unsupported format.
    """
    suffix = picture_format(out) if out else ""
    records, bad_records = read_records(sources.results, datasets)
    scores, bad_logits = read_scores(records, sources.runs)
    shared = pairs(records, a, b, options)
    paths = []
    if out:
        for setting in shared:
            paths.append(out if len(shared) == 1 else out.with_stem(f"{out.stem}-{setting.id}"))
            write_atomically(paths[-1], save(class_sizes(setting), suffix))
    document = Document([section(setting, Evidence(scores), "compare") for setting in shared])
    return Report(paths, bad_records + bad_logits, terminal(document))


def find_row(setting: Setting, name: str) -> Row | None:
    """The row with this label, or else the only row of the method with this name; None if there is no such row."""
    for row in setting.rows:
        if row.label == name:
            return row
    of_method = [row for row in setting.rows if row.method == name]
    return of_method[0] if len(of_method) == 1 else None


def pairs(records: Iterable[Record], a: str, b: str, options: Options) -> list[Setting]:
    """The settings that have both rows, reduced to these two, with `b` as baseline.

    Raises:
        UserError: no setting has a row with one of the names, or no setting has both rows.
    """
    all_settings = settings(records, options)
    labels = {row.label for setting in all_settings for row in setting.rows}
    for name in (a, b):
        if not any(find_row(setting, name) for setting in all_settings):
            raise unknown("row (method with its changed settings)", name, labels)
    candidates = [(setting, find_row(setting, a), find_row(setting, b)) for setting in all_settings]
    shared = [_pair(setting, x, y) for setting, x, y in candidates if x and y and x is not y]
    if not shared:
        titles = {name: [setting.title for setting in all_settings if find_row(setting, name)] for name in (a, b)}
        each = "; ".join(f"{name} on {' and '.join(of_name)}" for name, of_name in titles.items())
        raise UserError(f"No setting has both rows: {each}. Only runs with the same images and recipe can be compared.")
    return shared


def _pair(setting: Setting, a: Row, b: Row) -> Setting:
    return replace(setting, rows=(a, b), options=replace(setting.options, baseline=b.label))
