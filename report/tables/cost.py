"""Difference of each row from the baseline, paired by seed, and cost of training the row."""

from __future__ import annotations

from typing import Any

from ...benchmarks.utils.formatting import duration
from ..costs import Costs, comparable, costs, optimism
from ..paired_tests import FEWEST, Paired, difference, verdict
from ..sources import Evidence
from ..statistics import INACTIVE, Row, Setting
from ..text import NONE, in_points, signed, size
from ..variants import main_rows
from .table import WORDS, Table

_BEST = "best − last epoch"


def cost(setting: Setting, evidence: Evidence) -> Table:
    """Table of the main rows: difference from the baseline (if it has records), times, memory and parameters."""
    base, name = setting.baseline, setting.options.baseline
    lines, numbers = {}, {}
    for row in setting.rows:
        gap = difference(row, base) if base and row is not base else None
        gain, spent = optimism(row), costs(row)
        lines[row.label] = (
            {"method": row.label}
            | (_against(gap, row, setting) if base else {})
            | ({_BEST: signed(gain)} if setting.options.optimism else {})
            | _spent(spent)
        )
        numbers[row.label] = _unrounded(gap, row, setting) | {"best_minus_last": gain} | vars(spent)
    return Table(
        "cost",
        f"Difference from {name}, and cost" if base else "Cost",
        [lines[row.label] for row in main_rows(setting).rows],
        _notes(setting),
        numbers=numbers,
        columns={"verdict": WORDS},
        spare=("parameters", "memory", "shared", "epoch", _BEST),
        apart=setting.apart,
    )


def _against(gap: Paired | None, row: Row, setting: Setting) -> dict[str, str]:
    name = setting.options.baseline
    if row is setting.baseline:
        return {f"minus {name}": NONE, "verdict": "the baseline", "pairs": NONE}
    return {
        f"minus {name}": in_points(gap),
        "verdict": row.apart if row.apart == INACTIVE else verdict(gap),
        "pairs": str(gap.n) if gap else "0",
    }


def _spent(spent: Costs) -> dict[str, str]:
    return {
        "epoch": duration(spent.epoch),
        "run": duration(spent.total),
        "shared": duration(spent.borrowed) if spent.borrowed else NONE,
        "memory": f"{size(spent.memory)}B",
        "parameters": size(spent.parameters),
    }


def _unrounded(gap: Paired | None, row: Row, setting: Setting) -> dict[str, Any]:
    base = setting.baseline
    return {
        "baseline": setting.options.baseline if base else None,
        "difference": gap.mean if gap else None,
        "low": gap.low if gap else None,
        "high": gap.high if gap else None,
        "p": gap.p if gap else None,
        "pairs": gap.n if gap else 0 if base and row is not base else None,
        "verdict": _against(gap, row, setting)["verdict"] if base and row is not base else None,
    }


def _notes(setting: Setting) -> list[str]:
    name, notes = setting.options.baseline, []
    if setting.baseline is None:
        notes.append(f"No differences: {name} has no records in this setting.")
    else:
        notes.append(
            f"Minus {name}: overall accuracy minus that of {name} in percentage points, mean over the seeds that both "
            "have; in brackets its 95 % interval (Student's t over the pairs of seeds). Not separable: the interval "
            f"covers zero, or there are fewer than {FEWEST} pairs. One seed: a single pair has no interval and "
            "allows no verdict. The intervals reflect the variation over training seeds, not over test images, and are "
            "not corrected for the number of rows."
        )
    if setting.options.optimism:
        notes.append(
            "Best − last epoch: gain from choosing the best evaluated epoch on the test split, in percentage points; "
            "no other number here uses that epoch."
        )
        if any(run.version == 2 and len(set(run.dataset.test_counts)) > 1 for run in setting.runs):
            notes.append("Records of schema 2 chose that epoch by plain accuracy: the difference can be negative.")
    timed = (
        ""
        if comparable(setting)
        else " They were measured on different devices or with different numbers of threads and must not be compared."
    )
    notes.append(
        "Epoch: training time of one epoch. Run: time of one run and the training that it builds on, with evaluation. "
        f"Shared: the part of that time that other runs use as well. Times are means over seeds.{timed} Memory: "
        "highest peak over seeds."
    )
    return notes
