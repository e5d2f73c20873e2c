"""Folded networks compute the same function as the original in evaluation mode and leave the original unchanged."""

from __future__ import annotations

import copy

import pytest
import torch
from ltbench.benchmarks.network import Classifier, LinearHead
from ltbench.benchmarks.nn.backbones import build_backbone
from ltbench.benchmarks.nn.bn_folding import Folded
from ltbench.benchmarks.nn.dar_batch_norm import convert_batchnorm
from torch import nn


def network(name: str) -> Classifier:
    torch.manual_seed(0)
    net = Classifier(build_backbone(name), LinearHead, 10)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            layer.weight.data.uniform_(0.5, 2)
            layer.bias.data.normal_(std=0.1)
    return net.train()


class Precise(nn.Sequential):
    """Head that converts float32 features to float64."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(features.double())


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize(
    ("name", "pairs"),
    [("resnet32", 31), ("resnet8-narrow", 7), ("densenet40", 0), ("timm:resnet10t", 14), ("timm:resnetblur18", 20)],
)
def test_folded_equals_evaluation_mode_with_gradients_of_images(name: str, pairs: int, routed: bool) -> None:
    """In float64, because rounding that flips the sign of one ReLU input changes a gradient beyond any tolerance."""
    net = network(name).double()
    net.head = Precise(net.head)
    if routed:
        convert_batchnorm(net.backbone, "dar")
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64).requires_grad_()
    before = copy.deepcopy(net.state_dict())
    folded = Folded(net)
    assert len(folded.pairs) == pairs
    logits = folded.freeze(net)
    features: list[torch.Tensor] = []
    for forward in (logits, copy.deepcopy(net).eval()):
        scores = forward(images)
        features += [scores, *torch.autograd.grad(scores.square().sum(), images)]
    for ours, plain in zip(features[:2], features[2:], strict=True):
        assert (ours - plain).norm() < 1e-4 * plain.norm()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_weights_are_those_of_the_moment() -> None:
    net, images = network("resnet8-narrow"), torch.rand(2, 3, 8, 8)
    folded = Folded(net)
    first = folded.freeze(net)(images)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.9)
    second = folded.freeze(net)(images)
    assert not torch.allclose(first, second)
    assert torch.allclose(second, net.eval()(images), atol=1e-5)


def test_a_backbone_that_cannot_be_traced_is_evaluated_as_it_is() -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.norm(images).mean((2, 3)) if images.sum() > 0 else images.sum((2, 3))

    backbone = nn.Sequential(Stubborn())
    backbone.width = 3  # type: ignore[assignment]
    net, images = Classifier(backbone, LinearHead, 4).train(), torch.rand(2, 3, 8, 8)
    folded = Folded(net)
    assert not folded.pairs
    assert torch.allclose(folded.freeze(net)(images), copy.deepcopy(net).eval()(images), atol=1e-6)
    assert net.backbone[0].norm.num_batches_tracked == 0  # type: ignore[union-attr]
