"""Losses, weights and sampling of the methods, compared with naive implementations and worked numbers."""

from __future__ import annotations

import math

import pytest
import torch
from ltbench.benchmarks.data.loader import generator
from ltbench.benchmarks.method import Method, Now
from ltbench.benchmarks.registry import configure, load
from ltbench.benchmarks.split import Split, long_tail_counts
from ltbench.methods._shared.class_weights import effective_number_weights, inverse_weights
from ltbench.methods._shared.losses import focal_losses
from ltbench.methods._shared.margins import ldam_loss, ldam_margins
from ltbench.methods._shared.soft_labels import expected_loss
from torch import Tensor

COUNTS = torch.tensor([100, 10, 1])
COSINES = torch.tensor([[0.8, 0.2, -0.1], [0.1, 0.6, 0.3], [0.4, -0.2, 0.5], [0.7, 0.1, 0.6]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 2])


def method(name: str, **fields: object) -> Method:
    built: Method = configure(load("methods", name), fields)
    return built


def now(epoch: int, epochs: int = 200) -> Now:
    return Now("train", epoch, epochs, generator(0, "test"))


def started(built: Method, counts: Tensor) -> Method:
    labels = torch.repeat_interleave(torch.arange(len(counts)), counts)
    split = Split(torch.zeros(len(labels), 3, 2, 2, dtype=torch.uint8), labels, len(counts))
    built.begin_stage(built.stages(200)[0], None, split)  # type: ignore[arg-type]
    return built


@pytest.mark.parametrize(
    ("counts", "beta", "expected"),
    [
        ((100, 10, 1), 0.9999, (0.027158722, 0.270368874, 2.702472404)),
        (long_tail_counts(5000, 10, 100), 0.9999,
         (0.050611, 0.076900, 0.121134, 0.195037, 0.318805, 0.524590, 0.868349, 1.442627, 2.409223, 3.992724)),
        (long_tail_counts(5000, 10, 50), 0.9999,
         (0.089030, 0.126678, 0.185257, 0.276057, 0.416751, 0.634413, 0.969534, 1.489447, 2.292256, 3.520576)),
        (long_tail_counts(5000, 10, 100), 0.999,
         (0.181187, 0.189414, 0.215742, 0.272859, 0.378479, 0.560581, 0.868804, 1.386165, 2.258450, 3.688319)),
        ((5000, 50), 0.9999, (0.025034, 1.974966)),
        ((5000, 100), 0.9999, (0.049330, 1.950670)),
        ((7, 7, 7), 0.9999, (1.0, 1.0, 1.0)),
        ((100, 10, 1), 0.0, (1.0, 1.0, 1.0)),
    ],
)  # fmt: skip
def test_effective_number_weights(counts: tuple[int, ...], beta: float, expected: tuple[float, ...]) -> None:
    weights = effective_number_weights(torch.tensor(counts), beta)
    naive = [(1 - beta) / (1 - beta**n) for n in counts]
    naive = [w * len(counts) / sum(naive) for w in naive]
    assert weights.tolist() == pytest.approx(expected, abs=6e-7)
    assert weights.tolist() == pytest.approx(naive, rel=1e-6)


def test_effective_number_weights_of_cifar100() -> None:
    weights = effective_number_weights(torch.tensor(long_tail_counts(500, 100, 100)), 0.9999)
    assert weights[[0, 50, 99]].tolist() == pytest.approx([0.044876, 0.457055, 4.378313], abs=6e-7)


def test_inverse_weights() -> None:
    assert inverse_weights(COUNTS).tolist() == pytest.approx([0.027027, 0.270270, 2.702703], abs=6e-7)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((100, 10, 1), (0.158114, 0.281171, 0.5)),
        ((100, 20, 5), (0.236435, 0.353553, 0.5)),
        (long_tail_counts(5000, 10, 100),
         (0.158114, 0.179697, 0.204238, 0.232091, 0.263829, 0.299768, 0.340675, 0.387221, 0.440497, 0.5)),
        (long_tail_counts(5000, 10, 50),
         (0.188030, 0.209621, 0.233680, 0.260510, 0.290467, 0.323879, 0.361001, 0.402556, 0.448838, 0.5)),
    ],
)  # fmt: skip
def test_ldam_margins(counts: tuple[int, ...], expected: tuple[float, ...]) -> None:
    assert ldam_margins(torch.tensor(counts), 0.5).tolist() == pytest.approx(expected, abs=6e-7)


