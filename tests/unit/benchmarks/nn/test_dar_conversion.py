"""Conversion of whole models, passing of noise masks to layers, and gradients of noise images."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from ltbench.benchmarks.network import Classifier, LinearHead
from ltbench.benchmarks.nn.backbones import build_backbone
from ltbench.benchmarks.nn.dar_batch_norm import (
    AuxiliaryBatchNorm2d,
    DARBatchNorm1d,
    DARBatchNorm2d,
    NoiseAware,
    batchnorms,
    convert_batchnorm,
    noise_rows,
)
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

BACKBONES = ("resnet32", "wrn-16-2", "timm:resnet10t")
MASK = torch.tensor([False, True, False, False, True, False])


def network(name: str, kind: Any = "dar", **options: Any) -> Classifier:
    torch.manual_seed(0)
    backbone = build_backbone(name)
    if kind is not None:
        convert_batchnorm(backbone, kind, **options)
    for norm in batchnorms(backbone):
        nn.init.ones_(norm.weight)  # timm initialises some weights with 0, which blocks the gradient of a branch
    return Classifier(backbone, LinearHead, 10)


def images(name: str) -> Tensor:
    return torch.rand(6, 3, *((32, 32) if name.startswith("timm") else (16, 16)))


def gradients(net: nn.Module, loss: Tensor) -> dict[str, bool]:
    """Whether each parameter has a non-zero gradient, by name."""
    net.zero_grad()
    loss.backward()
    return {name: p.grad is not None and bool(p.grad.abs().sum() > 0) for name, p in net.named_parameters()}


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("mode", ["stop", "affine_frozen", "full"])
def test_what_noise_rows_teach(name: str, mode: str) -> None:
    """Noise rows train the head alone (stop), all parameters except gamma and beta (affine_frozen), or all (full)."""
    net = network(name, noise_grad=mode)
    with noise_rows(net.backbone, MASK):
        logits = net(images(name))
    learns = gradients(net, F.cross_entropy(logits[MASK], torch.tensor([1, 2])))
    affine = {f"backbone.{path}.{part}" for path, module in net.backbone.named_modules()
              if module in batchnorms(net.backbone) for part in ("weight", "bias")}  # fmt: skip
    convolutions = {name for name in learns if name.startswith("backbone.")} - affine
    assert {name for name in learns if name.startswith("head.")} <= {name for name, does in learns.items() if does}
    assert len(convolutions) > 10
    assert all(learns[name] == (mode != "stop") for name in convolutions)
    assert all(learns[name] == (mode == "full") for name in affine)


@pytest.mark.parametrize("name", BACKBONES)
def test_stop_leaves_the_gradient_of_the_natural_images(name: str) -> None:
    x, labels = images(name).double(), torch.tensor([3, 1, 2, 0, 5, 7])
    results = []
    for rows in (slice(None), ~MASK):
        net = network(name).double()
        features = net.backbone
        with noise_rows(features, MASK[rows]):
            logits = F.linear(features(x[rows]), net.head.weight, net.head.bias)  # type: ignore[arg-type]
        F.cross_entropy(logits, labels[rows]).backward()
        results.append([parameter.grad for parameter in features.parameters()])
    fraction = float((~MASK).sum()) / len(MASK)
    for mixed, natural in zip(*results, strict=True):
        torch.testing.assert_close(mixed, fraction * natural, atol=1e-12, rtol=1e-9)


def test_only_the_auxiliary_norm_learns_from_noise_rows() -> None:
    net = network("resnet20", "auxiliary")
    with noise_rows(net.backbone, MASK):
        logits = net(images("resnet20"))
    learns = gradients(net, F.cross_entropy(logits[MASK], torch.tensor([1, 2])))
    for norm in ("stem.1", "stage3.2.norm1"):
        assert learns[f"backbone.{norm}.noise.weight"]
        assert not learns[f"backbone.{norm}.weight"]
    assert learns["backbone.stage1.0.conv1.weight"]
    with noise_rows(net.backbone, torch.zeros(6, dtype=torch.bool)):
        net(images("resnet20")).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("name", BACKBONES)
def test_checkpoints_move_both_ways(name: str) -> None:
    plain, routed = network(name, None), network(name)
    assert plain.state_dict().keys() == routed.state_dict().keys()
    with noise_rows(routed.backbone, MASK):
        routed(images(name))
    plain.load_state_dict(routed.state_dict())
    x = images(name)
    assert torch.equal(plain.eval()(x), routed.eval()(x))
    other = network(name)
    other.load_state_dict(plain.state_dict())
    assert torch.equal(other.eval()(x), plain(x))


def test_conversion_keeps_identity_state_and_mode() -> None:
    net = build_backbone("resnet20").double()
    net.stage1.eval()  # type: ignore[union-attr]
    before = {name: (id(module), module.training) for name, module in net.named_modules()}
    parameters = {name: id(parameter) for name, parameter in net.named_parameters()}
    assert convert_batchnorm(net) is net
    convert_batchnorm(net, noise_grad="full")
    norms = batchnorms(net)
    assert all(type(norm) is DARBatchNorm2d and norm.noise_grad == "full" for norm in norms)
    assert len({id(norm.routing) for norm in norms}) == 1  # type: ignore[arg-type]
    assert {name: (id(module), module.training) for name, module in net.named_modules()} == before
    assert {name: id(parameter) for name, parameter in net.named_parameters()} == parameters
    convert_batchnorm(net, "auxiliary")
    assert all(type(norm) is AuxiliaryBatchNorm2d for norm in norms)
    convert_batchnorm(net, "standard")
    assert all(type(norm) is nn.BatchNorm2d for norm in batchnorms(net))
    assert net.state_dict().keys() == build_backbone("resnet20").state_dict().keys()


@pytest.mark.parametrize("start", ["copy", "fresh"])
def test_state_of_a_new_auxiliary_norm(start: Any) -> None:
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.fill_(2)
        norm.running_mean.fill_(7)  # type: ignore[union-attr]
    converted: Any = convert_batchnorm(norm, "auxiliary", noise_init=start)
    assert converted.noise.weight.tolist() == [2 if start == "copy" else 1] * 3
    assert converted.noise.running_mean.tolist() == [7 if start == "copy" else 0] * 3
    assert converted.noise.weight is not converted.weight


def test_other_batch_norms() -> None:
    """timm's batch norm with activation, SyncBatchNorm, BatchNorm1d, a model of one layer, and a layer used twice."""
    import timm

    converted = convert_batchnorm(timm.create_model("efficientnet_lite0", num_classes=0))
    plain = timm.create_model("efficientnet_lite0", num_classes=0)
    plain.load_state_dict(converted.state_dict())
    x = torch.rand(4, 3, 32, 32)
    assert torch.equal(converted.eval()(x), plain.eval()(x))
    with noise_rows(converted.train(), torch.arange(4) < 2):
        routed = converted(x)
    first = plain.train().bn1(plain.conv_stem(x[2:]))
    with noise_rows(converted, torch.arange(4) < 2):
        torch.testing.assert_close(converted.bn1(converted.conv_stem(x))[2:], first)
    assert torch.isfinite(routed).all()
    sync: Any = convert_batchnorm(nn.SyncBatchNorm(3))
    assert sync.sync
    shared = nn.BatchNorm1d(3)
    twice = convert_batchnorm(nn.Sequential(shared, nn.ReLU(), shared))
    assert type(twice[0]) is DARBatchNorm1d  # type: ignore[index]
    assert len(batchnorms(twice)) == 1


