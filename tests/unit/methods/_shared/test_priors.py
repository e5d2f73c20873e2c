"""Arithmetic of class priors: balanced softmax, logit adjustment, PC-softmax and LADE on worked numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny import tiny_run
from ltbench.benchmarks.method import Method, Now, Stage
from ltbench.benchmarks.registry import configure, load
from ltbench.benchmarks.split import Split
from ltbench.benchmarks.training.run_spec import build_network
from ltbench.methods._shared.priors import adjusted_losses, density_ratio_regulariser, log_prior
from ltbench.methods.pc_softmax import compensated
from torch import Tensor

COUNTS = torch.tensor([100, 20, 5])
PRIOR = (COUNTS.double() / 125).log()
LOGITS = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.5]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])
NOW = Now("train", 0, 10, torch.Generator())
LOSSES = ["balanced-softmax", "logit-adjustment", "lade"]


def begun(name: str, counts: Tensor, **fields: object) -> Method:
    """A method whose first stage has begun on a split with these class sizes; its log-prior is float64."""
    method: Any = configure(load("methods", name), fields)
    labels = torch.repeat_interleave(torch.arange(len(counts)), counts)
    split = Split(torch.zeros(len(labels), 3, 2, 2, dtype=torch.uint8), labels, len(counts))
    method.begin_stage(Stage("train", 10), build_network(tiny_run()), split)
    method.prior_ = method.prior_.double()
    built: Method = method
    return built


def criterion(name: str, counts: Tensor = COUNTS, **fields: object) -> float:
    return float(begun(name, counts, **fields).criterion(LOGITS, LABELS, NOW))


def some_batch(classes: int = 4) -> tuple[Tensor, Tensor]:
    """Logits (12, C) and labels (12,); the last class does not occur, and two rows have the ignored label -100."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(classes - 1, (12,), generator=random)
    labels[[3, 7]] = -100
    return 3 * torch.randn(12, classes, generator=random, dtype=torch.float64), labels


def test_log_priors_are_those_of_the_class_fractions() -> None:
    assert log_prior(COUNTS).exp().tolist() == pytest.approx([0.80, 0.16, 0.04])
    assert log_prior(torch.tensor([10**6, 1])).isfinite().all()


def test_balanced_softmax_of_the_fixture() -> None:
    assert adjusted_losses(LOGITS, LABELS, PRIOR).tolist() == pytest.approx([0.077278, 3.949342], abs=1e-5)
    assert criterion("balanced-softmax") == pytest.approx(2.013310, abs=1e-5)


@pytest.mark.parametrize(("tau", "expected"), [(0, 1.185987), (0.5, 1.515394), (1, 2.013310), (2, 3.305494)])
def test_logit_adjustment_of_the_fixture(tau: float, expected: float) -> None:
    assert criterion("logit-adjustment", tau=tau) == pytest.approx(expected, abs=1e-5)


def test_adjusted_losses_equal_the_naive_formula() -> None:
    logits, labels = some_batch()
    counts = torch.tensor([50, 20, 7, 3])
    naive = []
    for z, y in zip(logits.tolist(), labels.tolist(), strict=True):
        terms = [math.exp(value) * (n / 80) ** 1.3 for value, n in zip(z, counts.tolist(), strict=True)]
        naive.append(0.0 if y < 0 else -math.log(terms[y] / sum(terms)))
    losses = adjusted_losses(logits, labels, (counts.double() / 80).log(), 1.3)
    assert losses.tolist() == pytest.approx(naive, rel=1e-9)
    method = begun("logit-adjustment", counts, tau=1.3)
    assert float(method.criterion(logits, labels, NOW)) == pytest.approx(sum(naive) / 10, rel=1e-6)


def test_posthoc_logits_of_the_fixture() -> None:
    adjusted = LOGITS - log_prior(COUNTS).double()
    expected = torch.tensor([[2.223144, 2.832581, 3.218876], [1.223144, 3.832581, 3.718876]], dtype=torch.float64)
    torch.testing.assert_close(adjusted, expected, atol=1e-5, rtol=0)
    assert adjusted.argmax(1).tolist() == [2, 1]
    assert (LOGITS - 0.5 * log_prior(COUNTS)).argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ((1 / 3, 1 / 3, 1 / 3), (0.180307, 0.331656, 0.488037)),
        ((0.04, 0.16, 0.80), (0.016002, 0.117737, 0.866261)),
        ((0.80, 0.16, 0.04), (0.665241, 0.244728, 0.090031)),  # the training prior: softmax of the logits themselves
    ],
)
def test_pc_softmax_of_the_fixture(target: Sequence[float], expected: Sequence[float]) -> None:
    logits = compensated(LOGITS[0], PRIOR, torch.tensor(target, dtype=torch.float64).log())
    assert logits.softmax(0).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("of_label", "expected"), [(False, -0.395492), (True, 1.780483)])
