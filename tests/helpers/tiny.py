"""Specifications of runs on a few digits, which take seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from ltbench.benchmarks.cli.run import run as run_command
from ltbench.benchmarks.method import Needs
from ltbench.benchmarks.records.schema import Record
from ltbench.benchmarks.training.plan import RunRequest, make_plan
from ltbench.benchmarks.training.run_spec import RunSpec
from ltbench.benchmarks.training.trainer import execute

SHORT = (
    "crt",
    "lws",
    "mislas",
    "weight-balancing",
)  # their second stages have a fixed length, by default 10 or 30 epochs


def tiny_run(
    method: str = "erm",
    seed: int = 0,
    settings: tuple[str, ...] = (),
    epochs: int = 3,
    n_max: int = 30,
    evaluate_every: int = 1,
) -> RunSpec:
    """Specification of a run on a few digits for a few epochs, evaluated after each epoch unless stated otherwise."""
    always = (f"dataset.n_max={n_max}", f"recipe.evaluate_every={evaluate_every}")
    if method in SHORT and not any("second=" in setting for setting in settings):
        settings = (*settings, "second=3")
    request = RunRequest(seeds=str(seed), imbalance="5", epochs=str(epochs), settings=(*always, *settings))
    return make_plan([method], ["digits-lt"], request)[0]


def on_its_own(spec: RunSpec) -> RunSpec:
    """Copy of a specification whose run trains its first epochs with its own hooks instead of sharing them."""
    kind = type(spec.method)

    class Alone(kind):  # type: ignore[misc,valid-type]
        def needs(self, epochs: int) -> Needs:
            return dataclasses.replace(super().needs(epochs), prefix=0)

    values = {field.name: getattr(spec.method, field.name) for field in dataclasses.fields(kind)}
    return dataclasses.replace(spec, method=Alone(**values))


def carry_out(spec: RunSpec, runs: Path) -> Record:
    return execute(spec, torch.device("cpu"), runs)


def without_timings(record: Record) -> dict[str, object]:
    """Contents of a record except `cost`, the only part that differs if a run is repeated in the same environment."""
    return record.model_dump(exclude={"cost"})


def planned(words: Sequence[str]) -> str:
    """Id of the run that a command, given as words `run --method ...`, would execute."""
    values = run_command.make_context("run", list(words[1:])).params
    for name in ("device", "results", "runs", "quiet"):
        del values[name]
    values["seeds"] = ",".join(values["seeds"])
    (spec,) = make_plan(values.pop("methods"), values.pop("datasets"), RunRequest(**values))
    return spec.id
