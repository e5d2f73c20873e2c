"""DAR-BN with autocast, in several steps of a network, in compiled graphs and in frozen layers."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from helpers.naive_dar import NaiveDAR, masks
from ltbench.benchmarks.nn.backbones import build_backbone
from ltbench.benchmarks.nn.dar_batch_norm import DARBatchNorm2d, NoiseAware, convert_batchnorm, noise_rows
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

X = torch.tensor([[1, 3], [10, 14], [5, 7], [-2, 2]], dtype=torch.float64).view(4, 1, 1, 2)
MASK = torch.tensor([False, True, False, True])
MODES = ("stop", "affine_frozen", "full")


@pytest.mark.parametrize("mode", MODES)
def test_bfloat16_autocast_keeps_the_type_and_exact_statistics(mode: str) -> None:
    x = torch.randn(32, 4, 8, 8).bfloat16()
    mask = torch.arange(32) < 8
    exact, norm = DARBatchNorm2d(4, noise_grad=mode).double(), DARBatchNorm2d(4, noise_grad=mode)
    for module in (exact, norm):
        nn.init.constant_(module.weight, 2)
        nn.init.constant_(module.bias, 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        x.requires_grad_()
        with noise_rows(norm, mask):
            out = norm(x)
    out.sum().backward()
    assert x.grad is not None
    assert out.dtype == x.grad.dtype == torch.bfloat16
    with noise_rows(exact, mask):
        reference = exact(x.double())
    torch.testing.assert_close(out.double(), reference, atol=1e-2, rtol=2**-8)
    torch.testing.assert_close(norm.running_var.double(), exact.running_var, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_whole_network_equals_the_listing_over_four_steps(mode: str) -> None:
    """In float64, because flips of ReLU signs would amplify float32 rounding."""
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


@pytest.mark.parametrize("mode", MODES)
def test_one_graph_serves_every_mask(mode: str) -> None:
    """Gradients and running statistics equal those without compilation; fullgraph=True fails on a graph break."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), DARBatchNorm2d(4), nn.ReLU(), DARBatchNorm2d(4))
    net = NoiseAware(convert_batchnorm(layers, noise_grad=mode)).double()  # type: ignore[arg-type]
    other = copy.deepcopy(net)
    compiled = torch.compile(net, backend=counter, fullgraph=True)
    x = torch.rand(6, 3, 8, 8, dtype=torch.float64)
    for mask in [*masks(6), None]:
        for module, call in ((net, compiled), (other, other)):
            module.zero_grad()
            (call(x, mask) ** 3).sum().backward()
        for a, b in zip(net.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad)
        torch.testing.assert_close(net.state_dict(), other.state_dict())
    assert counter.frame_count == 2  # one graph with a mask, one without
    compiled(x, masks(6)[1])
    assert counter.frame_count == 2


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.float32])
def test_a_mask_that_is_not_of_booleans_is_refused(kind: torch.dtype) -> None:
    with pytest.raises(TypeError, match=r"Write mask\.bool"), noise_rows(DARBatchNorm2d(1).double(), MASK.to(kind)):
        pass


def test_frozen_layers() -> None:
    """Layers in evaluation mode during training: `batch` keeps infinite noise out of all gradients, `running` warns."""
    x = X.clone()
    x[MASK] = float("inf")
    norm = DARBatchNorm2d(1, eval_noise="batch").double().eval()
    with noise_rows(norm, MASK):
        norm(x.requires_grad_())[~MASK].sum().backward()
    assert torch.isfinite(norm.weight.grad).all()
    assert (x.grad[MASK] == 0).all()  # type: ignore[index]
    norm = DARBatchNorm2d(1).double().eval()
    with noise_rows(norm, MASK), pytest.warns(UserWarning, match="ignores the noise mask"):
        norm(X.clone().requires_grad_())


def test_an_empty_batch_gives_an_empty_output() -> None:
    norm = DARBatchNorm2d(1).double()
    with noise_rows(norm, MASK[:0]):
        assert norm(X[:0]).shape == (0, 1, 1, 2)
    assert int(norm.num_batches_tracked) == 0
