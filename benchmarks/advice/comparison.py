"""Comparison of methods by their predictions for the same images, and the recommendation that follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import ndtri

LEVEL = 0.95
PSEUDO_IMAGES = 2  # per class; see `difference`


@dataclass(frozen=True)
class Difference:
    """Difference between the mean per-class accuracies of two methods, as fractions, with a confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def separable(self) -> bool:
        """Whether the interval does not cover zero."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Recommendation:
    """The method to use, and why.

    Attributes:
        best: method with the highest mean per-class accuracy.
        method: method to use: `best` if it is better than the baseline; else the baseline.
        gain: mean per-class accuracy of `best` minus that of the baseline; None if `best` is the baseline.
        similar: other methods that cannot be told apart from `best`, in descending order of accuracy.
    """

    best: str
    method: str
    gain: Difference | None
    similar: tuple[str, ...]


def class_mean(hits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes of the mean of `hits`, (N,) in [0, 1], over the images of the class, by `labels` (N,)."""
    counts = np.bincount(labels)
    return float(np.mean(np.bincount(labels, hits)[counts > 0] / counts[counts > 0]))


def difference(a: np.ndarray, b: np.ndarray, labels: np.ndarray, comparisons: int = 1) -> Difference:
    """Mean per-class accuracy of one method minus that of another, with a 95 % interval.

    Each image has a difference d in [-1, 1]. The variance of a class is computed as if it had two more images, of which
    the methods classify one each correctly half of the time: without them, a class of a few images on which the methods
    agree would have no variance at all, and the interval would be too narrow. The interval is normal; its level is that
    of `comparisons` simultaneous intervals (Bonferroni). It covers the choice of the images, but not that of the
    training images: predictions of cross-validation share most of these, and no unbiased estimate exists.

    Source: Agresti & Min 2005 for matched pairs; Bengio & Grandvalet 2004 for the limits of cross-validation.

    Args:
        a: fraction of predictions that are correct, (N,) in [0, 1], for each image.
        b: likewise, of the other method.
        labels: classes of the images, integers (N,).
        comparisons: number of intervals that should hold together.
    """
    gains = a - b
    counts = np.bincount(labels)
    classes = counts > 0
    larger = counts[classes] + PSEUDO_IMAGES
    sums = np.bincount(labels, gains)[classes]
    squares = np.bincount(labels, gains**2)[classes] + PSEUDO_IMAGES / 2
    variances = (squares / larger - (sums / larger) ** 2) / larger
    error = math.sqrt(variances.sum()) / len(larger)
    half = float(-ndtri((1 - LEVEL) / 2 / comparisons)) * error
    mean = float(np.mean(sums / counts[classes]))
    return Difference(mean, mean - half, mean + half)


def recommend(hits: Mapping[str, np.ndarray], labels: np.ndarray, baseline: str) -> Recommendation:
    """Recommend a method; the intervals of all pairs of methods hold together.

    Args:
        hits: fraction of predictions that are correct, (N,) for the same images in the same order, by method.
        labels: classes of the images, integers (N,).
        baseline: method to use unless another one is better.
    """
    order = sorted(hits, key=lambda name: -class_mean(hits[name], labels))
    pairs = max(1, len(list(combinations(order, 2))))
    best = order[0]
    to_best = {name: difference(hits[best], hits[name], labels, pairs) for name in order[1:]}
    gain = to_best.get(baseline)
    similar = tuple(name for name, gap in to_best.items() if not gap.separable)
    return Recommendation(best, best if gain is not None and gain.separable else baseline, gain, similar)