def test_what_cannot_be_converted_is_refused() -> None:
    with pytest.raises(ValueError, match="no batch norm"):
        convert_batchnorm(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)))

    class Own(nn.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) + 1

    with pytest.raises(TypeError, match="Own has a custom forward pass"):
        convert_batchnorm(Own(3))


def test_mask_is_cleared_after_use_and_after_an_error() -> None:
    net = nn.Sequential(DARBatchNorm2d(3), nn.Flatten(), nn.Linear(5, 2))
    aware = NoiseAware(net)
    for call in (lambda: aware(torch.rand(6, 3, 2, 2), MASK), lambda: _within(net)):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            call()
        assert net[0].routing.rows is None  # type: ignore[union-attr]


def _within(net: nn.Module) -> None:
    with noise_rows(net, MASK):
        net(torch.rand(6, 3, 2, 2))


def test_misuse_is_noticed() -> None:
    half = nn.Sequential(DARBatchNorm2d(3), nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match="1 of 2 batch norms of Sequential take no noise mask"):
        NoiseAware(half)
    with pytest.raises(ValueError, match="take no noise mask"), noise_rows(half, MASK):
        pass
    replaced = NoiseAware(nn.Sequential(DARBatchNorm2d(3)))
    replaced.model = nn.SyncBatchNorm.convert_sync_batchnorm(replaced.model)
    with pytest.raises(ValueError, match="take no noise mask"):
        replaced(torch.rand(6, 3, 2, 2), MASK)
    layer = DARBatchNorm2d(3)
    with noise_rows(layer, MASK), pytest.raises(ValueError, match="has 6 entries but the layer's input has 12 rows"):
        layer(torch.rand(12, 3, 2, 2))
    layer._is_replica = True  # type: ignore[assignment]  # set by DataParallel on its copies
    with noise_rows(layer, MASK), pytest.raises(RuntimeError, match="DistributedDataParallel"):
        layer(torch.rand(3, 3, 2, 2))
    own = nn.SyncBatchNorm(3)
    own.process_group = object()
    with pytest.raises(TypeError, match="custom process group"):
        convert_batchnorm(own)


