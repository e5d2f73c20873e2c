"""Methods improve the accuracy of rare classes. These tests train for minutes; run them with `make slow`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ltbench.benchmarks.records.schema import Record
from ltbench.benchmarks.sweeps.runner import run_missing
from ltbench.benchmarks.training.callbacks import Callback
from ltbench.benchmarks.training.plan import RunRequest, make_plan


def records(methods: str, dataset: str, seeds: str, folder: Path) -> dict[str, list[Record]]:
    plan = make_plan(methods.split(","), [dataset], RunRequest(seeds=seeds))
    finished, _ = run_missing(plan, torch.device("cpu"), folder / "results", folder / "runs", Callback())
    return {name: [record for record in finished if record.method == name] for name in methods.split(",")}


def rarest(runs: list[Record], classes: int) -> float:
    """Accuracy of the `classes` rarest classes in percent, averaged over classes and runs."""
    return float(np.mean([np.array(r.final.correct[-classes:]) / r.dataset.test_counts[-classes:] for r in runs])) * 100


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", ["drw", "drs", "ldam-drw"])
def test_rebalancing_helps_the_rarest_third_of_waves_lt(method: str, tmp_path: Path) -> None:
    """Deferred rebalancing must gain more than 10 percentage points over ERM."""
    runs = records(f"erm,{method}", "waves-lt", "0", tmp_path)
    assert rarest(runs[method], 3) > rarest(runs["erm"], 3) + 10


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ldam_drw_beats_erm_on_the_rarest_fifth_of_the_digits(tmp_path: Path) -> None:
    """LDAM-DRW must gain more than 10 points over ERM on average over three seeds.

    The two rarest classes have three and two training images.
    """
    runs = records("erm,ldam-drw", "digits-lt", "0..2", tmp_path)
    assert rarest(runs["ldam-drw"], 2) > rarest(runs["erm"], 2) + 10
