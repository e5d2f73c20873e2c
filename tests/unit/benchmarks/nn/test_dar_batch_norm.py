"""DAR-BN: worked examples, comparison with a naive implementation of the paper's listing, corner cases."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers.naive_dar import NaiveDAR, masks
from ltbench.benchmarks.nn.dar_batch_norm import (
    AuxiliaryBatchNorm2d,
    DARBatchNorm1d,
    DARBatchNorm2d,
    DARBatchNorm3d,
    noise_rows,
)
from ltbench.benchmarks.nn.dar_batch_norm.arithmetic import NormaliseGroups, rows_of
from torch import Tensor, nn

X = torch.tensor([[1, 3], [10, 14], [5, 7], [-2, 2]], dtype=torch.float64).view(4, 1, 1, 2)
UP = torch.tensor([[1, 0], [1, 0], [0, -1], [0, 2]], dtype=torch.float64).view(4, 1, 1, 2)
MASK = torch.tensor([False, True, False, True])
OUT = [[-2.183279, -0.394426], [1.764911, 3.029822], [1.394426, 3.183279], [-2.029822, -0.764911]]
NATURAL = ([0.089444, -0.268327], [0.268327, -0.089444])
NOISE = ([0.110680, -0.173925], [-0.300416, 0.363662])
MODES = ("stop", "affine_frozen", "full")


def layer(cls: type = DARBatchNorm2d, channels: int = 1, **options: Any) -> Any:
    norm = cls(channels, **options).double()
    nn.init.constant_(norm.weight, 2)
    nn.init.constant_(norm.bias, 0.5)
    return norm


def run(norm: Any, x: Tensor, mask: Tensor | None, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """Output of a layer, and gradient with respect to its input."""
    x = x.clone().requires_grad_()
    with noise_rows(norm, mask):
        out = norm(x)
    out.backward(upstream)
    assert x.grad is not None
    return out.detach(), x.grad


def close(actual: Tensor, expected: Any, tolerance: float = 6e-7) -> None:
    torch.testing.assert_close(
        actual.double(), torch.tensor(expected, dtype=torch.float64).view_as(actual), atol=tolerance, rtol=0
    )


@pytest.mark.parametrize(
    ("mode", "noise", "weight", "bias"),
    [
        ("stop", ([0.0, 0.0], [0.0, 0.0]), -2.683279, 0.0),
        ("affine_frozen", NOISE, -2.683279, 0.0),
        ("full", NOISE, -3.315734, 3.0),
    ],
)
def test_worked_example(mode: str, noise: tuple[list[float], list[float]], weight: float, bias: float) -> None:
    norm = layer(noise_grad=mode)
    out, into = run(norm, X, MASK, UP)
    close(out, OUT)
    close(into, [NATURAL[0], noise[0], NATURAL[1], noise[1]])
    close(norm.weight.grad, [weight])
    close(norm.bias.grad, [bias])
    close(norm.running_mean, [0.4], 1e-12)
    close(norm.running_var, [0.9 + 0.1 * 5 * 4 / 3], 1e-12)
    assert int(norm.num_batches_tracked) == 1


def test_worked_example_auxiliary() -> None:
    norm = layer(AuxiliaryBatchNorm2d)
    out, into = run(norm, X, MASK, UP)
    close(out, [OUT[0], [0.632455, 1.264911], OUT[2], [-1.264911, -0.632455]])
    close(into, [NATURAL[0], [0.055340, -0.086963], NATURAL[1], [-0.150208, 0.181831]])
    close(norm.weight.grad, [-2.683279])
    close(norm.noise.weight.grad, [-0.632455])
    close(norm.noise.bias.grad, [3.0])
    close(norm.running_mean, [0.4], 1e-12)
    close(norm.running_var, [1.566667])
    close(norm.noise.running_mean, [0.6], 1e-12)
    close(norm.noise.running_var, [6.233333])


def test_worked_example_standard() -> None:
    norm = layer(nn.BatchNorm2d)
    x = X.clone().requires_grad_()
    out = norm(x)
    out.backward(UP)
    close(out.detach(), [[-1.150274, -0.325137], [2.562842, 4.213116], [0.5, 1.325137], [-2.387979, -0.737705]])
    assert x.grad is not None
    close(
        x.grad, [[0.196409, -0.185436], [0.334663, -0.016459], [-0.154713, -0.536558], [-0.262244, 0.624339]]
    )  # fmt: skip
    close(norm.weight.grad, [-1.443989])
    close(norm.running_var, [3.585714])


def test_evaluation_is_plain_batch_norm_whatever_the_mask() -> None:
    norm = layer().eval()
    expected = 2 * X / math.sqrt(1.00001) + 0.5
    for mask in (None, MASK):
        with noise_rows(norm, mask):
            assert torch.allclose(norm(X), expected, atol=1e-12)
    close(norm(X)[0, 0, 0, :1], [2.499990])
    close(norm(X)[1, 0, 0, 1:], [28.499860])


SHAPES = [(DARBatchNorm1d, (6, 3)), (DARBatchNorm1d, (5, 2, 7)), (DARBatchNorm2d, (7, 8, 3, 5)),
          (DARBatchNorm2d, (16, 4, 8, 8)), (DARBatchNorm3d, (5, 2, 3, 2, 4))]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("cls", "shape"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_listing(cls: type, shape: tuple[int, ...], mode: str, dtype: torch.dtype) -> None:
    """Forward, backward and running statistics, with no, one, some, nearly all and only noise rows."""
    generator = torch.Generator().manual_seed(0)
    tight = {"atol": 1e-10, "rtol": 1e-10} if dtype == torch.float64 else {"atol": 1e-5, "rtol": 1e-5}
    for mask in masks(shape[0]):
        if shape[2:] == () and int((~mask).sum()) == 1:
            continue  # the listing raises for one natural element per channel
        x = torch.randn(shape, generator=generator, dtype=dtype) * 3 + 5
        upstream = torch.randn(shape, generator=generator, dtype=dtype)
        norm, naive = cls(shape[1], noise_grad=mode).to(dtype), NaiveDAR(shape[1]).to(dtype)
        naive.grad = mode
        for module in (norm, naive):
            nn.init.normal_(module.weight, 1, 0.3, generator=torch.Generator().manual_seed(1))
            nn.init.normal_(module.bias, generator=torch.Generator().manual_seed(2))
        naive._check_input_dim = lambda input: None  # type: ignore[method-assign]
        out, into = run(norm, x, mask, upstream)
        NaiveDAR.mask = mask
        reference = x.clone().requires_grad_()
        result = naive(reference)
        if result.requires_grad:
            result.backward(upstream)
        NaiveDAR.mask = None
        torch.testing.assert_close(out, result.detach(), **tight)
        torch.testing.assert_close(into, reference.grad if reference.grad is not None else torch.zeros_like(x), **tight)
        loose = tight if dtype == torch.float64 else {"atol": 5e-5, "rtol": 1e-5}
        for name in ("weight", "bias"):
            actual, expected = getattr(norm, name).grad, getattr(naive, name).grad
            torch.testing.assert_close(actual, torch.zeros_like(actual) if expected is None else expected, **loose)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            torch.testing.assert_close(getattr(norm, name), getattr(naive, name), **tight)


def test_gradients_of_both_groups_against_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    affine = [torch.randn(2, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(4)]
    mask = torch.tensor([True, False, False, True, False])

    def out(*inputs: Tensor) -> Tensor:
        norm: Tensor = NormaliseGroups.apply(inputs[0], *rows_of(mask), *inputs[1:], 1e-5, True, True, False)[0]
        return norm

    assert torch.autograd.gradcheck(out, (x, *affine))


def test_statistics_do_not_cancel() -> None:
    """With mean 30 and standard deviation 0.02, the error of E[x^2] - E[x]^2 in float32 is tens of percent."""
    x = torch.randn(64, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.02 + 30
    norm = DARBatchNorm2d(2, eps=0)
    with noise_rows(norm, torch.arange(64) < 16):
        out = norm(x.float())
    natural = x.float().double()[16:]
    expected = (natural - natural.mean((0, 2, 3), keepdim=True)) / natural.std((0, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(out[16:].double(), expected, atol=2e-4, rtol=0)


def test_phase_without_mask_is_plain_batch_norm_to_the_last_bit() -> None:
    plain, norm = nn.BatchNorm2d(3), DARBatchNorm2d(3)
    x, upstream = torch.randn(8, 3, 4, 4), torch.randn(8, 3, 4, 4)
    for module in (plain, norm):
        module(x).backward(upstream)
    assert torch.equal(plain.weight.grad, norm.weight.grad)  # type: ignore[arg-type]
    assert all(torch.equal(plain.state_dict()[k], v) for k, v in norm.state_dict().items())


@pytest.mark.parametrize("content", [1e3, float("inf"), float("nan")])
@pytest.mark.parametrize("cls", [DARBatchNorm2d, AuxiliaryBatchNorm2d])
def test_natural_rows_do_not_depend_on_the_content_of_noise_rows(cls: type, content: float) -> None:
    x, upstream = torch.randn(6, 3, 4, 4), torch.randn(6, 3, 4, 4)
    mask = torch.arange(6) % 3 == 1
    results = []
    for value in (0.0, content):
        norm = cls(3, noise_grad="stop")
        changed = x.clone()
        changed[mask] = changed[mask] * 0 + value if value == 0 else value
        out, into = run(norm, changed, mask, upstream)
        assert (into[mask] == 0).all()
        results.append((out[~mask], into[~mask], norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert all(torch.isfinite(part).all() for part in results[1])


def test_permuting_the_batch_permutes_the_output() -> None:
    x, order, mask = torch.randn(9, 3, 4, 4, dtype=torch.float64), torch.randperm(9), torch.arange(9) < 4
    outs = []
    for rows in (torch.arange(9), order):
        norm = layer(channels=3)
        with noise_rows(norm, mask[rows]):
            outs.append(norm(x[rows]))
    torch.testing.assert_close(outs[0][order], outs[1], atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("mask", "tracked"), [((0, 1, 1), 0), ((0, 0, 1), 1), ((1, 1, 1), 0)], ids=["one natural", "two", "only noise"]
)
def test_a_single_natural_element_changes_no_running_statistics(mask: tuple[int, ...], tracked: int) -> None:
    norm = layer(DARBatchNorm1d, 2)
    x = torch.randn(3, 2, dtype=torch.float64)
    rows = torch.tensor(mask, dtype=torch.bool)
    out, into = run(norm, x, rows, torch.ones_like(x))
    assert int(norm.num_batches_tracked) == tracked
    assert torch.equal(norm.running_mean, torch.zeros(2, dtype=torch.float64)) == (not tracked)
    if sum(mask) == 2:
        close(out[0], [0.5, 0.5], 1e-12)
    assert torch.isfinite(out).all()
    assert torch.isfinite(into).all()


def test_one_noise_element_and_a_constant_channel_give_beta() -> None:
    norm = layer(DARBatchNorm1d)
    with noise_rows(norm, torch.tensor([True, False, False])):
        out = norm(torch.tensor([[9.0], [1.0], [3.0]], dtype=torch.float64))
        assert out[0].tolist() == [0.5]
        assert (norm(torch.full((3, 1), 7.0, dtype=torch.float64)) == 0.5).all()


@pytest.mark.parametrize("options", [{"momentum": None}, {"affine": False}, {"track_running_stats": False}])
@pytest.mark.parametrize("noise", [False, True])
def test_options_of_batch_norm(options: dict[str, Any], noise: bool) -> None:
    """Natural rows equal those of a plain layer with the same options, in training and in evaluation mode."""
    plain, norm = nn.BatchNorm2d(3, **options).double(), DARBatchNorm2d(3, **options).double()
    for _ in range(3):
        natural = torch.randn(5, 3, 4, 4, dtype=torch.float64)
        x = torch.cat([natural, torch.randn(2, 3, 4, 4, dtype=torch.float64)]) if noise else natural
        with noise_rows(norm, torch.arange(len(x)) >= 5):
            torch.testing.assert_close(norm(x)[:5], plain(natural), atol=1e-10, rtol=0)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[key], value, atol=1e-10, rtol=0)
    torch.testing.assert_close(norm.eval()(natural), plain.eval()(natural), atol=1e-10, rtol=0)


def test_momentum_none_counts_only_batches_with_natural_rows() -> None:
    norm = DARBatchNorm1d(1, momentum=None).double()
    x = torch.tensor([[0.0], [2.0], [4.0]], dtype=torch.float64)
    for mask in ([False, False, False], [True, True, True], [False, False, True]):
        with noise_rows(norm, torch.tensor(mask)):
            norm(x)
    assert int(norm.num_batches_tracked) == 2
    close(norm.running_mean, [(2 + 1) / 2], 1e-12)


def test_evaluation_with_batch_statistics_for_noise() -> None:
    norm = layer(eval_noise="batch").eval()
    plain = norm(X)
    with noise_rows(norm, MASK):
        out = norm(X)
    assert torch.equal(out[~MASK], plain[~MASK])
    close(out[MASK], [OUT[1], OUT[3]])
    assert int(norm.num_batches_tracked) == 0


def test_a_layer_called_twice_tracks_twice() -> None:
    norm = layer()
    with noise_rows(norm, MASK):
        norm(norm(X))
    assert int(norm.num_batches_tracked) == 2


def test_auxiliary_norm_counts_its_elements_and_may_be_frozen() -> None:
    """With three noise rows of two elements each, the unbiased noise variance uses n = 6, not the natural row's 2."""
    norm = layer(AuxiliaryBatchNorm2d, noise_grad="affine_frozen")
    run(norm, X, torch.tensor([True, True, False, True]), UP)
    noise = X[[0, 1, 3]].flatten()
    close(norm.noise.running_var, [0.9 + 0.1 * float(noise.var())], 1e-12)
    assert norm.noise.weight.grad is norm.noise.bias.grad is None
