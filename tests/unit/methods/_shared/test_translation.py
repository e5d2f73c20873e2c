"""Tensor operations of M2m: worked numbers of the specification, and agreement of batches with single images."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from ltbench.benchmarks.split import long_tail_counts
from ltbench.methods._shared.rows import capacity, draw_columns
from ltbench.methods._shared.translation import (
    acceptance,
    choose_sources,
    fill_slots,
    fitting_beta,
    objective,
    random_start,
    seed_probabilities,
    translate,
)
from torch import Tensor

CIFAR = torch.tensor(long_tail_counts(5000, 10, 100))


@pytest.mark.parametrize(
    ("beta", "surplus", "expected"),
    [(0.9, 1, 0.1), (0.9, 10, 0.651322), (0.9, 100, 0.999973), (0.99, 1, 0.01), (0.99, 10, 0.095618),
     (0.99, 100, 0.633968), (0.999, 1, 0.001), (0.999, 10, 0.009955), (0.999, 100, 0.095208), (0.999, 4950, 0.992934),
     (0.999, 0, 0), (0.0, 0, 0), (0.0, 1, 1)],
)  # fmt: skip
def test_acceptance_worked_numbers(beta: float, surplus: int, expected: float) -> None:
    accept = acceptance(torch.tensor([50 + surplus, 50]), beta)
    assert accept[0, 1] == pytest.approx(expected, abs=1e-6)
    assert accept[1, 0] == 0


def test_acceptance_for_the_rarest_and_the_second_class() -> None:
    accept = acceptance(CIFAR, 0.999)
    rarest = [0.9929, 0.9476, 0.8257, 0.6421, 0.4486, 0.2862, 0.1665, 0.0852, 0.0325, 0]
    assert accept[:, 9].tolist() == pytest.approx(rarest, abs=5e-5)
    assert accept[:, 1].tolist() == pytest.approx([0.8652, *[0] * 9], abs=5e-5)


def test_candidate_probability_by_class() -> None:
    expected = [0, 0.4006, 0.6408, 0.7846, 0.8710, 0.9226, 0.9536, 0.9722, 0.9834, 0.9900]
    assert (1 - CIFAR / CIFAR.max()).tolist() == pytest.approx(expected, abs=5e-5)


def test_seed_probabilities_worked_numbers() -> None:
    accept, labels = acceptance(torch.tensor([100, 10, 1]), 0.99), torch.tensor([0, 0, 1, 2])
    probabilities = seed_probabilities(accept, labels)
    assert probabilities[3].tolist() == pytest.approx([0.467899, 0.467899, 0.064203, 0], abs=1e-6)
    assert probabilities[2].tolist() == pytest.approx([0.5, 0.5, 0, 0], abs=1e-6)
    assert probabilities[0].tolist() == [0, 0, 0, 0]
    assert accept[labels, 2].tolist() == pytest.approx([0.630270, 0.630270, 0.086483, 0], abs=1e-6)
    assert accept[labels, 1].tolist() == pytest.approx([0.595268, 0.595268, 0, 0], abs=1e-6)


def test_seeds_are_drawn_by_their_probability_and_never_at_zero() -> None:
    probabilities = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]]).expand(5, 5)
    uniform = torch.rand(40_000, generator=torch.Generator().manual_seed(0))
    drawn = torch.cat([draw_columns(probabilities, part) for part in uniform.split(5)])
    fraction = drawn.bincount(minlength=5) / len(drawn)
    assert fraction[[0, 2, 4]].tolist() == [0, 0, 0]
    assert fraction[1] == pytest.approx(0.25, abs=0.01)
    edges = torch.tensor([0.0, 0.25, 1 - 2**-24, 0.5, 0.2])
    assert draw_columns(probabilities, edges).tolist() == [1, 3, 3, 3, 1]


def test_rows_sort_into_seedless_refused_and_chosen() -> None:
    """Decisions on rows 0 to 3 with labels 0, 0, 1, 2, for classes of 100, 10 and 1 images."""
    accept, labels = acceptance(torch.tensor([100, 10, 1]), 0.99), torch.tensor([0, 0, 1, 2])
    uniform = torch.tensor([[0.5, 1.0, 0.5, 0.5], [0.2, 0.2, 0.2, 0.99], [0.0, 0.0, 0.1, 0.1]])
    choice = choose_sources(labels, torch.tensor([1.0, 0.1, 0.01]), accept, uniform)
    assert choice.candidate.tolist() == [False, True, True, True]  # row 0 is kept: 0.5 is below n / n_max = 1
    assert choice.seedless.tolist() == [True, True, False, False]  # no class has more images than class 0
    assert choice.seeds[2:].tolist() == [0, 2]
    assert choice.agreed[2:].tolist() == [True, False]  # 0.1 is below 0.595, and above 0.086 for the seed of class 1
    assert choice.chosen.tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("ratio", "classes", "largest", "beta"), [(100, 10, 5000, 0.999), (100, 100, 500, 0.99), (50, 10, 100, 0.9)]
)
def test_beta_follows_the_class_sizes(ratio: float, classes: int, largest: int, beta: float) -> None:
    """Beta has the values of the specification for CIFAR-10, CIFAR-100 and digits-lt."""
    assert float(fitting_beta(torch.tensor(long_tail_counts(largest, classes, ratio)))) == beta


SOURCE = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, -2]], dtype=torch.float64)
OWN = torch.tensor([[0.5, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]], dtype=torch.float64)
IMAGES = torch.tensor([[0.5, 0.5, 0.5, 0.98], [0.2, 0.4, 0.6, 0.8]], dtype=torch.float64).view(2, 1, 2, 2)
TARGET, SEED = torch.tensor([2, 2]), torch.tensor([0, 1])


def linear_loss(images: Tensor) -> Tensor:
    flat = images.flatten(1)
    return objective(flat @ SOURCE.T, flat @ OWN.T, TARGET, SEED, 0.5)


def test_the_loss_of_the_attack_and_its_gradient() -> None:
    images = IMAGES.clone().requires_grad_()
    loss = linear_loss(images).mean()
    (gradient,) = torch.autograd.grad(loss, images)
    assert loss.item() == pytest.approx(2.348464, abs=1e-6)
    assert gradient[0].flatten().tolist() == pytest.approx([0.348991, 0.223991, -0.895963, 1.145963], abs=1e-6)
    assert gradient[1].flatten().tolist() == pytest.approx([0.180491, 0.470453, -0.801888, 0.801888], abs=1e-6)


def test_attack_worked_numbers() -> None:
    once = translate(IMAGES, linear_loss, 0.1, 1).flatten(1)
    assert once[0].tolist() == pytest.approx([0.476928, 0.485192, 0.559233, 0.904239], abs=1e-6)
    assert once[1].tolist() == pytest.approx([0.185455, 0.362089, 0.664619, 0.735381], abs=1e-6)
    last = translate(IMAGES, linear_loss, 0.1, 10).flatten(1)
    assert last[0].tolist() == pytest.approx([0.253930, 0.357333, 1.0, 0.202525], abs=1e-6)
    assert last[1].tolist() == pytest.approx([0.052825, 0.0, 1.0, 0.186707], abs=1e-6)
    probability = [(flat.flatten(1) @ SOURCE.T).softmax(1)[:, 2].tolist() for flat in (IMAGES, last)]
    assert probability[0] == pytest.approx([0.104037, 0.198112], abs=1e-6)
    assert probability[1] == pytest.approx([0.644474, 0.712320], abs=1e-6)  # rejected at gamma 0.9, accepted at 0.6


def test_random_start_has_the_norms_of_both_readings() -> None:
    uniform = torch.rand(96, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    legacy = random_start(uniform, 96, per_sample=False)
    assert legacy.flatten(1).norm(dim=1).mean() == pytest.approx(0.0884, abs=1e-4)
    assert torch.allclose(legacy, torch.renorm(uniform, 2, 1, 0.5), rtol=1e-5, atol=0)  # the form of the reference code
    meant = random_start(uniform, 96, per_sample=True)
    assert meant.flatten(1).norm(dim=1).tolist() == pytest.approx([0.5] * 96, rel=1e-5)


def test_random_start_of_slots_is_scaled_as_among_candidates() -> None:
    uniform = torch.rand(60, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    assert random_start(uniform, 96, per_sample=False).flatten(1).norm(dim=1).mean() == pytest.approx(0.0884, abs=1e-3)


def test_slots_take_chosen_rows_first_and_in_order() -> None:
    rows, valid = fill_slots(torch.tensor([False, True, False, True, True]), 4)
    assert rows.tolist() == [1, 3, 4, 0]
    assert valid.tolist() == [True, True, True, False]


def test_slots_hold_nearly_every_batch() -> None:
    accept = acceptance(CIFAR, 0.999)
    fractions = (1 - CIFAR / CIFAR.max()) * (accept**2).sum(0) / accept.sum(0).clamp(min=1e-12)
    slots = capacity(128, float(fractions.mean()))
    random = torch.Generator().manual_seed(0)
    drawn = torch.rand(20_000, 128, generator=random) < fractions[torch.randint(10, (20_000, 128), generator=random)]
    assert (drawn.sum(1) > slots).float().mean() < 0.005
    assert slots < 100


def test_one_image_at_a_time_gives_what_the_batch_gives() -> None:
    """A batch equals a loop over images and steps, in float64 with small networks."""
    torch.manual_seed(0)
    g, f = (torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5))
            .double() for _ in "gf")  # fmt: skip
    images, target, seed = torch.rand(6, 3, 8, 8).double(), torch.randint(5, (6,)), torch.randint(5, (6,))
    valid = torch.tensor([True, True, False, True, True, False])
    method = translate(images, lambda x: objective(g(x), f(x), target, seed, 0.5), 0.1, 10, valid)
    for i in range(6):
        x = images[i : i + 1].clone()
        for _ in range(10 * int(valid[i])):
            x.requires_grad_()
            loss = F.cross_entropy(g(x), target[i : i + 1]) + 0.5 * f(x)[0, seed[i]]
            (gradient,) = torch.autograd.grad(loss, x)
            x = (x.detach() - 0.1 * gradient / (gradient.norm() + 1e-10)).clamp(0, 1)
        assert torch.allclose(method[i], x[0], atol=1e-12)
    assert all(parameter.grad is None for net in (g, f) for parameter in net.parameters())
