"""Description of a record or of the records of a row: provenance, cost, and the command that reproduces them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..benchmarks.recipe import recipe_names
from ..benchmarks.records.parts import Environment
from ..benchmarks.records.schema import Record
from ..benchmarks.utils.formatting import counted, duration, exact
from .costs import borrowed_seconds, total_seconds
from .origins import commits, parts_in_words
from .statistics import Row, changes, mean_accuracy
from .text import NONE, size

_OF_ONE_RUN = ("record", "seed", "time", "interruptions", "builds on")  # facts that belong to a single run of a row


@dataclass(frozen=True)
class Detail:
    """Description of the records of a row.

    Attributes:
        method: name of the method.
        command: command that reproduces the records.
        facts: facts that the records share, as strings by name.
        runs: facts of each record, as strings by name.
    """

    method: str
    command: str
    facts: Mapping[str, str]
    runs: Sequence[Mapping[str, str]]


def command(record: Record, seeds: Sequence[int] = ()) -> str:
    """Command that reproduces a record, with its own seed unless `seeds` is given; PATH stands for unrecorded paths."""
    data = record.dataset
    method = f"PATH/{record.method.replace('-', '_')}.py" if record.source else record.method
    words = [
        "bench",
        "run",
        "--method",
        method,
        "--dataset",
        "folder:PATH" if data.name.startswith("folder-") else data.name,
    ]
    if data.profile != "natural":
        words += ["--imbalance", exact(data.imbalance), "--profile", data.profile]
    recipe = str(record.recipe["name"])
    words += ["--recipe", recipe if recipe in recipe_names() else f"PATH/{recipe}.toml"]
    scope = {f"dataset.{key}": value for key, value in data.changed.items()} | record.changed
    for key, value in sorted(scope.items()):
        words += ["--set", f"{key}={_value(value)}"]
    words += ["--seed", ",".join(map(str, seeds or [record.seed]))] + ["--allow-unverified"] * (data.verified is False)
    return shlex.join(words)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def circumstances(record: Record) -> dict[str, str]:
    """Facts about a record, as strings by name: everything that its numbers depend on, and its cost."""
    data, environment, cost = record.dataset, record.environment, record.cost
    verified = {True: "yes", False: "no", None: "no checksum is published"}[data.verified]
    stages = ", ".join(f"{name} {epochs}" for name, epochs in cost.epochs_per_stage.items())
    device = f"{environment.device}, {counted(environment.threads, 'thread')}"
    commit = f"{environment.commit or 'unknown'}{' with uncommitted changes' if environment.dirty else ''}"
    facts = {
        "record": record.id,
        "dataset": f"{data.label}; {sum(data.train_counts):,} training and {sum(data.test_counts):,} test images",
        "data checksum": f"{data.checksum} (files verified: {verified})",
        "hyper-parameters": changes(record.hyperparameters) or NONE,
        "changed": changes(record.changed) or NONE,
        "recipe": changes(record.recipe),
        "seed": str(record.seed),
        "epochs": f"{record.final.epoch + 1} ({stages}); the result is that of the last epoch",
        "time": f"{duration(cost.seconds)}; {duration(total_seconds(record))} with the training that it builds on",
        "speed": f"{cost.images_per_second:,.0f} training images per second; {device}",
        "peak memory": f"{size(cost.peak_memory_bytes)}B",
        "parameters": f"{cost.parameters:,}",
        "interruptions": str(cost.resumed),
        "code": f"ltbench {environment.ltbench}, commit {commit}",
        "versions": _versions(environment),
    }
    if parts := parts_in_words(record):
        facts["parts"] = parts
    if borrowed_seconds(record):
        facts["builds on"] = "; ".join(
            f"{part.use} of {part.method} run {part.id}, {counted(part.epochs, 'epoch')}, {duration(part.seconds)}, "
            f"{'reused' if part.reused else 'trained for this run'}, commit {(part.commit or 'unknown')[:8]}"
            for part in cost.prerequisites
        )
    return facts


def _versions(environment: Environment) -> str:
    versions = {name: getattr(environment, name) for name in ("torch", "torchvision", "timm", "numpy")}
    texts = [f"{name} {version}" for name, version in {"Python": environment.python, **versions}.items() if version]
    return ", ".join([*texts, environment.platform, *([environment.cpu] if environment.cpu else [])])


def detail(row: Row) -> Detail:
    """Description of a row from its records."""
    first, *others = ({k: v for k, v in circumstances(run).items() if k not in _OF_ONE_RUN} for run in row.runs)
    facts = {name: text for name, text in first.items() if all(other.get(name) == text for other in others)}
    facts |= {name: "differs between seeds; see the records" for name in first if name not in facts}
    command_of_all = command(row.runs[0], [run.seed for run in row.runs])
    return Detail(row.runs[0].method, command_of_all, facts, [_run(run) for run in row.runs])


def _run(run: Record) -> dict[str, str]:
    best = np.mean(np.array(run.best.correct) / np.array(run.dataset.test_counts))
    return {
        "seed": str(run.seed),
        "accuracy": f"{100 * mean_accuracy(run):.2f}",
        "best epoch on test": f"{100 * best:.2f} ({run.best.epoch + 1})",
        "time": duration(run.cost.seconds),
        "interruptions": str(run.cost.resumed),
        "commit": commits(run),
        "record": run.id,
    }
