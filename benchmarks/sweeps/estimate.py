"""Time estimates for units of a sweep, from existing records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..records.schema import Record

if TYPE_CHECKING:
    from .units import Unit

Times = dict[tuple[str, ...], list[float]]  # (dataset, recipe[, method]) -> seconds per image and epoch of each record


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
    """Seconds per training image and epoch of all records, by (dataset, recipe, method) and by (dataset, recipe)."""
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
        unit: unit to run.
        times: times of existing records, from `seconds_per_image`.
        shared_epochs: number of the unit's epochs that another run trains.
    """
    setting = (unit.dataset, unit.recipe)
    rates = times.get((*setting, unit.method)) or times.get(setting)
    if not rates:
        return None
    return sum(rates) / len(rates) * unit.images * max(unit.epochs - shared_epochs, 0)


def estimates(units: Sequence[Unit], times: Times, runs: Path) -> list[float | None]:
    """Estimated seconds of each unit; None for a unit without an estimate.

    Epochs that another unit trains, or whose snapshot exists, take no time.

    Args:
        units: units in the order in which they run.
        times: times of existing records, from `seconds_per_image`.
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
    """Total of the estimated seconds of units of which `jobs` run in parallel; None in `seconds` is no estimate."""
    estimated = [each for each in seconds if each is not None]
    work = sum(estimated)
    return Total(work, max([*estimated, work / jobs]), len(seconds) - len(estimated))


def time_left(units: Sequence[Unit], times: Times, runs: Path, jobs: int) -> float | None:
    """Lower bound of the seconds until all units have ended; None if there is no unit or one has no estimate."""
    work, shortest, unknown = total(estimates(units, times, runs), jobs)
    return None if unknown or not work else shortest
