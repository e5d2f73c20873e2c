"""How long units will take, from the records that are there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from ..records.schema import Record
from .units import Unit

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


def estimates(units: Sequence[Unit], times: Times, trained: Callable[[Unit], bool]) -> list[float | None]:
    """Seconds that each unit will take, in this order; epochs that another one makes, or that are there, cost nothing.

    Args:
        units: what is to be done.
        times: of `seconds_per_image`.
        trained: whether the shared epochs of a unit are there.
    """
    made = {unit.erm for unit in units if unit.method == "erm"}
    found = []
    for unit in units:
        found.append(estimate(unit, times, unit.method != "erm" and (unit.erm in made or trained(unit))))
        made |= {unit.erm} if unit.shared else set()
    return found


def total(found: Sequence[float | None], jobs: int) -> tuple[float, float, int]:
    """Seconds of work, the shortest time for so many jobs, and how many have no estimate."""
    known = [seconds for seconds in found if seconds is not None]
    return sum(known), max([*known, sum(known) / jobs]), len(found) - len(known)
