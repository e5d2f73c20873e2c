"""The loss for class probabilities equals the loss for images repeated with labels in these proportions."""

from __future__ import annotations

import pytest
import torch
from ltbench.benchmarks.data.loader import generator
from ltbench.benchmarks.method import Now
from ltbench.benchmarks.registry import configure, load
from ltbench.benchmarks.split import Split

QUARTERS = torch.tensor([[4, 0, 0], [1, 1, 2], [0, 3, 1]])  # probabilities, in quarters
LOGITS = torch.tensor([[0.6, 0.2, -0.1], [0.1, 0.5, 0.3], [-0.4, 0.9, 0.2]])


@pytest.mark.parametrize("name", ["erm", "cb-rw", "drw", "focal", "cb-focal", "m-drw", "ldam-drw"])
def test_probabilities_equal_labels_in_proportion(name: str) -> None:
    method = configure(load("methods", name), {"defer": 0} if name in ("drw", "m-drw", "ldam-drw") else {})
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([100, 20, 5]))
    split = Split(torch.zeros(len(labels), 3, 2, 2, dtype=torch.uint8), labels, 3)
    method.begin_stage(method.stages(10)[0], None, split)
    now = Now("train", 9, 10, generator(0, "test"))
    repeated = torch.cat([torch.arange(3).repeat_interleave(row) for row in QUARTERS])
    hard = method.criterion(LOGITS.repeat_interleave(4, 0), repeated, now)
    soft = method.criterion(LOGITS, QUARTERS / 4, now)
    assert float(soft) == pytest.approx(float(hard), rel=1e-6)
