"""Floating-point operations of layers, forward and backward, compared with formulas written by hand."""

from __future__ import annotations

import math

import pytest
import torch
from ltbench.benchmarks.speed.op_counter import Tally
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

ROWS = 4

# layer, shape of an input row, multiply-adds of the forward pass per row
LAYERS = {
    "convolution": (nn.Conv2d(8, 16, 3, padding=1), (8, 10, 10), 10 * 10 * 16 * 8 * 9),
    "1x1": (nn.Conv2d(8, 16, 1, bias=False), (8, 10, 10), 10 * 10 * 16 * 8),
    "stride": (nn.Conv2d(8, 16, 3, stride=2, padding=1), (8, 10, 10), 5 * 5 * 16 * 8 * 9),
    "dilation": (nn.Conv2d(8, 16, 3, dilation=2), (8, 10, 10), 6 * 6 * 16 * 8 * 9),
    "4 groups": (nn.Conv2d(8, 16, 3, padding=1, groups=4), (8, 10, 10), 10 * 10 * 16 * 2 * 9),
    "depthwise": (nn.Conv2d(8, 8, 5, padding=2, groups=8), (8, 10, 10), 10 * 10 * 8 * 25),
    "depthwise, two each": (nn.Conv2d(8, 16, 3, groups=8), (8, 10, 10), 8 * 8 * 16 * 9),
    "transposed": (nn.ConvTranspose2d(8, 16, 2, stride=2), (8, 5, 5), 5 * 5 * 8 * 16 * 4),
    "transposed, 4 groups": (nn.ConvTranspose2d(8, 16, 2, stride=2, groups=4), (8, 5, 5), 5 * 5 * 8 * 4 * 4),
    "one dimension, 2 groups": (nn.Conv1d(4, 6, 3, groups=2), (4, 12), 10 * 6 * 2 * 3),
    "linear": (nn.Linear(20, 7), (20,), 20 * 7),
    "separable": (
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv2d(8, 4, 1)),
        (8, 6, 6),
        6 * 6 * (8 * 9 + 8 * 4),
    ),
}


@pytest.mark.parametrize("needs_input", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_arithmetic_of_a_layer(name: str, needs_input: bool) -> None:
    """A multiply-add counts as two; the gradients of weight and input each cost as much as the forward pass."""
    layer, shape, once = LAYERS[name]
    with FakeTensorMode(allow_non_fake_inputs=True):
        images = torch.empty(ROWS, *shape, requires_grad=needs_input)
        with Tally() as forward, torch.no_grad():
            layer(images)
        with Tally() as step:
            layer(images).sum().backward()
    first = once if name != "separable" else 6 * 6 * 8 * 9  # the first layer's; its input may need no gradient
    assert forward.flops == 2 * ROWS * once
    assert step.flops == 2 * ROWS * (3 * once - (0 if needs_input else first))


@pytest.mark.parametrize(("name", "published"), [("resnext50_32x4d", 4.26e9), ("efficientnet_b0", 0.39e9)])
def test_grouped_networks_of_timm(name: str, published: float) -> None:
    """Multiply-adds per image agree with the papers and timm's table; training costs three times as much."""
    import timm

    model = timm.create_model(name)
    with FakeTensorMode(allow_non_fake_inputs=True):
        images = torch.empty(1, 3, 224, 224)
        with Tally() as forward, torch.no_grad():
            model.eval()(images)
        with Tally() as step:
            model(images).sum().backward()
    assert forward.flops / 2 == pytest.approx(published, rel=0.03)
    assert math.isclose(step.flops / forward.flops, 3, rel_tol=0.03)
