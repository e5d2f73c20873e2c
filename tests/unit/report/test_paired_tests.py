"""Confidence interval and permutation test, by hand and compared with scipy, and the resulting verdict."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.report_records import dataset, record
from ltbench.report.paired_tests import difference, paired, permutation_test
from ltbench.report.sources import Evidence
from ltbench.report.statistics import Options, settings
from ltbench.report.tables import tables
from ltbench.report.tables.cost import cost
from ltbench.report.text import in_points, signed
from scipy import stats

DATA = dataset([200, 50])


def runs(method: str, *accuracies: int) -> list:
    """One record per seed, with this number of correct predictions among the 100 test images of either class."""
    return [record(DATA, [a, a], method, seed) for seed, a in enumerate(accuracies)]


def test_interval_and_p_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, standard deviation 1, t(2, 0.975) = 4.303, interval 2 ± 4.303 / sqrt(3).

    Of the 8 choices of signs, 2 have a sum with absolute value 6 or more.
    """
    result = paired([0.01, 0.02, 0.03])
    assert (result.mean, result.n) == (pytest.approx(0.02), 3)
    assert result.low == pytest.approx(0.02 - 0.04302653 / 3**0.5)
    assert result.high == pytest.approx(0.02 + 0.04302653 / 3**0.5)
    assert result.p == 0.25
    assert result.verdict == "not separable"
    assert in_points(result) == "+2.0 [−0.5, +4.5]"


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_interval_and_p_are_scipy_s(n: int) -> None:
    values = np.random.default_rng(n).normal(0.01, 0.02, n)
    result, test = paired(values.tolist()), stats.ttest_1samp(values, 0)
    interval = test.confidence_interval(0.95)
    assert (result.low, result.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    exact = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert result.p == pytest.approx(exact.pvalue)


def test_many_pairs_are_drawn_and_still_agree() -> None:
    values = np.random.default_rng(1).normal(0.005, 0.02, 18)
    exact = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert permutation_test(values) == pytest.approx(exact, abs=0.006)  # three standard deviations of 65,536 draws
    assert permutation_test(np.ones(30)) == 1 / 65_536  # the observed signs are among the draws


def test_verdicts() -> None:
    assert paired([0.02, 0.021, 0.019]).verdict == "better"
    assert paired([-0.02, -0.021, -0.019]).verdict == "worse"
    assert paired([0.02, 0.020001]).verdict == "not separable"  # two pairs are too few, however similar
    assert paired([0.5]) == paired([0.5])
    assert (paired([0.5]).low, paired([0.5]).p, paired([0.5]).verdict) == (None, None, "one seed")
    assert paired([0.0, 0.0, 0.0]).verdict == "not separable"


def test_rounding_is_no_difference() -> None:
    noise = paired([-2.8e-17, 2.8e-17, -2.8e-17])
    assert (noise.mean, noise.p, noise.verdict) == (0, 1, "not separable")
    assert permutation_test(np.array([0.1, 0.2, -0.3, 0.05, -0.05])) == 1


def test_only_shared_seeds_are_paired() -> None:
    a = [record(DATA, [60, 60], "a", seed) for seed in (0, 1, 2)]
    b = [record(DATA, [50, 50 + seed], "b", seed) for seed in (1, 2, 3)]
    x, y = settings([*a, *b])[0].rows
    result = difference(x, y)
    assert result is not None
    assert (result.n, result.mean) == (2, pytest.approx((0.095 + 0.09) / 2))
    lone = settings([a[0], b[2]])[0].rows
    assert difference(*lone) is None


def test_differences_of_groups() -> None:
    a, b = record(DATA, [60, 32], "a"), record(DATA, [50, 40], "b")
    x, y = settings([a, b])[0].rows
    by_group = [difference(x, y, [0]), difference(x, y, [1])]
    assert [result.mean for result in by_group if result] == [pytest.approx(0.1), pytest.approx(-0.08)]


def test_signed_points() -> None:
    assert [signed(v) for v in (0.0123, -0.0123, 0.0001, -0.0001)] == ["+1.2", "−1.2", "0.0", "0.0"]
    assert in_points(None) == "–"
    assert in_points(paired([0.012])) == "+1.2"


def test_the_table_names_the_baseline_and_the_verdicts() -> None:
    records = [*runs("erm", 50, 51, 52), *runs("drw", 60, 61, 63), *runs("drs", 51, 50, 53), *runs("cb-rw", 40, 41)]
    (setting,) = settings(records)
    frame = cost(setting, Evidence()).frame.set_index("method")
    assert frame.loc["drw", "minus erm"] == "+10.3 [+8.9, +11.8]"
    assert frame["verdict"].to_dict() == {
        "drw": "better", "drs": "not separable", "erm": "the baseline", "cb-rw": "not separable",
    }  # fmt: skip
    assert frame["pairs"].to_dict() == {"drw": "3", "drs": "3", "erm": "–", "cb-rw": "2"}


def test_another_baseline_and_one_without_records() -> None:
    records = [*runs("drw", 60, 61, 63), *runs("drs", 51, 50, 53)]
    table = cost(settings(records, Options(baseline="drs"))[0], Evidence())
    assert table.title == "Difference from drs, and cost"
    assert table.frame.loc[0, "minus drs"] == "+10.0 [+7.5, +12.5]"
    table = tables(settings(records)[0], Evidence())[1]
    assert table.title == "Cost"
    assert table.notes[0] == "No differences: erm has no records in this setting."
    assert not any("minus" in name for name in table.frame)


def test_rows_of_different_settings_are_never_paired() -> None:
    other = dataset([200, 50], checksum="cd" * 32)
    both = settings([*runs("erm", 50, 51, 52), *(record(other, [60, 60], "drw", s) for s in range(3))])
    assert len(both) == 2
    assert all(len(setting.rows) == 1 for setting in both)
