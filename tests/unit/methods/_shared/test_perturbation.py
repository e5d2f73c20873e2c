"""Tensor operations of BLT: worked numbers of the specification, and agreement of batches with single images."""

from __future__ import annotations

import pytest
import torch
from ltbench.benchmarks.method import Stage
from ltbench.benchmarks.network import SquashingCosineHead
from ltbench.benchmarks.recipe import load_recipe
from ltbench.benchmarks.split import long_tail_counts
from ltbench.methods._shared.perturbation import (
    Ascent,
    ascend,
    choose_sources,
    choose_targets,
    tail_classes,
    target_probabilities,
)
from ltbench.methods._shared.rows import capacity, draw_columns
from ltbench.methods.blt import BLT
from torch import Tensor


@pytest.mark.parametrize(
    ("alpha", "beta", "expected"),
    [
        (16, 1, [[8, 10.666667, 13.333333], [4.8, 6.4, 8], [0, 5.333333, 4.266667], [0, 0, 0]]),
        (16, 0.5, [[8.727273, 11.636364, 14.545455], [6.4, 8.533333, 10.666667], [0, 8, 6.4], [0, 0, 0]]),
        (20, 0.5, [[10.909091, 14.545455, 18.181818], [8, 10.666667, 13.333333], [0, 10, 8], [0, 0, 0]]),
    ],
)
def test_squashing_cosine_worked_numbers(alpha: float, beta: float, expected: list[list[float]]) -> None:
    head = SquashingCosineHead(2, 3, alpha, beta)
    head.weight.data = torch.tensor([[1.0, 0], [0, 2], [3, 4]])
    features = torch.tensor([[3.0, 4], [0.6, 0.8], [0, 0.5], [0, 0]], requires_grad=True)
    logits = head(features)
    for row, values in zip(logits.tolist(), expected, strict=True):
        assert row == pytest.approx(values, abs=1e-5)
    logits.sum().backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_confusion_worked_numbers_and_their_orientation() -> None:
    predicted_by_true = torch.tensor([[50.0, 3, 0], [0, 4, 1], [0, 3, 9]])
    probabilities = target_probabilities(predicted_by_true.T)
    assert probabilities.tolist() == [[0, 0, 0], [0.5, 0, 0.5], [0, 1, 0]]
    assert draw_columns(probabilities[[1, 1, 2]], torch.tensor([0.1, 0.9, 0.5])).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("fraction", "ceil", "expected"),
    [(0.25, True, [1, 1, 1, 1, 2, 2]), (0.25, False, [0, 0, 0, 1, 1, 1]),
     (0.5, True, [1, 1, 2, 2, 3, 4]), (0.5, False, [0, 1, 1, 2, 2, 3])],
)  # fmt: skip
def test_number_of_hallucinated_images(fraction: float, ceil: bool, expected: list[int]) -> None:
    for tails, number in zip((1, 2, 3, 4, 5, 7), expected, strict=True):
        tail = torch.arange(10) < tails
        rows, valid = choose_sources(tail, torch.rand(10), fraction, 6, ceil)
        assert valid.sum() == number
        assert tail[rows[valid]].all()
        assert len(set(rows.tolist())) == 6


def test_a_class_that_is_never_mistaken_has_no_target() -> None:
    confusion = torch.tensor([[50.0, 0, 0], [3, 4, 3], [0, 1, 9]])
    targets, possible = choose_targets(confusion, torch.tensor([0, 1, 1, 2]), torch.tensor([0.5, 0.1, 0.9, 0.5]))
    assert possible.tolist() == [False, True, True, True]
    assert targets[1:].tolist() == [0, 2, 1]


def two_logits(images: Tensor) -> Tensor:
    return images


def test_ascent_worked_numbers() -> None:
    start = torch.tensor([[3.0, 0.0]])
    args = start, two_logits, torch.tensor([1]), torch.tensor([0.2])
    for limit, height in ((1, 0.7), (2, 1.4), (3, 2.1), (15, 2.1)):
        moved, steps = ascend(*args, Ascent(0.7, limit))
        assert moved[0, 1].item() == pytest.approx(height)
        assert steps.item() == min(limit, 3)
    assert moved.softmax(1)[0, 1].item() == pytest.approx(0.289050, abs=1e-6)
    moved, steps = ascend(*args, Ascent(0.7, 15, accumulate=True))
    assert moved[0, 1].item() == pytest.approx(2.1)
    assert steps.item() == 2


