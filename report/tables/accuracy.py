"""The leaderboard: accuracy of every row, overall and per group of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..groups import Group
from ..notes import missing_groups, notes, warnings
from ..origins import distinct
from ..sources import Evidence
from ..statistics import Row, Setting
from ..text import percent
from ..variants import main_rows
from .table import WORDS, Column, Table


def accuracy(setting: Setting, evidence: Evidence) -> Table:
    """Leaderboard of a setting: the main row of every method with its family, accuracies, and number of seeds.

    Rows keep the order of the setting, by accuracy. There is no column of families if all rows have the same one.
    """
    rows = main_rows(setting).rows
    named = len({row.family for row in rows}) > 1
    lines = [
        {"method": row.label}
        | ({"family": row.family} if named else {})
        | accuracies(row, setting.groups)
        | {"seeds": str(len(row.runs))}
        for row in rows
    ]
    rules = [grouping.rule for grouping in setting.groupings]
    elsewhere = ["Variants of a method have a table of their own."] * (len(rows) < len(setting.rows))
    return Table(
        "accuracy",
        "Accuracy",
        lines,
        [*notes(setting), *elsewhere],
        brief=[*warnings(setting), *missing_groups(setting), *rules, *elsewhere],
        numbers={row.label: _circumstances(setting, row) | _unrounded(setting, row) for row in setting.rows},
        columns={"method": Column("words", "method\nclasses"), "family": WORDS} | layout(setting),
        spare=("family",),
        apart=setting.apart,
    )


def accuracies(row: Row, groups: Sequence[Group]) -> dict[str, str]:
    """Cells of a row: accuracy overall and of each group."""
    return {"overall": percent(row.overall)} | {_heading(group): percent(row.groups[group.name]) for group in groups}


def layout(setting: Setting) -> dict[str, Column]:
    """Layout of the columns of accuracies and seeds."""
    columns = {"overall": Column(short=f"overall\n{len(setting.dataset.train_counts)}"), "seeds": Column(short="n")}
    for part, grouping in enumerate(setting.groupings):
        for group in grouping.groups:
            columns[_heading(group)] = Column(short=f"{group.name}\n{len(group.classes)}", part=part)
    return columns


def _heading(group: Group) -> str:
    return f"{group.name} ({len(group.classes)})"


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
        "track": setting.track,
        "recipe": setting.recipe["name"],
        "backbone": setting.recipe.get("backbone"),
        "epochs": runs[0].final.epoch + 1,
        "method": row.method,
        "label": row.label,
        "family": row.family,
        "seeds": " ".join(str(run.seed) for run in runs),
        "n": len(runs),
        "apart": row.apart or None,
        "commits": " ".join(distinct(runs, "commit")),
        "records": " ".join(run.id for run in runs),
    }


def _unrounded(setting: Setting, row: Row) -> dict[str, Any]:
    """Mean and std, overall and of every group, shown or not; numbers of classes of groups; rules of the groupings."""
    numbers: dict[str, Any] = {}
    for name, spread in {"overall": row.overall, **row.groups}.items():
        numbers[name], numbers[f"{name}_sd"] = (spread.mean, spread.sd) if spread else (None, None)
    for grouping in setting.all_groupings.values():
        for group in grouping.groups:
            numbers[f"{group.name}_classes"] = len(group.classes)
    rules = {f"{name}_rule": grouping.rule for name, grouping in setting.all_groupings.items()}
    return numbers | rules
