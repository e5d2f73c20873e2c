"""Comparison of two values of a recipe field, all else equal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.command import Answer
from helpers.report_records import RECIPE, dataset, record
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.records.schema import Record
from ltbench.report.compare_recipe import compare_across

DATA = dataset([200, 50, 10])
FP32, BF16, AUTO = (RECIPE | {"precision": name} for name in ("fp32", "bf16", "auto"))


def run_with(
    recipe: dict[str, object], correct: int, seed: int = 0, method: str = "erm", fast: bool | None = None
) -> Record:
    plain = record(DATA, [correct] * 3, method, seed, recipe=recipe)
    return plain.model_copy(update={"environment": plain.environment.model_copy(update={"bf16": fast})})


def test_pairs_share_all_but_the_field_and_the_last_line_pools() -> None:
    records = [run_with(FP32, 50 + seed, seed) for seed in range(3)] + [
        run_with(BF16, 51 + seed, seed) for seed in range(3)
    ]
    records += [
        run_with(FP32, 70, 0, "ldam-drw"),
        run_with(BF16, 66, 0, "ldam-drw"),
        run_with(FP32, 10, 7),
        run_with(BF16, 10, 8, "drs"),
    ]
    table = compare_across("precision", "bf16", "fp32", records).frame
    assert list(table["method"]) == ["erm", "ldam-drw", "all"]
    assert list(table["seeds"]) == ["3", "1", "3"], "the last line counts seeds, since methods may share epochs"
    assert list(table["difference"])[:2] == ["+1.0 [+1.0, +1.0]", "−4.0"]
    assert table["difference"].iloc[2].startswith("+0.2 ["), "mean of -1.5, 1 and 1"
    assert list(table["verdict"]) == ["better", "one seed", "not separable"]


def test_numbers_are_the_same_however_they_are_written() -> None:
    slow, fast = FP32 | {"lr": 0.1}, FP32 | {"lr": 0.5}
    table = compare_across("lr", "0.50", "0.10", [run_with(slow, 50), run_with(fast, 60)]).frame
    assert list(table["difference"]) == ["+10.0", "+10.0"]


@pytest.mark.parametrize(
    ("field", "sentence"),
    [("precison", "precision"), ("epochs", "no two runs with the same seed that differ only in recipe.epochs")],
)
def test_what_cannot_be_compared_is_one_sentence(field: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        compare_across(field, "9", "3", [run_with(FP32, 50)])


def test_command(cli: Callable[..., Answer]) -> None:
    Path("results").mkdir()
    answer = cli("compare", "bf16", "fp32", "--across", "precision")
    assert answer.code == 2
    assert "Traceback" not in answer.err


def test_what_would_be_ignored_is_refused(cli: Callable[..., Answer]) -> None:
    assert cli("compare", "bf16", "fp32", "--across", "precision", "--out", "x.png").code == 2
    with pytest.raises(UserError, match="same value"):
        compare_across("precision", "bf16", "bf16", [run_with(FP32, 50)])
