"""Cost of a row: seconds, memory and parameters, including the training that its runs build on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..benchmarks.records.schema import Record
from .origins import distinct
from .statistics import Row, Setting, mean_accuracy


@dataclass(frozen=True)
class Costs:
    """Cost of a row; times are means over its seeds, memory and parameters are maxima over its seeds.

    Attributes:
        epoch: training seconds per epoch, without evaluation.
        total: seconds of a run and of all training that it builds on, with evaluation.
        borrowed: part of `total` that was spent on training that other runs use as well.
        memory: peak memory in bytes, of the device on CUDA or of the process on a CPU.
        parameters: number of trainable parameters of the finished network.
    """

    epoch: float
    total: float
    borrowed: float
    memory: int
    parameters: int


def costs(row: Row) -> Costs:
    """Cost of a row from its records."""
    runs = row.runs
    return Costs(
        epoch=float(np.mean([run.cost.seconds_training / (run.final.epoch + 1) for run in runs])),
        total=float(np.mean([total_seconds(run) for run in runs])),
        borrowed=float(np.mean([borrowed_seconds(run) for run in runs])),
        memory=max(run.cost.peak_memory_bytes for run in runs),
        parameters=max(run.cost.parameters for run in runs),
    )


def total_seconds(run: Record) -> float:
    """Seconds of a run and of the training that it builds on, with shared epochs counted once."""
    own = sum(part.seconds for part in run.cost.prerequisites if part.use == "prefix")
    return run.cost.seconds - own + borrowed_seconds(run)


def borrowed_seconds(run: Record) -> float:
    """Seconds of the training runs that a run builds on, each counted once and up to the last epoch that is needed."""
    needed: dict[str, float] = {}
    for part in run.cost.prerequisites:
        needed[part.id] = max(needed.get(part.id, 0.0), part.seconds)
    return sum(needed.values())


def optimism(row: Row) -> float:
    """Accuracy of the best epoch on the test split minus that of the last epoch, as a fraction, mean over seeds."""
    tests = np.array(row.runs[0].dataset.test_counts)
    best = [float(np.mean(np.array(run.best.correct) / tests)) for run in row.runs]
    return float(np.mean(best) - np.mean([mean_accuracy(run) for run in row.runs]))


def comparable(setting: Setting) -> bool:
    """Whether all runs of a setting were timed on the same kind of device with the same number of threads."""
    return all(len(distinct(setting.runs, name)) == 1 for name in ("device", "threads"))
