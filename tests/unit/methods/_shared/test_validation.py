"""Features of a split, and the choice of a value by the accuracy on held-out images."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny import tiny_run
from ltbench.benchmarks.training.run_spec import build_network
from ltbench.methods._shared.features import features_of
from ltbench.methods._shared.validation import best_on_grid, class_mean_accuracy

LABELS = torch.tensor([0, 0, 0, 1])


def test_classes_count_alike_and_empty_ones_do_not_count() -> None:
    logits = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert class_mean_accuracy(logits, LABELS) == pytest.approx((2 / 3 + 0) / 2)


def test_the_best_value_is_the_first_of_the_highest_accuracy() -> None:
    """The image of class 1 has the logits (1, value), so it is classified correctly only if the value is above 1."""
    tried = []

    def logits(value: float) -> torch.Tensor:
        tried.append(value)
        return torch.tensor([[1.0, 0.0]] * 3 + [[1.0, value]])

    assert best_on_grid([0.0, 0.5, 1.5, 2.0], logits, LABELS) == 1.5
    assert tried == [0.0, 0.5, 1.5, 2.0]
    assert best_on_grid([0.5, 0.0], logits, LABELS) == 0.5


def test_features_are_in_order_and_independent_of_the_batch() -> None:
    spec = tiny_run()
    net, split = build_network(spec), spec.dataset.train
    net.backbone[0].eval()
    modes = [module.training for module in net.modules()]
    features, labels = features_of(net, split)
    assert [module.training for module in net.modules()] == modes
    assert labels is split.labels
    assert not features.requires_grad
    some, _ = features_of(net, split.take(torch.tensor([7, 3])))
    torch.testing.assert_close(some, features[[7, 3]], rtol=1e-4, atol=1e-6)
