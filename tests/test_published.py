"""results/published.toml: every number has a source and a setting."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import ltbench.bench
import pytest

TABLES = tomllib.loads((Path(ltbench.bench.__file__).parent / "results" / "published.toml").read_text())["table"]
TEXTS = ("source", "where", "backbone", "augmentation", "metric", "selection")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: f"{table['source']} {table['where']}")
def test_table_is_whole(table: dict[str, object]) -> None:
    assert set(table) - {"note"} == {*TEXTS, "epochs", "columns", "rows"}
    assert all(isinstance(table[key], str) and str(table[key]).strip() for key in TEXTS)
    assert table["metric"] in ("error", "accuracy")
    columns, rows = table["columns"], table["rows"]
    assert isinstance(columns, list)
    assert isinstance(rows, dict)
    assert all(re.fullmatch(r"cifar100?-lt (exp|step)\d+", column) for column in columns)
    assert len(set(columns)) == len(columns)
    for name, values in rows.items():
        assert len(values) == len(columns), name
        assert all(0 < value < 100 for value in values), name


def test_the_same_number_in_two_tables_is_the_same() -> None:
    """LDAM's own numbers at ratio 100 are those that RSG quotes, but for two that the sources print differently."""
    rsg, ldam = TABLES[0], TABLES[1]
    different = []
    for column in ("cifar10-lt exp100", "cifar10-lt step100", "cifar100-lt exp100", "cifar100-lt step100"):
        a, b = rsg["columns"].index(column), ldam["columns"].index(column)
        shared = set(rsg["rows"]) & set(ldam["rows"])
        different += [(column, name) for name in shared if rsg["rows"][name][a] != ldam["rows"][name][b]]
    assert sorted(different) == [("cifar100-lt step100", "erm"), ("cifar100-lt step100", "focal")]
