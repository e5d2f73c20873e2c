"""Runs of seconds on a few digits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from ltbench.benchmarks.cli.run import run as run_command
from ltbench.benchmarks.records.schema import Record
from ltbench.benchmarks.training.plan import make_plan
from ltbench.benchmarks.training.trainer import RunSpec, execute


def tiny_run(method: str = "erm", seed: int = 0, settings: tuple[str, ...] = (), epochs: int = 3) -> RunSpec:
    """A run of seconds: a few digits, a few epochs, evaluated after each."""
    always = ("dataset.n_max=30", "recipe.evaluate_every=1")
    plan = make_plan(
        [method], ["digits-lt"], seeds=str(seed), imbalance="5", epochs=str(epochs), settings=(*always, *settings)
    )
    return plan[0]


def on_its_own(run: RunSpec) -> RunSpec:
    """The run with its first epochs trained through its own hooks, even if ERM's would do."""
    needs = run.method.needs(run.recipe.epochs)
    object.__setattr__(run.method, "needs", lambda epochs: dataclasses.replace(needs, prefix=0))
    return run


def carry_out(run: RunSpec, runs: Path) -> Record:
    return execute(run, torch.device("cpu"), runs)


def without_timings(record: Record) -> dict[str, object]:
    """Everything but `cost`, the only part that may differ between two runs of one id."""
    return record.model_dump(exclude={"cost"})


def planned(words: Sequence[str]) -> str:
    """The id of the run that the words of a command, `run --method ...`, would carry out."""
    values = run_command.make_context("run", list(words[1:])).params
    for name in ("device", "results", "runs", "quiet"):
        del values[name]
    (run,) = make_plan(values.pop("methods").split(","), values.pop("datasets").split(","), **values)
    return run.id
