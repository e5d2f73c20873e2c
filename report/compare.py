"""Two methods against each other: every group, paired by seed, with interval and permutation test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Group, RenderableType
from rich.markup import escape

from ..benchmarks.errors import UserError, unknown
from ..benchmarks.records.schema import Record
from ..benchmarks.utils.atomic_write import write_atomically
from .class_plots import class_sizes
from .costs import comparable, costs, duration
from .logits import corrections, read_scores
from .notes import warnings
from .paired_tests import FEWEST, LEVEL, difference, in_points, paired_runs, verdict
from .sources import Sources, read_records
from .statistics import Options, Row, Setting, changes, class_accuracies, settings
from .style import picture_format, save
from .tables import NONE, Evidence, Table, cell
from .terminal import Plain


def compare_rows(
    a: str, b: str, sources: Sources, datasets: Sequence[str] | None, options: Options, out: Path | None = None
) -> tuple[Group, list[str], list[Path]]:
    """Compare two rows wherever both have records: tables for a console, warnings, and the figures written.

    Args:
        a: a method, or the label of a row.
        b: another one.
        sources: where records and logits lie.
        datasets: names; None for all.
        options: borders and groups; the baseline is `b`.
        out: a .png, .svg or .pdf file for accuracy against class size; with several settings their ids are added.

    Raises:
        UserError: no such records or rows, or another kind of file.
    """
    kind = picture_format(out) if out else ""
    records, problems = read_records(sources.results, datasets)
    scores, bad = read_scores(records, sources.runs)
    found = pairs(records, a, b, options)
    parts: list[RenderableType] = []
    paths = []
    for setting in found:
        table = comparison(setting, Evidence(scores))
        parts += [f"[bold]{escape(table.title)}[/bold]", Plain(table)]
        parts += [f"[dim]{escape(note)}[/dim]" for note in (*warnings(setting), *table.notes)] + [""]
        if out:
            paths.append(out if len(found) == 1 else out.with_stem(f"{out.stem}-{setting.id}"))
            write_atomically(paths[-1], save(class_sizes(setting), kind))
    return Group(*parts[:-1]), problems + bad, paths


def find_row(setting: Setting, name: str) -> Row | None:
    """The row with a label; else the only row of a method."""
    for row in setting.rows:
        if row.label == name:
            return row
    of_method = [row for row in setting.rows if row.runs[0].method == name]
    return of_method[0] if len(of_method) == 1 else None


def pairs(records: Iterable[Record], a: str, b: str, options: Options) -> list[Setting]:
    """The settings that have both rows, reduced to them; `b` is the baseline.

    Raises:
        UserError: a name that no setting has, or two that no setting shares.
    """
    found = settings(records, options)
    known = {row.label for setting in found for row in setting.rows}
    for name in (a, b):
        if not any(find_row(setting, name) for setting in found):
            raise unknown("row (method with what was changed)", name, known)
    both = [(s, find_row(s, a), find_row(s, b)) for s in found]
    made = [_pair(s, x, y) for s, x, y in both if x and y and x is not y]
    if not made:
        places = {name: [s.title for s in found if find_row(s, name)] for name in (a, b)}
        each = "; ".join(f"{name} on {' and '.join(titles)}" for name, titles in places.items())
        raise UserError(f"No setting has both rows: {each}. Only runs on the same images and recipe can be compared.")
    return made


def _pair(setting: Setting, a: Row, b: Row) -> Setting:
    return replace(setting, rows=(a, b), options=replace(setting.options, baseline=b.label))


def comparison(setting: Setting, evidence: Evidence) -> Table:
    """Overall and each group of the two rows of a setting, their difference, and what may be said of it."""
    a, b = setting.rows
    lines = []
    for name, classes in [("overall", None), *((g.name, g.classes) for g in setting.groups if g.classes)]:
        found = difference(a, b, classes)
        of_a, of_b = ((row.groups[name] if classes else row.overall) for row in (a, b))
        lines.append(
            {
                "classes": f"{name} ({len(classes or setting.dataset.train_counts)})",
                f"{a.label} (%)": cell(of_a),
                f"{b.label} (%)": cell(of_b),
                "difference": in_points(found),
                "p": NONE if found is None or found.p is None else f"{found.p:.3f}",
                "verdict": verdict(found),
            }
        )
    return Table("compare", setting.title, pd.DataFrame(lines), _notes(setting, evidence), ("p",))


def _notes(setting: Setting, evidence: Evidence) -> list[str]:
    a, b = setting.rows
    runs = paired_runs(a, b)
    seeds = [run.seed for run, _ in runs]
    few = f" Fewer than {FEWEST} pairs separate nothing." if len(seeds) < FEWEST else ""
    least = f"; with {len(seeds)} pairs it cannot be below {2 / 2 ** len(seeds):.2g}" if len(seeds) > 1 else ""
    found = [
        f"Difference: {a.label} minus {b.label} in percentage points, over {len(seeds)} shared seed(s) "
        f"({', '.join(map(str, seeds)) or NONE}), with its {LEVEL:.0%} interval (Student's t). p: permutation test "
        f"that changes signs{least}.{few} The spread is that of training seeds, not of other test images; groups are "
        "not corrected for their number."
    ]
    one, other = (set(_facts(row).items()) for row in (a, b))
    if one != other:
        found.append(f"{a.label}: {_words(one - other)}. {b.label}: {_words(other - one)}.")
    spent = [costs(row).total for row in (a, b)]
    timed = "" if comparable(setting) else ", timed on different devices or numbers of threads"
    found.append(f"A run with what it builds on: {duration(spent[0])} against {duration(spent[1])}{timed}.")
    if runs:
        wins = np.mean([(class_accuracies(x) > class_accuracies(y)).sum() for x, y in runs])
        found.append(f"{a.label} is ahead in {wins:.1f} of {len(setting.dataset.train_counts)} classes (mean).")
    adjusted = {made.row.label: made for made in corrections(setting, evidence.scores)}
    if {a.label, b.label} <= set(adjusted):
        x, y = adjusted[a.label], adjusted[b.label]
        found.append(
            f"With logits adjusted by tau = 1: {a.label} {cell(x.adjusted)}, {b.label} {cell(y.adjusted)}; {a.label} "
            f"as trained minus adjusted {b.label}: {in_points(x.against)}, {verdict(x.against)}."
        )
    return found


def _facts(row: Row) -> dict[str, str]:
    run = row.runs[0]
    return {key: changes({key: value}) for key, value in run.hyperparameters.items()} | {
        "epochs": f"{run.final.epoch + 1} epochs"
    }


def _words(facts: set[tuple[str, str]]) -> str:
    return ", ".join(text for _, text in sorted(facts)) or "no further hyper-parameters"
