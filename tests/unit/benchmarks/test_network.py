"""Shapes, parameters and arithmetic of backbones and heads."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers.tiny import tiny_run
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.network import Classifier, CosineHead, LinearHead
from ltbench.benchmarks.nn.backbones import backbone_names, build_backbone
from ltbench.benchmarks.nn.backbones.cifar_resnet import Shortcut
from ltbench.benchmarks.nn.backbones.wide_resnet import wide_resnet
from ltbench.benchmarks.training.run_spec import build_network
from torch import nn


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        ("resnet20", 10, 269_722),
        ("resnet32", 10, 464_154),
        ("resnet32", 100, 470_004),
        ("resnet44", 10, 658_586),
        ("resnet56", 10, 853_018),
        ("resnet110", 10, 1_727_962),
        ("wrn-28-10", 10, 36_479_194),
        ("wrn-28-10-dropout", 10, 36_479_194),
        ("densenet40", 10, 1_059_298),
        ("densenet40", 100, 1_100_428),
        ("resnext29-8x64d", 10, 34_426_698),
        ("resnext29-8x64d", 100, 34_518_948),
        ("wrn-28-10", 100, 36_536_884),
    ],
)
def test_parameter_counts(name: str, classes: int, count: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
        assert parameters(Classifier(backbone, LinearHead, classes)) == count


def test_dropout_changes_only_training() -> None:
    plain, dropping = (wide_resnet(10, 1, dropout, nn.BatchNorm2d) for dropout in (0.0, 0.3))
    dropping.load_state_dict(plain.state_dict())
    images = torch.rand(4, 3, 16, 16)
    assert not torch.allclose(plain(images), dropping(images))
    dropping.load_state_dict(plain.state_dict())
    assert torch.equal(plain.eval()(images), dropping.eval()(images))


@pytest.mark.parametrize(("classes", "count"), [(10, 464_144), (100, 469_904)])
def test_parameter_counts_with_cosine_head(classes: int, count: int) -> None:
    backbone = build_backbone("resnet32")
    assert parameters(Classifier(backbone, CosineHead, classes)) == count


def test_stage_shapes_of_resnet32() -> None:
    maps = torch.rand(2, 3, 32, 32)
    shapes = {}
    for name, stage in build_backbone("resnet32").named_children():
        maps = stage(maps)
        shapes[name] = tuple(maps.shape[1:])
    assert shapes == {
        "stem": (16, 32, 32), "stage1": (16, 32, 32), "stage2": (32, 16, 16), "stage3": (64, 8, 8), "pool": (64,)
    }  # fmt: skip


def test_shortcut_pads_channels_on_both_sides() -> None:
    maps = torch.rand(2, 16, 6, 6)
    out = Shortcut(32)(maps)
    assert torch.equal(out[:, 8:24], maps[:, :, ::2, ::2])
    assert out[:, :8].abs().sum() == out[:, 24:].abs().sum() == 0


def test_initial_weights_are_kaiming_over_the_fan_in() -> None:
    backbone = build_backbone("resnet32").requires_grad_(False)
    conv = backbone.stage3[4].conv2  # type: ignore[union-attr,index]
    assert float(conv.weight.std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    head = LinearHead(64, 1000).requires_grad_(False)
    assert float(head.weight.std()) == pytest.approx((2 / 64) ** 0.5, rel=0.02)
    assert float(head.bias.abs().max()) <= 1 / 8


@pytest.mark.parametrize("name", backbone_names())
def test_every_backbone_can_be_cut_and_takes_another_norm(name: str) -> None:
    widths = []

    def norm(width: int) -> nn.Module:
        widths.append(width)
        return nn.BatchNorm2d(width)

    with torch.device("meta"):
        backbone = build_backbone(name, norm)
        assert len(widths) == sum(isinstance(module, nn.BatchNorm2d) for module in backbone.modules()) > 0
        images = torch.rand(2, 3, 32, 32)
        whole = backbone(images)
        assert whole.shape == (2, backbone.width)
        for cut in range(1, len(backbone)):
            assert backbone[cut:](backbone[:cut](images)).shape == whole.shape


@pytest.mark.parametrize(
    ("name", "stages"), [("resnet10t", 10), ("efficientnet_lite0", 12), ("vit_tiny_patch16_224", 2)]
)
def test_timm_models_are_stages_that_give_what_the_model_gives(name: str, stages: int) -> None:
    backbone = build_backbone(f"timm:{name}").eval()
    assert len(backbone) >= stages
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        whole = backbone(images)
        for cut in (1, len(backbone) - 1):
            assert torch.equal(backbone[cut:](backbone[:cut](images)), whole)
    assert whole.shape == (1, backbone.width)
    assert parameters(copy.deepcopy(backbone)) == parameters(backbone)


def test_timm_takes_another_norm() -> None:
    class Marked(nn.BatchNorm2d): ...

    backbone = build_backbone("timm:resnet10t", Marked)
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(module, Marked) for module in norms)


@pytest.mark.parametrize(("name", "near"), [("resnet23", "resnet20"), ("timm:resnet10", "resnet10t")])
def test_unknown_backbone_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UserError, match=near):
        build_backbone(name)


def test_cosine_head() -> None:
    head = CosineHead(2, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 1.0]]))
    out = head(torch.tensor([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0]]))
    expected = [[0.6, 0.8, 0.989950], [0, 0, 0], [-1, 0, -0.707107]]
    assert out.tolist() == [pytest.approx(row, abs=1e-6) for row in expected]
    fresh = CosineHead(64, 10)
    assert torch.allclose(fresh.weight.norm(dim=0), torch.ones(10))


def test_ldam_gives_the_finished_head_its_scale() -> None:
    run = tiny_run("ldam-drw")
    net = build_network(run)
    images = torch.rand(4, 3, 8, 8)
    net.eval()
    before = net(images)
    after = run.method.finish(net, run.dataset.train)(images)
    assert torch.allclose(after, 30 * before)


def test_logits_are_float32_under_autocast() -> None:
    net = build_network(tiny_run())
    with torch.autocast("cpu", torch.bfloat16):
        assert net(torch.rand(4, 3, 8, 8)).dtype == torch.float32


def test_normalisation_happens_inside() -> None:
    net = build_network(tiny_run())
    images = torch.rand(4, 3, 8, 8)
    by_hand = (images - 0.3053) / 0.3760
    assert torch.allclose(net.normalise(images), by_hand, atol=1e-6)


def test_methods_share_the_initial_weights_of_the_backbone() -> None:
    nets = [build_network(tiny_run(name)) for name in ("erm", "ldam-drw")]
    first, second = (net.backbone.state_dict() for net in nets)
    assert all(torch.equal(first[key], second[key]) for key in first)
    other = build_network(tiny_run("erm", seed=1)).backbone.state_dict()
    assert not all(torch.equal(first[key], other[key]) for key in first)
