"""Numbers as text: rounded, with signs and units."""

from __future__ import annotations

from .paired_tests import Paired
from .statistics import Spread

NONE = "–"


def percent(value: Spread | None) -> str:
    """`71.3 ± 0.4`, mean and standard deviation in percent; the mean alone for one seed, a dash for None."""
    if value is None:
        return NONE
    return f"{100 * value.mean:.1f}" + ("" if value.sd is None else f" ± {100 * value.sd:.1f}")


def in_points(value: Paired | None) -> str:
    """`+1.2 [−0.4, +2.8]`, mean and interval in percentage points; the mean alone for one pair, a dash for None."""
    if value is None:
        return NONE
    mean = signed(value.mean)
    return mean if value.low is None or value.high is None else f"{mean} [{signed(value.low)}, {signed(value.high)}]"


def signed(value: float) -> str:
    """A fraction in percentage points with sign and one decimal; a value that rounds to zero has no sign."""
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def size(count: float) -> str:
    """A count with three digits and a unit prefix: `464 k`, `36.5 M`, `1.5 G`."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor * 0.9995:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f}"
