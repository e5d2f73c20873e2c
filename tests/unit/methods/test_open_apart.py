"""OPeN on a CPU: noise rows have a separate forward pass without gradients if they train only the head."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from helpers.open_batches import after_start
from helpers.tiny import tiny_run
from ltbench.benchmarks.data.loader import generator
from ltbench.benchmarks.method import Batch
from ltbench.benchmarks.network import Classifier, LinearHead
from ltbench.benchmarks.nn.backbones import build_backbone
from ltbench.benchmarks.nn.dar_batch_norm import convert_batchnorm
from ltbench.benchmarks.precision import autocast, rounding
from ltbench.benchmarks.speed.op_counter import bring_to
from ltbench.methods._shared.noise_rows import teaches_the_head_alone
from torch import Tensor, nn

CPU = torch.device("cpu")


def trained(settings: tuple[str, ...], noise: list[int]) -> tuple[list[tuple[int, bool]], list[Tensor]]:
    """Number of rows and gradient mode of each forward pass; loss, gradients and buffers after a batch of 12 rows.

    Args:
        settings: settings of the run.
        noise: indices of the noise rows.
    """
    torch.manual_seed(0)
    active, _ = bring_to(tiny_run("open", epochs=10, settings=settings), 0.9, CPU)
    net, method, recipe = active.net, cast(Any, active.spec.method), active.spec.recipe
    images = torch.rand(12, 3, 8, 8, generator=generator(0, "images")).contiguous(memory_format=torch.channels_last)
    mask = torch.zeros(12, dtype=torch.bool)
    mask[noise] = True
    passes: list[tuple[int, bool]] = []
    net.backbone.register_forward_pre_hook(lambda layer, x: passes.append((len(x[0]), torch.is_grad_enabled())))
    with rounding(recipe.precision, images):
        with autocast(recipe.precision, CPU):
            loss = method.loss(net, Batch(images, torch.arange(12) % 10, mask), after_start())
        loss.backward()
    gradients = [torch.zeros(1) if p.grad is None else p.grad for p in net.parameters()]
    return passes, [loss, *gradients, *net.buffers()]


@pytest.mark.parametrize("noise", [[], [3], [0, 1, 5, 11], list(range(10)), list(range(11)), list(range(12))], ids=len)
@pytest.mark.parametrize("settings", [(), ("open.control=drop",), ("recipe.backbone=resnet20",)], ids=str)
def test_apart_or_together_is_the_same(
    settings: tuple[str, ...], noise: list[int], request: pytest.FixtureRequest
) -> None:
    passes, first = trained(settings, noise)
    natural, built = 12 - len(noise), [(len(noise), False)] if noise and "open.control=drop" not in settings else []
    assert passes == ([*built, (natural, True)] if natural > 1 else [(12, True)])
    request.getfixturevalue("slots")
    passes, second = trained(settings, noise)
    assert passes == [(12, True)]
    for left, other in zip(first, second, strict=True):
        torch.testing.assert_close(left, other, atol=2e-5, rtol=1e-3)


def test_every_layer_learns_in_bfloat16() -> None:
    """Autocast caches casts of weights; the pass with gradients must not reuse a cast of the pass without gradients."""
    passes, (_, *gradients) = trained(("recipe.precision=bf16",), [0, 1, 5, 11])
    assert passes == [(4, False), (8, True)]
    _, (_, *expected) = trained((), [0, 1, 5, 11])
    for left, other in zip(gradients, expected, strict=True):
        if other.is_floating_point() and other.dim() > 1:
            assert (left - other).norm() < 0.2 * other.norm()


@pytest.mark.parametrize("field", ["norm=auxiliary", "norm=standard", "noise_grad=full", "noise_grad=affine_frozen"])
def test_noise_that_teaches_stays_in_the_batch(field: str) -> None:
    passes, _ = trained((f"open.{field}",), [0, 1, 2])
    assert passes == [(12, True)]


@pytest.mark.parametrize("name", ["resnet20", "wrn-16-2", "densenet40", "timm:resnet18"])
def test_every_backbone_of_the_suite_keeps_noise_from_learning(name: str) -> None:
    net = Classifier(convert_batchnorm(build_backbone(name), "dar", noise_grad="stop"), LinearHead, 10)
    before, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    assert teaches_the_head_alone(net, torch.Size((3, 32, 32)))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    width = build_backbone(name).width
    net.backbone = nn.Sequential(*net.backbone, nn.Linear(width, width))  # trainable, but not followed by a batch norm
    assert not teaches_the_head_alone(net, torch.Size((3, 32, 32)))


def test_what_learns_behind_a_layer_of_zeros_is_noticed() -> None:
    net = Classifier(convert_batchnorm(build_backbone("timm:seresnet18"), "dar", noise_grad="stop"), LinearHead, 10)
    assert not teaches_the_head_alone(net, torch.Size((3, 32, 32)))
