"""Differences between two rows, paired by seed: mean, 95 % interval, exact permutation test, verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from ..benchmarks.records.schema import Record
from .statistics import Row, mean_accuracy

FEWEST = 3  # smallest number of pairs for a verdict; the interval of two has a single degree of freedom
LEVEL = 0.95
EXACT = 16  # largest number of pairs for which all 2^n sign changes are enumerated
DRAWS = 65_536  # sign changes sampled for more pairs

_NOTHING = 1e-12  # smaller differences of accuracies are rounding errors


@dataclass(frozen=True)
class Paired:
    """Difference between the accuracies of two rows over their shared seeds, as fractions.

    Attributes:
        mean: mean of the differences.
        low, high: 95 % confidence interval of the mean, Student's t with n - 1 degrees of freedom; None for one pair.
        p: two-sided p-value of the sign-change permutation test; None for one pair.
        n: number of pairs.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    n: int

    @property
    def verdict(self) -> str:
        """The first word of `VERDICTS` whose condition holds."""
        return next(word for word, holds in VERDICTS.items() if holds(self))


def _separable(difference: Paired) -> bool:
    """Whether there are enough pairs and the interval does not cover zero."""
    if difference.n < FEWEST or difference.low is None or difference.high is None:
        return False
    return not difference.low <= 0 <= difference.high


# Verdict to condition. The first condition that holds decides; the last one always holds.
VERDICTS: dict[str, Callable[[Paired], bool]] = {
    "one seed": lambda difference: difference.n < 2,  # no interval, so no verdict
    "better": lambda difference: _separable(difference) and difference.mean > 0,
    "worse": lambda difference: _separable(difference) and difference.mean < 0,
    "not separable": lambda difference: True,
}


def paired(differences: Sequence[float]) -> Paired:
    """Mean, interval and permutation test of the differences of one or more pairs."""
    values = np.asarray(differences, dtype=float)
    values = np.where(np.abs(values) < _NOTHING, 0, values)  # the same accuracies summed in different orders
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Paired(mean, None, None, None, n)
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2) * np.std(values, ddof=1) / np.sqrt(n))
    return Paired(mean, mean - half, mean + half, permutation_test(values), n)


def permutation_test(values: np.ndarray) -> float:
    """Two-sided p-value: fraction of sign changes of the values (n,) whose mean is at least as far from 0 as observed.

    All 2^n sign changes are enumerated if n <= 16; otherwise 65,536 are sampled with a fixed seed, the observed signs
    included. The smallest possible value is 2 / 2^n: 0.0625 for 5 pairs, so that 5 seeds never reach 0.05.

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
    """Pairs of runs with the same seed, one from each row, in the order of the seeds."""
    of_a, of_b = ({run.seed: run for run in row.runs} for row in (a, b))
    return [(of_a[seed], of_b[seed]) for seed in sorted(of_a.keys() & of_b.keys())]


def difference(a: Row, b: Row, classes: Sequence[int] | None = None) -> Paired | None:
    """Mean accuracy of `a` minus that of `b` over some classes (default all); None if they share no seed."""
    pairs = [mean_accuracy(x, classes) - mean_accuracy(y, classes) for x, y in paired_runs(a, b)]
    return paired(pairs) if pairs else None


def verdict(difference: Paired | None) -> str:
    """One of `VERDICTS` for a difference; `no seed in common` for None."""
    return difference.verdict if difference else "no seed in common"