def test_ascent_stops_at_its_limit_with_the_last_step_taken() -> None:
    start, never = torch.zeros(1, 2), torch.tensor([1.0])
    flat = lambda images: 0.001 * images  # noqa: E731 - a constant gradient of 0.001
    moved, steps = ascend(start, flat, torch.tensor([1]), never, Ascent(0.7, 15))
    assert moved[0, 1].item() == pytest.approx(0.0105, rel=1e-5)
    assert steps.item() == 15
    accumulated, _ = ascend(start, flat, torch.tensor([1]), never, Ascent(0.7, 14, accumulate=True))
    assert accumulated[0, 1].item() == pytest.approx(0.0735, rel=1e-5)  # value of the reference code


@pytest.mark.parametrize("accumulate", [False, True])
def test_one_image_at_a_time_gives_what_the_batch_gives(accumulate: bool) -> None:
    """A batch equals a loop over images in float64: images that finish at different steps do not affect each other."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5))
    net = net.double()
    images, target = torch.rand(8, 3, 8, 8).double(), torch.randint(5, (8,))
    threshold, scale = torch.linspace(0.1, 0.9, 8).double(), torch.tensor([5.0, 7.0, 9.0]).double().view(3, 1, 1)
    observed: list[int] = []
    watched = lambda rows: (observed.append(len(rows)), net(rows))[1]  # noqa: E731
    method, steps = ascend(images, watched, target, threshold, Ascent(scale, 12, accumulate))
    assert sum(observed) == (steps + 1).clamp(max=12).sum(), "an image at its threshold is left out"
    taken = []
    for i in range(8):
        x, total, count = images[i : i + 1].clone(), torch.zeros(1, 3, 8, 8).double(), 0
        for _ in range(12):
            x.requires_grad_()
            scores = net(x)
            if scores.softmax(1)[0, target[i]] > threshold[i]:
                break
            (gradient,) = torch.autograd.grad(scores[0, target[i]], x)
            total = total + gradient if accumulate else gradient
            x, count = x.detach() + scale * total, count + 1
        assert torch.allclose(method[i], x[0], atol=1e-12)
        taken.append(count)
    assert steps.tolist() == taken
    assert len(set(taken)) > 2


def test_tail_classes_by_rule_and_where_no_class_is_that_small() -> None:
    hundred = [torch.tensor(long_tail_counts(500, 100, ratio)) for ratio in (100, 50)]
    assert [int(tail_classes(counts, 20).sum()) for counts in hundred] == [31, 19]
    ten = torch.tensor(long_tail_counts(5000, 10, 100))
    assert tail_classes(ten, 20).nonzero().flatten().tolist() == [7, 8, 9]
    assert tail_classes(ten.flip(0), 20).nonzero().flatten().tolist() == [0, 1, 2]


def test_slots_hold_nearly_every_batch() -> None:
    slots = capacity(128, 0.36, 0.25)
    tails = (torch.rand(20_000, 128, generator=torch.Generator().manual_seed(0)) < 0.36).sum(1)
    assert ((0.25 * tails).ceil() > slots).float().mean() < 0.005
    assert slots < 18


def test_learning_rates_of_the_second_stage() -> None:
    """Rates as in the reference code: constant in epochs 1-22, 23-37, 38-51 and 52-55; a tenth for the backbone."""
    stage: Stage = BLT().stages(35)[1]
    assert stage.epochs == 55
    recipe = load_recipe("cifar")[0]
    rates = [recipe.learning_rate(epoch, 55, schedule=stage.schedule) for epoch in range(55)]
    assert rates == pytest.approx([0.1] * 22 + [0.01] * 15 + [0.001] * 14 + [0.0001] * 4)
    assert stage.factors == (("backbone.", 0.1),)
