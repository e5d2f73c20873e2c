"""Time estimates for units, from existing records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..records.schema import Record

if TYPE_CHECKING:
    from .units import Unit

Times = dict[tuple[str, ...], list[float]]


class Total(NamedTuple):
    """Estimated time of several units together.

    Attributes:
        work: total seconds of all units that have an estimate.
        shortest: lower bound of the seconds until the last of them ends.
        unknown: number of units without an estimate.
    """

    work: float
    shortest: float
    unknown: int


def seconds_per_image(records: Iterable[Record]) -> Times:
    """Seconds per training image and epoch, by (dataset, recipe, method) and by (dataset, recipe)."""
    times: Times = defaultdict(list)
    for record in records:
        work = sum(record.dataset.train_counts) * (record.final.epoch + 1)
        setting = (record.dataset.name, str(record.recipe["name"]))
        for key in ((*setting, record.method), setting):
            times[key].append(record.cost.seconds / work)
    return times


def estimate(unit: Unit, times: Times, shared_epochs: int = 0) -> float | None:
    """Estimated seconds of a unit; None if no record has its dataset and recipe.

    Args:
        unit: the unit.
        times: from `seconds_per_image`.
        shared_epochs: number of its epochs that need no training because another run trains them.
    """
    setting = (unit.dataset, unit.recipe)
    rates = times.get((*setting, unit.method)) or times.get(setting)
    if not rates:
        return None
    return sum(rates) / len(rates) * unit.images * max(unit.epochs - shared_epochs, 0)


def estimates(units: Sequence[Unit], times: Times, runs: Path) -> list[float | None]:
    """Estimated seconds of each unit if they run in this order.

    Epochs that another unit trains, or whose snapshot exists, take no time.

    Args:
        units: in the order in which they run.
        times: from `seconds_per_image`.
        runs: folder of the snapshots.
    """
    trained = {unit.id for unit in units}  # ids of runs whose epochs are trained by one of the units
    seconds = []
    for unit in units:
        ready = [s.epochs for s in unit.shared if s.own and (s.run_id in trained or s.exists(runs))]
        seconds.append(estimate(unit, times, max(ready, default=0)))
        trained |= {snapshot.run_id for snapshot in unit.shared}
    return seconds


def total(seconds: Sequence[float | None], jobs: int) -> Total:
    """Sum up the estimates of units of which `jobs` run in parallel."""
    estimated = [each for each in seconds if each is not None]
    work = sum(estimated)
    return Total(work, max([*estimated, work / jobs]), len(seconds) - len(estimated))


def time_left(units: Sequence[Unit], times: Times, runs: Path, jobs: int) -> float | None:
    """Lower bound of the seconds until all units end; None if there are none or one has no estimate."""
    work, shortest, unknown = total(estimates(units, times, runs), jobs)
    return None if unknown or not work else shortest
