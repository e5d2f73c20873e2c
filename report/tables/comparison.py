"""Comparison of two rows of a setting, overall and in every group of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...benchmarks.utils.formatting import counted, duration
from ..costs import comparable, costs
from ..logits import corrections
from ..notes import warnings
from ..paired_tests import FEWEST, LEVEL, difference, paired_runs, verdict
from ..sources import Evidence
from ..statistics import Row, Setting, changes, class_accuracies
from ..text import NONE, in_points, percent
from .table import WORDS, Table


def comparison(setting: Setting, evidence: Evidence) -> Table:
    """Table for a setting with two rows, overall and per group: both accuracies, their difference and the verdict."""
    groups = [(group.name, group.classes) for group in setting.groups if group.classes]
    notes = [*warnings(setting), *_notes(setting, evidence)]
    return Table(
        "compare",
        setting.title,
        [_line(setting, "overall", None), *(_line(setting, name, classes) for name, classes in groups)],
        notes,
        notes,
        columns={"verdict": WORDS},
        spare=("p",),
    )


def _line(setting: Setting, name: str, classes: Sequence[int] | None) -> dict[str, str]:
    a, b = setting.rows
    gap = difference(a, b, classes)
    of_a, of_b = ((row.groups[name] if classes else row.overall) for row in (a, b))
    return {
        "classes": f"{name} ({len(classes or setting.dataset.train_counts)})",
        f"{a.label} (%)": percent(of_a),
        f"{b.label} (%)": percent(of_b),
        "difference": in_points(gap),
        "pairs": str(gap.n) if gap else "0",
        "p": NONE if gap is None or gap.p is None else f"{gap.p:.3f}",
        "verdict": verdict(gap),
    }


def _notes(setting: Setting, evidence: Evidence) -> list[str]:
    a, b = setting.rows
    return [
        _how(a, b),
        *_hyperparameters(a, b),
        _times(setting),
        *_classes_ahead(a, b),
        *_after_adjustment(setting, evidence),
    ]


def _how(a: Row, b: Row) -> str:
    seeds = [run.seed for run, _ in paired_runs(a, b)]
    few = f" With fewer than {FEWEST} pairs nothing is separable." if 1 < len(seeds) < FEWEST else ""
    few = few or " One seed allows no verdict." * (len(seeds) == 1)
    least = f"; with {len(seeds)} pairs it cannot be below {2 / 2 ** len(seeds):.2g}" if len(seeds) > 1 else ""
    return (
        f"Difference: {a.label} minus {b.label} in percentage points, over {counted(len(seeds), 'shared seed')} "
        f"({', '.join(map(str, seeds)) or NONE}), with its {LEVEL:.0%} interval (Student's t). p: permutation test "
        f"of the signs{least}.{few} The intervals reflect the variation over training seeds, not over test images, and "
        "are not corrected for the number of groups."
    )


def _hyperparameters(a: Row, b: Row) -> list[str]:
    """List with the hyper-parameters and epochs in which the rows differ, as one note; empty if they are equal."""
    of_a, of_b = (set(_facts(row).items()) for row in (a, b))
    return [f"{a.label}: {_words(of_a - of_b)}. {b.label}: {_words(of_b - of_a)}."] * (of_a != of_b)


def _facts(row: Row) -> dict[str, str]:
    run = row.runs[0]
    return {key: changes({key: value}) for key, value in run.hyperparameters.items()} | {
        "epochs": counted(run.final.epoch + 1, "epoch")
    }


def _words(facts: set[tuple[str, str]]) -> str:
    return ", ".join(text for _, text in sorted(facts)) or "no further hyper-parameters"


def _times(setting: Setting) -> str:
    a, b = (duration(costs(row).total) for row in setting.rows)
    timed = "" if comparable(setting) else ", timed on different devices or numbers of threads"
    return f"Time of a run with the training that it builds on: {a} against {b}{timed}."


def _classes_ahead(a: Row, b: Row) -> list[str]:
    ahead = [class_accuracies(x) > class_accuracies(y) for x, y in paired_runs(a, b)]
    if not ahead:
        return []
    return [f"{a.label} is better in {np.sum(ahead) / len(ahead):.1f} of {len(ahead[0])} classes on average."]


def _after_adjustment(setting: Setting, evidence: Evidence) -> list[str]:
    a, b = setting.rows
    adjusted = {correction.row.label: correction for correction in corrections(setting, evidence.scores)}
    if not {a.label, b.label} <= set(adjusted):
        return []
    of_a, of_b = adjusted[a.label], adjusted[b.label]
    return [
        f"With logits adjusted by tau = 1: {a.label} {percent(of_a.adjusted)}, {b.label} {percent(of_b.adjusted)}; "
        f"{a.label} as trained minus adjusted {b.label}: {in_points(of_a.against)}, {verdict(of_a.against)} "
        f"({counted(of_a.against.n if of_a.against else 0, 'pair')})."
    ]
