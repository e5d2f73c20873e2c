"""Differences between methods on the same images, their intervals, and the recommendation."""

from __future__ import annotations

import numpy as np
import pytest
from ltbench.benchmarks.advice.comparison import class_mean, difference, recommend

LABELS = np.repeat([0, 1, 2], [60, 20, 5])


def test_class_mean_weighs_classes_equally() -> None:
    hits = np.concatenate([np.ones(60), np.zeros(20), [1, 1, 0, 0, 0]])
    assert class_mean(hits, LABELS) == pytest.approx((1 + 0 + 0.4) / 3)


def test_difference_is_the_naive_formula() -> None:
    random = np.random.default_rng(0)
    a, b = random.integers(0, 4, (2, 85)) / 3
    variance, means = 0.0, []
    for label, count in ((0, 60), (1, 20), (2, 5)):
        gains = [*(a - b)[label == LABELS], 1, -1, 0, 0]  # half an image in each cell of the table of matched pairs
        weights = np.array([1.0] * count + [0.5] * 4)
        mean = np.average(gains, weights=weights)
        variance += np.average((gains - mean) ** 2, weights=weights) / (count + 2)
        means.append(float(np.mean((a - b)[label == LABELS])))
    gap = difference(a, b, LABELS)
    assert gap.mean == pytest.approx(np.mean(means))
    assert gap.high - gap.mean == pytest.approx(1.959964 * np.sqrt(variance) / 3, rel=1e-5)
    assert gap.mean - gap.low == pytest.approx(gap.high - gap.mean)
    assert difference(a, b, LABELS, comparisons=10).high - gap.mean == pytest.approx(2.807034 * np.sqrt(variance) / 3)


def test_methods_that_agree_on_few_images_have_a_wide_interval() -> None:
    same = np.ones(85)
    gap = difference(same, same, LABELS)
    assert gap.mean == 0
    assert not gap.separable
    assert gap.high > 0.09


def test_intervals_cover_the_true_difference() -> None:
    """Of 95 % intervals for classes of 40, 10 and 4 images, at least 93 % contain the true difference."""
    labels, random = np.repeat([0, 1, 2], [40, 10, 4]), np.random.default_rng(1)
    right = np.array([[0.9, 0.7, 0.4], [0.9, 0.5, 0.1]])[:, labels]  # probability that the prediction is correct
    draws = random.random((2000, 54))  # the same for both: methods tend to fail on the same images
    truth = np.mean([0, 0.2, 0.3])
    gaps = [difference(*(draw < right).astype(float), labels) for draw in draws]
    assert np.mean([gap.low <= truth <= gap.high for gap in gaps]) > 0.93


def test_recommendation() -> None:
    base = np.tile([1.0, 0.0], 100)
    labels = np.repeat([0, 1], 100)
    much, little = np.ones(200), base.copy()
    little[1] = 1
    clear = recommend({"erm": base, "much": much, "little": little}, labels, "erm")
    assert (clear.best, clear.method, clear.similar) == ("much", "much", ())
    assert clear.gain is not None
    assert clear.gain.mean == pytest.approx(0.5)
    vague = recommend({"erm": base, "little": little}, labels, "erm")
    assert (vague.best, vague.method, vague.similar) == ("little", "erm", ("erm",))
    none = recommend({"erm": much, "little": little}, labels, "erm")
    assert (none.best, none.method, none.gain) == ("erm", "erm", None)