def test_copies_have_a_mask_of_their_own() -> None:
    net = convert_batchnorm(nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3)))
    other = copy.deepcopy(net)
    with noise_rows(net, MASK):
        assert other[0].routing.rows is None  # type: ignore[index,union-attr]
        assert other[0].routing is other[1].routing  # type: ignore[index,union-attr]


def test_conversion_back_leaves_an_ordinary_layer() -> None:
    norm = nn.BatchNorm2d(3)
    before = set(vars(norm))
    convert_batchnorm(convert_batchnorm(norm, "auxiliary"), "standard")
    assert set(vars(norm)) == before
    assert type(norm) is nn.BatchNorm2d


@pytest.mark.parametrize("kind", ["dar", "auxiliary"])
def test_converted_models_can_be_pickled(kind: Any) -> None:
    import timm

    model = convert_batchnorm(timm.create_model("efficientnet_lite0", num_classes=0), kind, noise_grad="full")
    again = pickle.loads(pickle.dumps(model))
    assert [type(norm) for norm in batchnorms(again)] == [type(norm) for norm in batchnorms(model)]
    assert len({id(norm.routing) for norm in batchnorms(again)}) == 1  # type: ignore[arg-type]
    x = torch.rand(4, 3, 32, 32)
    with noise_rows(model, MASK[:4]), noise_rows(again, MASK[:4]):
        assert torch.equal(model(x), again(x))


def test_a_new_auxiliary_norm_is_frozen_like_the_natural_one() -> None:
    converted: Any = convert_batchnorm(nn.BatchNorm2d(3).requires_grad_(False), "auxiliary")
    assert not converted.noise.weight.requires_grad


def test_masks_may_be_nested() -> None:
    layer = DARBatchNorm2d(3)
    x = torch.rand(6, 3, 2, 2)
    with noise_rows(layer, MASK):
        expected = layer(x)
        with noise_rows(layer, ~MASK), noise_rows(layer, None):
            assert not torch.allclose(layer(x), expected)
        assert torch.equal(layer(x), expected)


def test_activation_checkpointing() -> None:
    """Recomputation without the mask is an error; with a function that sets the mask itself, gradients are the same."""
    net = convert_batchnorm(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.BatchNorm2d(4)))
    inner = net[0]  # type: ignore[index]
    x = torch.rand(6, 3, 8, 8, requires_grad=True)
    with noise_rows(net, MASK):
        out = checkpoint(inner, x, use_reentrant=False)
    with pytest.raises(RuntimeError, match="activation checkpointing"):
        out.sum().backward()
    checkpoint(inner, x, use_reentrant=False).sum().backward()  # a step without a mask is allowed

    def with_mask(x: Tensor) -> Any:
        with noise_rows(inner, MASK):
            return inner(x)

    results = []
    for function in (inner, with_mask, lambda x: checkpoint(with_mask, x, use_reentrant=False)):
        net.zero_grad()
        with noise_rows(net, MASK):
            out = net[1](function(x))  # type: ignore[index]
        (out**3).sum().backward()
        results.append([out.detach(), *(parameter.grad.clone() for parameter in net.parameters())])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
