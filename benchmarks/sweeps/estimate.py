"""How long units will take, estimated from the records that exist."""

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
    """Time that several units will take together.

    Attributes:
        work: seconds of all units whose time can be estimated, one after the other.
        shortest: seconds until the last of them has ended, at best.
        unknown: how many units have no estimate.
    """

    work: float
    shortest: float
    unknown: int


def seconds_per_image(records: Iterable[Record]) -> Times:
    """Seconds per training image and epoch: by dataset, recipe and method, and by dataset and recipe alone."""
    times: Times = defaultdict(list)
    for record in records:
        work = sum(record.dataset.train_counts) * (record.final.epoch + 1)
        setting = (record.dataset.name, str(record.recipe["name"]))
        for key in ((*setting, record.method), setting):
            times[key].append(record.cost.seconds / work)
    return times


def estimate(unit: Unit, times: Times, shared_epochs: int = 0) -> float | None:
    """Seconds that a unit will take; None without a record of its dataset and recipe.

    Args:
        unit: what is to be done.
        times: from `seconds_per_image`.
        shared_epochs: how many of its epochs need no training, since another run has trained them.
    """
    setting = (unit.dataset, unit.recipe)
    rates = times.get((*setting, unit.method)) or times.get(setting)
    if not rates:
        return None
    return sum(rates) / len(rates) * unit.images * max(unit.epochs - shared_epochs, 0)


def estimates(units: Sequence[Unit], times: Times, runs: Path) -> list[float | None]:
    """Seconds that each unit will take if they run in this order.

    Epochs that another unit trains, or whose snapshot exists, take no time.

    Args:
        units: what is to be done.
        times: from `seconds_per_image`.
        runs: folder of the snapshots.
    """
    trained = {unit.id for unit in units}  # runs whose epochs are trained by one of the units
    seconds = []
    for unit in units:
        ready = [s.epochs for s in unit.shared if s.own and (s.run_id in trained or s.exists(runs))]
        seconds.append(estimate(unit, times, max(ready, default=0)))
        trained |= {snapshot.run_id for snapshot in unit.shared}
    return seconds


def total(seconds: Sequence[float | None], jobs: int) -> Total:
    """The time of units with these estimates, so many at once."""
    estimated = [each for each in seconds if each is not None]
    work = sum(estimated)
    return Total(work, max([*estimated, work / jobs]), len(seconds) - len(estimated))


def time_left(units: Sequence[Unit], times: Times, runs: Path, jobs: int) -> float | None:
    """Seconds until units have ended, at best; None where that cannot be estimated or nothing is left."""
    work, shortest, unknown = total(estimates(units, times, runs), jobs)
    return None if unknown or not work else shortest
