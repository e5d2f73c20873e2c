"""Average ranks of methods over several datasets, with the tests of Friedman and Nemenyi."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from ..benchmarks.errors import UserError
from .statistics import INACTIVE, Row, Setting

FEWEST_DATASETS = 6  # even winning on all of five datasets would not be significant: 2 / 2^5 > 0.05
FEWEST_METHODS = 3  # Friedman's test needs at least three
ALPHA = 0.05


@dataclass(frozen=True)
class Ranks:
    """Average ranks of methods across datasets.

    Attributes:
        accuracies: overall accuracy, mean over seeds; one row per dataset, one column per method, no missing values.
        mean: average rank of each method, best first; 1 is the best rank; ties get the mean of their ranks.
        p: p-value of Friedman's test of the null hypothesis that all methods perform equally.
        pairs: pairwise p-values of Nemenyi's test, (methods, methods).
    """

    accuracies: pd.DataFrame
    mean: pd.Series[float]
    p: float
    pairs: pd.DataFrame


def ranks(settings: Iterable[Setting]) -> Ranks:
    """Rank the methods that have records on enough common datasets.

    Each dataset (name, profile, imbalance) is represented by its setting with the most rows, and there by the largest
    set of rows with equally many seeds. Methods with the fewest datasets are left out, one by one, until at least six
    datasets have records of all remaining methods.

    Raises:
        UserError: there are too few datasets or methods, or the extra `stats` is not installed.

    Source: Demsar 2006, sections 3.2.2 and 3.2.4.
    """
    table = _common(settings)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its dependencies warn on import
            from scikit_posthocs import posthoc_nemenyi_friedman
    except ImportError as error:
        raise UserError("Ranks over datasets need scikit-posthocs: pip install 'ltbench[stats]'.") from error
    from scipy.stats import friedmanchisquare

    mean = (-table).rank(axis=1).mean().sort_values(kind="stable")
    p = float(friedmanchisquare(*(table[name] for name in table)).pvalue)
    return Ranks(table, mean, p, posthoc_nemenyi_friedman(table))


def _common(settings: Iterable[Setting]) -> pd.DataFrame:
    best: dict[tuple[str, str, float], Setting] = {}
    for setting in settings:
        key = (setting.dataset.name, setting.dataset.profile, setting.dataset.imbalance)
        if key not in best or len(setting.rows) > len(best[key].rows):
            best[key] = setting
    values = {s.title: {row.label: row.overall.mean for row in _equal_seeds(s)} for s in best.values()}
    often = Counter(label for rows in values.values() for label in rows)
    labels = [label for label, _ in sorted(often.items(), key=lambda item: (-item[1], item[0]))]
    while labels:
        shared = {title: rows for title, rows in values.items() if set(labels) <= set(rows)}
        if len(shared) >= FEWEST_DATASETS:
            break
        labels.pop()
    if len(labels) < FEWEST_METHODS:
        raise UserError(
            f"No ranks over datasets: they need {FEWEST_METHODS} methods with records on the same {FEWEST_DATASETS} "
            f"datasets or imbalances, and with equally many seeds on each; there are {len(best)} datasets, and "
            f"{len(labels)} methods on {FEWEST_DATASETS}."
        )
    lines = {title: [rows[label] for label in labels] for title, rows in shared.items()}
    return pd.DataFrame.from_dict(lines, "index", columns=labels)


def _equal_seeds(setting: Setting) -> list[Row]:
    """The largest set of active rows with equally many seeds; of equally large sets, the one with the most seeds."""
    active = [row for row in setting.rows if row.apart != INACTIVE]
    often = Counter(row.overall.n for row in active)
    seeds = max(often, key=lambda n: (often[n], n), default=0)
    return [row for row in active if row.overall.n == seeds]


def notes(over: Ranks) -> list[str]:
    """Sentences on the ranks, their test, and the datasets."""
    verdict = (
        "at least two methods differ; a bar joins methods that Nemenyi's test does not separate"
        if over.p < ALPHA
        else "the test shows no difference between the methods, regardless of their order"
    )
    each = ", ".join(f"{name} {rank:.2f}" for name, rank in over.mean.items())
    return [
        f"Average rank (1 is the best): {each}.",
        f"Friedman's test over {len(over.accuracies)} datasets: p = {over.p:.3g}; at the level {ALPHA:g}, {verdict}.",
        f"Datasets: {'; '.join(over.accuracies.index)}. Several imbalances of one dataset are not independent, which "
        "makes p too small.",
    ]
