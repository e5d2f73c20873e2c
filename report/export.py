"""leaderboard.csv: every row of every setting on one line, numbers unrounded, for other programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from .costs import costs, optimism
from .logits import corrections
from .paired_tests import difference
from .statistics import Row, Setting
from .tables import Evidence


def csv(found: Iterable[Setting], evidence: Evidence) -> str:
    """The text of the file: accuracies and differences are fractions in [0, 1], times seconds, memory bytes.

    Columns of a group are empty where the dataset has no such class, those of the logits where a row has none.
    """
    lines = []
    for setting in found:
        adjusted = {made.row.label: made for made in corrections(setting, evidence.scores)}
        for row in setting.rows:
            line = _circumstances(setting, row) | _accuracies(setting, row) | _difference(setting, row)
            line |= {"best_minus_last": optimism(row)} | vars(costs(row))
            made = adjusted.get(row.label)
            line |= {
                "adjusted": made.adjusted.mean if made else None,
                "ece": made.ece.mean if made else None,
            }
            lines.append(line)
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def _circumstances(setting: Setting, row: Row) -> dict[str, Any]:
    data, runs = setting.dataset, row.runs
    return {
        "setting": setting.id,
        "title": setting.title,
        "dataset": data.name,
        "profile": data.profile,
        "imbalance": data.imbalance,
        "checksum": data.checksum,
        "verified": data.verified,
        "recipe": setting.recipe["name"],
        "backbone": setting.recipe.get("backbone"),
        "epochs": runs[0].final.epoch + 1,
        "method": runs[0].method,
        "label": row.label,
        "seeds": " ".join(str(run.seed) for run in runs),
        "n": len(runs),
        "commits": " ".join(sorted({run.environment.commit or "unknown" for run in runs})),
        "records": " ".join(run.id for run in runs),
    }


def _accuracies(setting: Setting, row: Row) -> dict[str, Any]:
    spreads = {"overall": row.overall, **row.groups}
    line: dict[str, Any] = {}
    for name, value in spreads.items():
        line[name], line[f"{name}_sd"] = (value.mean, value.sd) if value else (None, None)
    for group in setting.shots.groups + setting.parts.groups:
        line[f"{group.name}_classes"] = len(group.classes)
    return line


def _difference(setting: Setting, row: Row) -> dict[str, Any]:
    base = setting.baseline
    found = difference(row, base) if base and row is not base else None
    return {
        "baseline": setting.options.baseline if base else None,
        "difference": found.mean if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "p": found.p if found else None,
        "pairs": found.n if found else None,
        "verdict": found.verdict if found else None,
    }