def naive_ldam(scale: float, weights: list[float]) -> float:
    """LDAM loss by the formula, one sample at a time."""
    total, weight = 0.0, 0.0
    margins = [0.5 * n**-0.25 for n in COUNTS.tolist()]
    for cosines, label in zip(COSINES.tolist(), LABELS.tolist(), strict=True):
        logits = [scale * (c - (margins[k] if k == label else 0.0)) for k, c in enumerate(cosines)]
        total += weights[label] * (
            math.log(sum(math.exp(z - max(logits)) for z in logits)) + max(logits) - logits[label]
        )
        weight += weights[label]
    return total / weight


@pytest.mark.parametrize(
    ("scale", "plain", "weighted"),
    [(1.0, 1.078265, 1.254888), (10.0, 2.675257, 4.782712), (30.0, 7.612745, 14.238756)],
)
def test_ldam_loss(scale: float, plain: float, weighted: float) -> None:
    margins = ldam_margins(COUNTS, 0.5).double()
    weights = effective_number_weights(COUNTS, 0.9999).double()
    loss, deferred = (float(ldam_loss(COSINES, LABELS, margins, scale, w)) for w in (None, weights))
    assert loss == pytest.approx(plain, abs=1e-6)
    assert deferred == pytest.approx(weighted, abs=1e-6)
    assert loss == pytest.approx(naive_ldam(scale, [1, 1, 1]), rel=1e-6)
    assert deferred == pytest.approx(naive_ldam(scale, weights.tolist()), rel=1e-6)


def test_ldam_loss_is_not_the_plain_mean_of_weighted_losses() -> None:
    margins, weights = ldam_margins(COUNTS, 0.5), effective_number_weights(COUNTS, 0.9999)
    cosines = COSINES.float()
    per_sample = torch.stack([ldam_loss(cosines[[i]], LABELS[[i]], margins, 30.0) for i in range(4)])
    assert per_sample.tolist() == pytest.approx(
        [0.000002, 0.450972, 12.000006, 17.999999], rel=5e-7, abs=1e-6
    )  # the worked numbers have six decimals
    plain_mean = float((weights[LABELS] * per_sample).mean())
    assert plain_mean == pytest.approx(20.299029, abs=1e-5)
    assert float(ldam_loss(cosines, LABELS, margins, 30.0, weights)) < 15


@pytest.mark.parametrize(
    ("weighted", "second", "fourth"),
    [
        (False, (0.072129, -0.160227, 0.088098), (0.119183, 0.065409, -0.184591)),
        (True, (0.013679, -0.030387, 0.016708), (0.225928, 0.123992, -0.349920)),
    ],
)
def test_ldam_gradient(weighted: bool, second: tuple[float, ...], fourth: tuple[float, ...]) -> None:
    cosines = COSINES.clone().requires_grad_()
    weights = effective_number_weights(COUNTS, 0.9999).double() if weighted else None
    ldam_loss(cosines, LABELS, ldam_margins(COUNTS, 0.5).double(), 1.0, weights).backward()
    assert cosines.grad is not None
    assert cosines.grad[1].tolist() == pytest.approx(second, abs=1e-6)
    assert cosines.grad[3].tolist() == pytest.approx(fourth, abs=1e-6)


def test_ldam_with_label_probabilities_equals_labels() -> None:
    margins = ldam_margins(COUNTS, 0.5).double()
    soft = torch.nn.functional.one_hot(LABELS, 3).double()
    assert float(ldam_loss(COSINES, soft, margins, 30.0)) == pytest.approx(
        float(ldam_loss(COSINES, LABELS, margins, 30.0))
    )


@pytest.mark.parametrize("name", ["drw", "ldam-drw", "m-drw"])
def test_weights_set_in_at_epoch_160_of_200_and_32_of_40(name: str) -> None:
    built = started(method(name), COUNTS)
    logits = COSINES.float()
    before_start, last = built.criterion(logits, LABELS, now(0)), built.criterion(logits, LABELS, now(159))
    after_start = built.criterion(logits, LABELS, now(160))
    assert before_start == last != after_start
    assert built.criterion(logits, LABELS, now(31, 40)) == before_start
    assert built.criterion(logits, LABELS, now(32, 40)) == after_start
    never = started(method(name, defer=1), COUNTS)
    assert never.criterion(logits, LABELS, now(199)) == before_start


