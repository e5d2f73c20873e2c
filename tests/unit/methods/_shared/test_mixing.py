"""Mixing weights, mixing partners and mixed batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ltbench.benchmarks.data.loader import generator
from ltbench.benchmarks.method import Batch, Now
from ltbench.methods._shared.mixing import beta_variate, draw_mixing, mix
from scipy import stats

BATCH = Batch(torch.rand(6, 3, 2, 2, generator=generator(0, "images")), torch.tensor([0, 1, 2, 0, 1, 2]))


def now(seed: int = 0) -> Now:
    return Now("train", 0, 10, generator(seed, "test"))


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 2.0, 30.0])
def test_weights_have_the_beta_distribution(alpha: float) -> None:
    uniform = torch.rand(2, 100_000, dtype=torch.float64, generator=generator(0, "uniform"))
    weights, beta = beta_variate(uniform[0], uniform[1], alpha).numpy(), stats.beta(alpha, alpha)
    points = np.linspace(0.001, 0.999, 999)  # closer to 1, float64 rounds many weights to 1 for small alpha
    steps = np.searchsorted(np.sort(weights), points, side="right") / len(weights)
    assert abs(steps - beta.cdf(points)).max() < 1.63 / len(weights) ** 0.5, "Kolmogorov-Smirnov test at 1 %"
    assert weights.mean() == pytest.approx(0.5, abs=4 * beta.std() / 100_000**0.5)
    assert weights.var() == pytest.approx(beta.var(), rel=0.02)
    fractions = [0.05, 0.25, 0.5, 0.75, 0.95]
    assert [(weights <= beta.ppf(q)).mean() for q in fractions] == pytest.approx(fractions, abs=0.006)


@pytest.mark.parametrize("alpha", [0.0, 1e-300, 1e-6, 0.01, 1e6])
def test_extreme_parameters_give_weights_between_0_and_1(alpha: float) -> None:
    numbers = torch.tensor([0.0, 1e-17, 0.25, 0.5, 0.75, 1 - 2**-53], dtype=torch.float64)
    weights = beta_variate(*torch.meshgrid(numbers, numbers, indexing="ij"), alpha)
    assert ((weights >= 0) & (weights <= 1)).all()
    if alpha == 0:
        assert (weights == 1).all()


def test_a_batch_has_one_weight_and_each_image_one_partner() -> None:
    weight, order = draw_mixing(BATCH, 1.0, now())
    again, same = draw_mixing(BATCH, 1.0, now())
    other, _ = draw_mixing(BATCH, 1.0, now(1))
    assert weight.shape == ()
    assert order.sort().values.tolist() == list(range(6))
    assert weight == again != other
    assert torch.equal(order, same)
    mixed = mix(BATCH, weight, order)
    for row, partner in enumerate(order.tolist()):
        expected = weight * BATCH.images[row] + (1 - weight) * BATCH.images[partner]
        torch.testing.assert_close(mixed.images[row], expected)
        assert mixed.second_labels is not None
        assert mixed.second_labels[row] == BATCH.labels[partner]
    assert mixed.weight is not None
    assert mixed.weight.tolist() == [float(weight)] * 6
    assert torch.equal(mixed.labels, BATCH.labels)


def test_a_weight_of_one_leaves_images_as_they_are() -> None:
    assert torch.equal(mix(BATCH, torch.ones(()), torch.arange(6).flip(0)).images, BATCH.images)