def test_lade_of_the_fixture(of_label: bool, expected: float) -> None:
    value = density_ratio_regulariser(LOGITS, LABELS, PRIOR, 0.1, of_label)
    assert float(value) == pytest.approx(expected, abs=1e-5)
    importance = "label" if of_label else "logit"
    total = criterion("lade", alpha=0.1, lam=0.1, importance=importance)
    assert total == pytest.approx(2.013310 + 0.1 * expected, abs=1e-5)
    assert total == pytest.approx(2.191358 if of_label else 1.973761, abs=1e-5)


@pytest.mark.parametrize("of_label", [False, True])
def test_the_regulariser_equals_the_naive_formula(of_label: bool) -> None:
    """Ignored rows do not count, and the first term of a class without an image in the batch is 0."""
    logits, labels = some_batch()
    prior = torch.tensor([0.6, 0.25, 0.1, 0.05], dtype=torch.float64)
    pairs = [(z, y) for z, y in zip(logits.tolist(), labels.tolist(), strict=True) if y >= 0]
    naive = 0.0
    for c, pi in enumerate(prior.tolist()):
        own = [z[c] for z, y in pairs if y == c]
        terms = [math.exp(z[c]) * 0.25 / float(prior[y] if of_label else pi) for z, y in pairs]
        bound = math.log(sum(terms) / len(terms))
        naive -= pi * ((sum(own) / len(own) if own else 0) - bound - 0.3 * bound**2)
    value = density_ratio_regulariser(logits, labels, prior.log(), 0.3, of_label)
    assert float(value) == pytest.approx(naive, rel=1e-9)
    kept = labels >= 0
    soft = F.one_hot(labels[kept], 4).double()
    value = density_ratio_regulariser(logits[kept], soft, prior.log(), 0.3, of_label)
    assert float(value) == pytest.approx(naive, rel=1e-9)


@pytest.mark.parametrize("importance", ["logit", "label"])
def test_large_logits_give_a_finite_regulariser(importance: str) -> None:
    logits = (1000 * LOGITS).float().requires_grad_()
    loss = begun("lade", COUNTS, importance=importance).criterion(logits, LABELS, NOW)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_do_not_depend_on_order_or_ignored_rows(name: str) -> None:
    """The gradient of ignored rows is exactly 0, and classes without an image in the batch give no NaN."""
    logits, labels = some_batch()
    method = begun(name, torch.tensor([50, 20, 7, 3]))
    leaf = logits.clone().requires_grad_()
    loss = method.criterion(leaf, labels, NOW)
    loss.backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert not leaf.grad[labels < 0].any()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    order = order[labels[order] >= 0]
    assert float(method.criterion(logits[order], labels[order], NOW)) == pytest.approx(float(loss.detach()), rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_class_probabilities_are_labels_too(name: str) -> None:
    method = begun(name, COUNTS)
    hard, soft = (float(method.criterion(LOGITS, each, NOW)) for each in (LABELS, F.one_hot(LABELS, 3).double()))
    assert soft == pytest.approx(hard, rel=1e-9)


def test_equal_class_sizes_give_the_losses_without_counts() -> None:
    equal = torch.tensor([7, 7, 7])
    plain = 1.185987
    assert criterion("balanced-softmax", equal) == pytest.approx(plain, abs=1e-6)
    assert criterion("logit-adjustment", equal, tau=3) == pytest.approx(plain, abs=1e-6)
    bounds = LOGITS.exp().mean(0).log()
    count_free = float((bounds + 0.01 * bounds**2).sum() - LOGITS[0, 0] - LOGITS[1, 2]) / 3
    for importance in ("logit", "label"):
        value = criterion("lade", equal, importance=importance)
        assert value == pytest.approx(plain + 0.1 * count_free, abs=1e-6)
