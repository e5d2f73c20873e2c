"""How long units will take, from the records that are there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from .record import Record
from .suite import Unit

Times = dict[tuple[str, ...], list[float]]


def seconds_per_image(records: Iterable[Record]) -> Times:
    """Seconds per training image and epoch: by dataset, recipe and method, and by dataset and recipe alone."""
    found: Times = defaultdict(list)
    for run in records:
        work = sum(run.dataset.train_counts) * (run.final.epoch + 1)
        place = (run.dataset.name, str(run.recipe["name"]))
        for key in ((*place, run.method), place):
            found[key].append(run.cost.seconds / work)
    return found


def estimate(unit: Unit, times: Times, shared: bool) -> float | None:
    """Seconds that a unit will take; None without a record of its dataset and recipe.

    Args:
        unit: what is to be done.
        times: of `seconds_per_image`.
        shared: whether its first epochs will be there already.
    """
    dataset, recipe, method = unit.dataset, unit.recipe, unit.method
    known = times.get((dataset, recipe, method)) or times.get((dataset, recipe))
    if not known:
        return None
    epochs = unit.epochs - (unit.shared if shared else 0)
    return sum(known) / len(known) * unit.images * max(epochs, 0)


def total(units: Sequence[Unit], times: Times, jobs: int) -> tuple[float, float, int]:
    """Seconds of work of all units, the shortest time for so many jobs, and how many units have no estimate."""
    sharing = {unit.erm for unit in units if unit.method == "erm"}
    seen: set[str] = set()
    work, longest, unknown = 0.0, 0.0, 0
    for unit in units:
        shared = unit.method != "erm" and (unit.erm in sharing or unit.erm in seen)
        seconds = estimate(unit, times, shared)
        if unit.erm and unit.shared:
            seen.add(unit.erm)
        if seconds is None:
            unknown += 1
            continue
        work += seconds
        longest = max(longest, seconds)
    return work, max(longest, work / jobs), unknown