def test_drw_divides_by_the_sum_of_the_weights() -> None:
    z = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.5]], dtype=torch.float64)
    built = started(method("drw", defer=0), torch.tensor([100, 20, 5]))
    built.weights_ = built.weights_.double()  # type: ignore[attr-defined]
    assert float(built.criterion(z, torch.tensor([0, 2]), now(0))) == pytest.approx(1.889901, abs=1e-5)
    built = started(method("drw", defer=0), COUNTS)
    assert float(built.criterion(COSINES.float(), LABELS, now(0))) == pytest.approx(0.931590, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("focal", {"gamma": 1}, 0.489592),
        ("focal", {"gamma": 2}, 0.284262),
        ("focal", {"gamma": 0}, 0.849377),
        ("cb-focal", {}, 0.806176),
        ("cb-focal", {"inside": True}, 1.176882),
        ("cb-focal", {"inside": True, "gamma": 2}, 1.074687),
        ("cb-rw", {}, 0.931590),
        ("m-drw", {"margin": 0.5}, 9.013386),
        ("m-drw", {"margin": 0.5, "defer": 0}, 14.502316),
    ],
)
def test_worked_losses(name: str, fields: dict[str, object], expected: float) -> None:
    built = started(method(name, **fields), COUNTS)
    assert float(built.criterion(COSINES.float(), LABELS, now(0))) == pytest.approx(
        expected, abs=1e-6 * max(1, expected)
    )


@pytest.mark.parametrize(("gamma", "weighted", "inside"), [(0.5, True, False), (1.0, False, False), (2.0, True, True)])
def test_focal_loss_against_the_formula(gamma: float, weighted: bool, inside: bool) -> None:
    weights = effective_number_weights(COUNTS, 0.9999).double() if weighted else torch.ones(3, dtype=torch.float64)
    total = 0.0
    for row, label in zip(COSINES.tolist(), LABELS.tolist(), strict=True):
        p, w = math.exp(row[label]) / sum(math.exp(z) for z in row), float(weights[label])
        total += (1 - p**w) ** gamma * -w * math.log(p) if inside else w * (1 - p) ** gamma * -math.log(p)
    arguments = weights if weighted else None
    assert float(focal_losses(COSINES, LABELS, gamma, arguments, inside).mean()) == pytest.approx(total / 4, rel=1e-9)
    soft = torch.nn.functional.one_hot(LABELS, 3).double()
    expected = expected_loss(lambda z, y: focal_losses(z, y, gamma, arguments, inside), COSINES, soft)
    assert float(expected) == pytest.approx(total / 4, rel=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_has_a_finite_gradient_at_certainty(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    focal_losses(logits, torch.tensor([0, 0]), gamma).mean().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_drs_draws_by_effective_numbers_from_the_switch_on() -> None:
    built = method("drs")
    counts = torch.tensor(long_tail_counts(5000, 10, 100))
    assert built.sampling(counts, now(159)) is None
    drawn = built.sampling(counts, now(160))
    assert drawn is not None
    expected = (0.1193, 0.1086, 0.1026, 0.0990, 0.0969, 0.0957, 0.0950, 0.0945, 0.0943, 0.0941)
    assert (drawn / drawn.sum()).tolist() == pytest.approx(expected, abs=6e-5)
    fixture = built.sampling(torch.tensor([100, 20, 5]), now(160))
    assert fixture is not None
    assert (fixture / fixture.sum()).tolist() == pytest.approx([0.334305, 0.332972, 0.332723], abs=1e-6)
    exact = method("drs", weighting="inverse").sampling(counts, now(160))
    assert exact is not None
    assert (exact / exact.sum()).tolist() == pytest.approx([0.1] * 10)


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (0, (0.900901, 0.090090, 0.009009)),
        (0.5, (0.706101, 0.223289, 0.070610)),
        (0.9, (0.412323, 0.327519, 0.260158)),
        (1, (1 / 3, 1 / 3, 1 / 3)),
        (1.5, (0.070610, 0.223289, 0.706101)),
    ],
)
def test_oversampling_exponent(gamma: float, expected: tuple[float, ...]) -> None:
    drawn = method("oversample", gamma=gamma).sampling(COUNTS, now(0))
    assert drawn is not None
    assert (drawn / drawn.sum()).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["drw", "ldam-drw", "m-drw"])
def test_count_based_weights_vanish_on_a_balanced_set(name: str) -> None:
    built = started(method(name, defer=0), torch.tensor([7, 7, 7]))
    plain = started(method(name, defer=1), torch.tensor([7, 7, 7]))
    logits = COSINES.float()
    assert float(built.criterion(logits, LABELS, now(0))) == pytest.approx(
        float(plain.criterion(logits, LABELS, now(0)))
    )


@pytest.mark.parametrize("name", ["erm", "cb-rw", "drw", "focal", "cb-focal", "m-drw", "ldam-drw"])
def test_a_loss_made_by_name_is_that_of_the_method_of_the_name(name: str) -> None:
    built = method("rsg", base=name).make_base()  # type: ignore[attr-defined]
    assert built == method(name)
    assert type(built) is type(method(name))
