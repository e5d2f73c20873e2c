"""DAR-BN in networks: types, several steps, graphs."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from ltbench.benchmarks.backbones import build_backbone
from ltbench.benchmarks.dar_batch_norm import DARBatchNorm2d, NoiseAware, noise_rows
from naive_dar import NaiveDAR, masks
from torch import Tensor, nn

MODES = ("stop", "affine_frozen", "full")


@pytest.mark.parametrize("mode", MODES)
def test_bfloat16_autocast_keeps_the_type_and_exact_statistics(mode: str) -> None:
    x = torch.randn(32, 4, 8, 8).bfloat16()
    mask = torch.arange(32) < 8
    exact, made = DARBatchNorm2d(4, noise_grad=mode).double(), DARBatchNorm2d(4, noise_grad=mode)
    for module in (exact, made):
        nn.init.constant_(module.weight, 2)
        nn.init.constant_(module.bias, 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        x.requires_grad_()
        with noise_rows(made, mask):
            out = made(x)
    out.sum().backward()
    assert x.grad is not None
    assert out.dtype == x.grad.dtype == torch.bfloat16
    with noise_rows(exact, mask):
        reference = exact(x.double())
    torch.testing.assert_close(out.double(), reference, atol=1e-2, rtol=2**-8)
    torch.testing.assert_close(made.running_var.double(), exact.running_var, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_whole_network_equals_the_listing_over_four_steps(mode: str) -> None:
    """Float64: in float32, flips of ReLU signs would amplify rounding."""
    nets = []
    for norm in (lambda width: DARBatchNorm2d(width, noise_grad=mode), NaiveDAR):
        torch.manual_seed(0)
        nets.append(nn.Sequential(build_backbone("resnet8-narrow", norm), nn.Linear(32, 10)).double())
    for module in nets[1].modules():
        if isinstance(module, NaiveDAR):
            module.grad = mode
    images, labels = torch.rand(4, 12, 3, 8, 8, dtype=torch.float64), torch.randint(10, (4, 12))
    for net in nets:
        generator = torch.Generator().manual_seed(1)
        optimiser = torch.optim.SGD(net.parameters(), 0.1, 0.9)
        for x, y in zip(images, labels, strict=True):
            mask = torch.rand(12, generator=generator) < 0.3
            NaiveDAR.mask = mask
            with noise_rows(net, mask) if net is nets[0] else contextlib.nullcontext():
                loss = nn.functional.cross_entropy(net(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    NaiveDAR.mask = None
    for key, value in nets[1].state_dict().items():
        torch.testing.assert_close(nets[0].state_dict()[key], value, atol=1e-10, rtol=1e-10)


def test_one_graph_serves_every_mask() -> None:
    """fullgraph=True fails on a graph break; `None` is a second graph."""
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = NoiseAware(nn.Sequential(nn.Conv2d(3, 4, 3), DARBatchNorm2d(4), nn.ReLU(), DARBatchNorm2d(4)))
    compiled = torch.compile(net, backend=backend, fullgraph=True)
    x = torch.rand(6, 3, 8, 8)
    for mask in masks(6):
        before = {key: value.clone() for key, value in net.state_dict().items()}
        expected = net(x, mask)
        net.load_state_dict(before)
        torch.testing.assert_close(compiled(x, mask), expected)
    assert len(graphs) == 1
    compiled(x)
    compiled(x, masks(6)[1])
    assert len(graphs) == 2
