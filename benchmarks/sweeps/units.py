"""Units of work: the runs of a suite, each with the command that carries it out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ..records.suites import Suite
from ..registry import names
from ..training.plan import RunRequest, make_plan
from ..training.run_spec import RunSpec
from ..training.shared_start import shared_trainings
from ..utils.formatting import exact


@dataclass(frozen=True)
class Unit:
    """One unit of work: a run, and the command that carries it out.

    Attributes:
        id: of the run and its record.
        method: its name.
        dataset: its name.
        recipe: its name.
        label: of dataset, method and seed, for people.
        record: path of the record below the results folder.
        arguments: of `bench`; results, runs and device are left to the engine.
        erm: id of the ERM run that it shares epochs with; None where it shares none.
        prefix: epochs that must have been trained there before it begins.
        shared: those of its own epochs that are among them.
        epochs: of all stages.
        images: training images.
    """

    id: str
    method: str
    dataset: str
    recipe: str
    label: str
    record: Path
    arguments: tuple[str, ...]
    erm: str | None
    prefix: int
    shared: int
    epochs: int
    images: int


def make_units(suite: Suite, data_root: str | None = None, allow_unverified: bool = False) -> list[Unit]:
    """All units of a suite, each run once, in the order of the file. Everything is checked before the first runs.

    Raises:
        UserError: an unknown name, a value out of range, or data that are missing or damaged.
    """
    root = str(Path(data_root).resolve()) if data_root else None  # a run may have another working directory
    given: dict[str, Any] = {"data_root": root, "allow_unverified": allow_unverified}
    units: dict[str, Unit] = {}
    for block in suite.runs:
        methods = names("methods") if block.methods == ["*"] else block.methods
        for ratio, profile in product(block.imbalance or (None,), block.profile or (None,)):
            values: dict[str, Any] = {
                "imbalance": None if ratio is None else exact(ratio), "profile": profile, "recipe": block.recipe,
                "epochs": None if block.epochs is None else str(block.epochs), "augment": block.augment,
            }  # fmt: skip
            for dataset in block.datasets:
                request = RunRequest(seeds=block.seeds, settings=block.set, **values, **given)
                plan = make_plan(methods, [dataset], request)
                for run in plan:
                    units.setdefault(run.id, _unit(run, dataset, methods, block.set, values | given))
    return list(units.values())


def _unit(run: RunSpec, dataset: str, methods: Sequence[str], settings: Sequence[str], values: dict[str, Any]) -> Unit:
    method = next((name for name in methods if name.endswith(".py") and _stem(name) == run.name), run.name)
    words = ["run", "--method", method, "--dataset", dataset, "--seed", str(run.seed)]
    for name, value in values.items():
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value not in (None, False):
            words += [f"--{name.replace('_', '-')}", str(value)]
    for text in _settings(run.name, settings, methods):
        words += ["--set", text]
    needs = run.method.needs(run.recipe.epochs)
    shared = [run.id] if run.name == "erm" else [training.spec.id for training in shared_trainings(run)]
    data, changes = run.facts.dataset, ", ".join(f"{k}={v}" for k, v in sorted(run.changed.items()))
    return Unit(
        id=run.id,
        method=run.name,
        dataset=data.name,
        recipe=run.recipe.name,
        label=f"{data.label} {run.recipe.name} | {run.name}{f' ({changes})' if changes else ''} | seed {run.seed}",
        record=run.path(Path()),
        arguments=tuple(words),
        erm=shared[0] if shared else None,
        prefix=run.recipe.epochs if needs.network else needs.prefix,
        shared=needs.prefix,
        epochs=sum(stage.epochs for stage in run.method.stages(run.recipe.epochs)),
        images=len(run.dataset.train),
    )


def _stem(path: str) -> str:
    return Path(path).stem.replace("_", "-")


def _settings(method: str, texts: Sequence[str], methods: Iterable[str]) -> list[str]:
    """Those NAME=VALUE texts that count for a method."""
    others = {_stem(name) for name in methods} - {method}
    return [text for text in texts if text.partition("=")[0].rpartition(".")[0] not in others]
