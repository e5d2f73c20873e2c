"""Shared fixtures: small datasets made from digits, finished runs, and the command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from ltbench import bench
from ltbench.benchmarks.plan import make_plan
from ltbench.benchmarks.record import Record
from ltbench.benchmarks.run import Run, execute

torch.set_num_threads(1)  # two test processes share two cores


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Answer]:
    """`cli("run", "--method", "erm", ...)` in a fresh folder: exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        code = 0
        try:
            bench.main()
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 0 if leave.code is None else 1
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return call


def tiny_run(method: str = "erm", seed: int = 0, settings: tuple[str, ...] = (), epochs: int = 3) -> Run:
    """A run of seconds: a few digits, a few epochs, evaluated after each."""
    always = ("dataset.n_max=30", "recipe.evaluate_every=1")
    plan = make_plan(
        [method], ["digits-lt"], seeds=str(seed), imbalance="5", epochs=str(epochs), settings=(*always, *settings)
    )
    return plan[0]


def carry_out(run: Run, runs: Path) -> Record:
    return execute(run, torch.device("cpu"), runs)


def without_timings(record: Record) -> dict[str, object]:
    """Everything but `cost`, the only part that may differ between two runs of one id."""
    return record.model_dump(exclude={"cost"})
