"""The leaderboard: accuracy of every row, overall and per group of classes."""

from __future__ import annotations

from typing import Any

from ..notes import missing_groups, notes, warnings
from ..origins import distinct
from ..sources import Evidence
from ..statistics import Row, Setting
from ..text import percent
from .table import Column, Table


def accuracy(setting: Setting, evidence: Evidence) -> Table:
    """Leaderboard of a setting: overall accuracy, accuracy of each group, and number of seeds."""
    headings = {group.name: f"{group.name} ({len(group.classes)})" for group in setting.groups}
    lines = [
        {
            "method": row.label,
            "overall": percent(row.overall),
            **{heading: percent(row.groups[name]) for name, heading in headings.items()},
            "seeds": str(len(row.runs)),
        }
        for row in setting.rows
    ]
    columns = {
        "method": Column("words", "method\nclasses"),
        "overall": Column(short=f"overall\n{len(setting.dataset.train_counts)}"),
        "seeds": Column(short="n"),
    }
    for part, grouping in enumerate(setting.groupings):
        for group in grouping.groups:
            columns[headings[group.name]] = Column(short=f"{group.name}\n{len(group.classes)}", part=part)
    rules = [grouping.rule for grouping in setting.groupings]
    return Table(
        "accuracy",
        "Accuracy",
        lines,
        notes(setting),
        brief=[*warnings(setting), *missing_groups(setting), *rules],
        numbers={row.label: _circumstances(setting, row) | _accuracies(setting, row) for row in setting.rows},
        columns=columns,
        apart=setting.apart,
    )


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
        "apart": row.apart or None,
        "commits": " ".join(distinct(runs, "commit")),
        "records": " ".join(run.id for run in runs),
    }


def _accuracies(setting: Setting, row: Row) -> dict[str, Any]:
    """Mean and std, overall and of every group, shown or not; class counts of the groups; rules of the groupings."""
    numbers: dict[str, Any] = {}
    for name, spread in {"overall": row.overall, **row.groups}.items():
        numbers[name], numbers[f"{name}_sd"] = (spread.mean, spread.sd) if spread else (None, None)
    for grouping in setting.all_groupings.values():
        for group in grouping.groups:
            numbers[f"{group.name}_classes"] = len(group.classes)
    rules = {f"{name}_rule": grouping.rule for name, grouping in setting.all_groupings.items()}
    return numbers | rules
