"""Differences between two rows, paired by seed: mean, 95 % interval, exact permutation test, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from ..benchmarks.records.schema import Record
from .statistics import Row, mean_accuracy

FEWEST = 3  # pairs; two always lie on a line, and their interval rests on a single deviation
LEVEL = 0.95
EXACT = 16  # pairs up to which all 2^n sign changes are counted
DRAWS = 65_536  # sign changes drawn for more pairs

_NOTHING = 1e-12  # difference of accuracies

BETTER = "better"
WORSE = "worse"
NOT_SEPARABLE = "not separable"


@dataclass(frozen=True)
class Paired:
    """Difference of two rows over the seeds that both have, as a fraction, not in points.

    Attributes:
        mean: mean of the differences.
        low, high: ends of the 95 % interval of the mean by Student's t, n - 1 degrees of freedom; None for one pair.
        p: two-sided p-value of the permutation test that changes signs; None for one pair.
        n: pairs.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    n: int

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `not separable` where the interval covers zero or there are fewer than 3 pairs."""
        if self.n < FEWEST or self.low is None or self.high is None or self.low <= 0 <= self.high:
            return NOT_SEPARABLE
        return BETTER if self.low > 0 else WORSE


def paired(differences: Sequence[float]) -> Paired:
    """Summarise differences of pairs, at least one."""
    values = np.asarray(differences, dtype=float)
    values = np.where(np.abs(values) < _NOTHING, 0, values)  # two sums of the same accuracies in another order
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Paired(mean, None, None, None, n)
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2) * np.std(values, ddof=1) / np.sqrt(n))
    return Paired(mean, mean - half, mean + half, permutation_test(values), n)


def permutation_test(values: np.ndarray) -> float:
    """Share of sign changes whose mean is at least as far from 0 as that of the values (n,); all changes if n <= 16.

    For more pairs 65,536 changes are drawn (a fixed seed), and the observed signs are counted with them. The smallest
    possible value is 2 / 2^n: with 5 pairs 0.0625, so that 5 seeds never reach 0.05.

    Source: Fisher 1935, section 21.
    """
    n = len(values)
    if n <= EXACT:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1, 1], (DRAWS, n))
        signs[0] = 1
    far = np.abs(signs @ values)
    observed = abs(values.sum())
    return float(np.mean(far >= observed - 1e-12 * np.abs(values).sum()))


def paired_runs(a: Row, b: Row) -> list[tuple[Record, Record]]:
    """The runs of the seeds that both rows have, by seed."""
    of_a, of_b = ({run.seed: run for run in row.runs} for row in (a, b))
    return [(of_a[seed], of_b[seed]) for seed in sorted(of_a.keys() & of_b.keys())]


def difference(a: Row, b: Row, classes: Sequence[int] | None = None) -> Paired | None:
    """Accuracy of `a` minus that of `b` over some classes (default all); None where they share no seed."""
    pairs = [mean_accuracy(x, classes) - mean_accuracy(y, classes) for x, y in paired_runs(a, b)]
    return paired(pairs) if pairs else None


def verdict(found: Paired | None) -> str:
    """The verdict of a difference, or that there is none."""
    return found.verdict if found else "no seed in common"


def in_points(value: Paired | None) -> str:
    """`+1.2 [−0.4, +2.8]` in percentage points; without an interval where there is none; a dash for None."""
    if value is None:
        return "–"
    mean = signed(value.mean)
    return mean if value.low is None or value.high is None else f"{mean} [{signed(value.low)}, {signed(value.high)}]"


def signed(value: float) -> str:
    """A fraction in percentage points with its sign and one decimal; what rounds to nothing has none."""
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text
