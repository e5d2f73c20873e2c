"""BBN: split backbone, reversed sampling, the parabola of alpha, and equality with ERM while alpha is 1."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import cast

import pytest
import torch
from helpers.command import Answer
from helpers.tiny import tiny_run
from ltbench.benchmarks.data.loader import generator
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import Batch, Method, Now, Split
from ltbench.benchmarks.network import Classifier, LinearHead
from ltbench.benchmarks.nn.backbones import build_backbone
from ltbench.benchmarks.nn.backbones.assembly import join
from ltbench.benchmarks.nn.backbones.cifar_resnext import resnext
from ltbench.benchmarks.training.active_stage import begin_stages
from ltbench.benchmarks.training.loop import EpochEnd, step, train
from ltbench.benchmarks.training.run_spec import build_network
from ltbench.methods.bbn import (
    BBN,
    Branches,
    alpha_of,
    bilateral,
    cut_before_last_block,
    mixed_features,
    mixed_loss,
    reordered,
)
from torch import Tensor, nn

COUNTS = torch.tensor([100, 20, 5])
SMALL = ("recipe.batch_size=8",)  # at least ten steps per epoch


def moment(epoch: int, epochs: int = 200) -> Now:
    return Now("train", epoch, epochs, generator(0, "test"))


class Constant(nn.Module):
    """Returns the same features (N, d) for all images."""

    def __init__(self, *features: float) -> None:
        super().__init__()
        self.features = torch.tensor(features)

    def forward(self, maps: Tensor) -> Tensor:
        return self.features.expand(len(maps), -1)


def worked_network() -> Classifier:
    """The network of the specification's example, whose branches return the features [1, 2] and [3, -1]."""
    branches = Branches(nn.Sequential(Constant(1, 2)), nn.Sequential(Constant(3, -1)))
    net = Classifier(join({"stem": nn.Identity(), "branches": branches}, 4), LinearHead, 3)
    weight = torch.tensor([[1, 0, 0.5, 0], [0, 1, 0, 0.5], [0.5, 0.5, -0.5, 0.5]])
    net.head.load_state_dict({"weight": weight, "bias": torch.tensor([0.1, 0, -0.1])})
    return net


def test_the_second_stream_has_reversed_probabilities() -> None:
    (weights,) = BBN().streams(COUNTS, moment(0))
    assert (weights / weights.sum()).tolist() == pytest.approx([0.038462, 0.192308, 0.769231], abs=1e-6)
    assert BBN().sampling(COUNTS, moment(0)) is None


def test_equal_classes_are_drawn_equally_often_and_empty_ones_never() -> None:
    assert len(set(BBN().streams(torch.full((4,), 7), moment(0))[0].tolist())) == 1
    assert BBN().streams(torch.tensor([4, 0, 2]), moment(0))[0].tolist() == [0.25, 0, 0.5]


def test_alpha_falls_from_1_to_0_along_a_parabola() -> None:
    alphas = [alpha_of(epoch, 200) for epoch in (0, 100, 199)]
    assert alphas == pytest.approx([1, 0.75, 0.009975], abs=1e-9)


def test_a_longer_horizon_stretches_the_parabola_and_0_is_its_end() -> None:
    assert alpha_of(60, 90, 100 / 90) == pytest.approx(1 - 0.6**2)
    assert [alpha_of(epoch, 10, 0.5) for epoch in (0, 5, 9)] == [1, 0, 0]


def test_worked_logits_and_losses() -> None:
    weight = torch.tensor([[1, 0, 0.5, 0], [0, 1, 0, 0.5], [0.5, 0.5, -0.5, 0.5]], dtype=torch.float64)
    bias, alpha = torch.tensor([0.1, 0, -0.1], dtype=torch.float64), torch.tensor(0.75, dtype=torch.float64)
    first, second = (torch.tensor([row], dtype=torch.float64) for row in ([1, 2], [3, -1]))
    logits = mixed_features(first, second, alpha) @ weight.T + bias
    assert logits[0].tolist() == pytest.approx([2.35, 2.75, 1.15], abs=1e-9)
    loss = mixed_loss(logits, torch.tensor([0]), torch.tensor([2]), alpha)
    naive = [-(logits[0, label] - logits[0].exp().sum().log()) for label in (0, 2)]
    assert float(loss) == pytest.approx(1.327123, abs=1e-5)
    assert float(loss) == pytest.approx(float(0.75 * naive[0] + 0.25 * naive[1]), abs=1e-9)


def test_the_hooks_compute_the_worked_loss_and_test_logits() -> None:
    net, method, images = worked_network(), BBN(), torch.rand(1, 3, 2, 2)
    split = Split(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), 3)
    method.begin_stage(method.stages(200)[0], net, split)
    method.begin_epoch(net, split, moment(100))
    batch = Batch(images, torch.tensor([0]), further=(Batch(images, torch.tensor([2])),))
    assert method.loss(net, batch, moment(100)).item() == pytest.approx(1.327123, abs=1e-5)
    assert method.finish(net, split)(images)[0].tolist() == pytest.approx([2.6, 1.5, -0.6], abs=1e-5)
    assert not list(net.buffers())[2:], "only the buffers of the normalisation are left"


def test_the_loss_of_pairs_does_not_depend_on_their_order() -> None:
    logits, order = torch.randn(9, 3, generator=generator(0, "logits")).double(), torch.randperm(9)
    first, second = torch.arange(9) % 3, torch.arange(9) // 3
    losses = [
        float(mixed_loss(logits[at], first[at], second[at], torch.tensor(0.3))) for at in (order, order.sort()[0])
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-12)


@pytest.mark.parametrize(
    ("name", "last", "blocks"),
    [("resnet32", "stage3", 4),
     ("resnext20-1x4d", "stage3", 1), ("wrn-16-2", "stage3", 1),
     ("densenet40", "stage3", 11), ("resnet8-narrow", "stage2", 1), ("timm:resnet10t", "layer3", 1)],
)  # fmt: skip
def test_only_the_last_block_exists_twice(name: str, last: str, blocks: int) -> None:
    """Trunk and first branch equal the backbone; the second branch has the same initial weights in another order."""
    plain = resnext(20, 1, 4, nn.BatchNorm2d) if name == "resnext20-1x4d" else build_backbone(name)
    plain, images = plain.eval(), torch.rand(2, 3, 32, 32)
    for norm in plain.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.ones_(norm.weight)  # timm initialises some with 0, so that a block returns its input
    double = bilateral(copy.deepcopy(plain), copy.deepcopy(plain)).eval()
    *trunk, end = [stage for stage, _ in double.named_children()]
    assert (trunk[-1], len(cast(nn.Sequential, double[-2])), end) == (last, blocks, "branches")
    with torch.no_grad():
        expected, features = plain(images), double(images)
    width = cast(int, plain.width)
    assert (features.shape[1], double.width) == (2 * width, 2 * width)
    assert torch.equal(features[:, :width], expected)
    assert not torch.equal(features[:, width:], expected)
    branches = cast(Branches, double[-1])
    for (key, first), (_, second) in zip(
        branches.first.named_parameters(), branches.second.named_parameters(), strict=True
    ):
        assert torch.equal(first.flatten().sort()[0], second.flatten().sort()[0]), key
        assert torch.equal(first, second) == (first.ndim == 1), key
        assert first.data_ptr() != second.data_ptr()


def test_the_second_branch_is_an_independent_draw() -> None:
    first = nn.Sequential(nn.Conv2d(32, 32, 3, bias=False))
    weights = torch.stack(
        [first[0].weight.detach().flatten(), reordered(copy.deepcopy(first))[0].weight.detach().flatten()]
    )
    assert abs(float(torch.corrcoef(weights)[0, 1])) < 0.04


def test_trunk_and_first_branch_start_as_in_erm() -> None:
    erm, own = (build_network(tiny_run(name)).state_dict() for name in ("erm", "bbn"))
    assert all(
        torch.equal(value, own[key.replace("backbone.stage3.0.", "backbone.branches.first.0.")])
        for key, value in erm.items()
        if key.startswith("backbone.")
    )


@pytest.mark.parametrize("kind", [nn.Conv2d(3, 4, 1), nn.ModuleList([nn.Conv2d(3, 4, 1)])])
def test_a_backbone_without_a_sequence_of_blocks_is_refused(kind: nn.Module) -> None:
    with pytest.raises(UserError, match=r"last stage, 'features', is not a sequence .* Choose another backbone"):
        cut_before_last_block(join({"features": kind, "pool": nn.Flatten()}, 4))


def test_a_timm_model_in_one_piece_ends_in_one_sentence(cli: Callable[..., Answer], tmp_path: Path) -> None:
    words = ("run", "-m", "bbn", "-d", "digits-lt", "--epochs", "1", "--imbalance", "5", "--set", "dataset.n_max=30")
    answer = cli(*words, "--set", "recipe.backbone=timm:mobilenetv3_small_050")
    assert answer.code == 2
    assert "is not a sequence of blocks" in answer.err
    assert "Traceback" not in answer.err


@dataclass
class Wider(Method):
    """ERM with doubled features: what BBN computes while alpha is 1, with the first half of its classifier."""

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        return self.criterion(net.classify(2 * net.features(batch.images)), batch.labels, now)


def epochs_of(method: str, net: Classifier | None = None, *settings: str) -> Iterator[EpochEnd]:
    spec = tiny_run("erm" if net else method, epochs=3, settings=(*SMALL, *settings))
    spec = replace(spec, method=Wider()) if net else spec
    return train(spec, net or build_network(spec), spec.dataset.train)


def erm_with_half_of_the_classifier() -> Classifier:
    net, head = build_network(tiny_run()), build_network(tiny_run("bbn")).head
    weight, bias = head.get_parameter("weight"), head.get_parameter("bias")
    net.head.load_state_dict({"weight": weight[:, : cast(int, net.backbone.width)].detach(), "bias": bias.detach()})
    return net


def test_with_alpha_1_it_is_erm_on_a_wider_head() -> None:
    erm = list(epochs_of("erm", erm_with_half_of_the_classifier()))
    own = list(epochs_of("bbn", None, "bbn.horizon=1000000"))
    assert [end.loss for end in own] == [end.loss for end in erm]
    trunk = [
        p for name, p in erm[-1].active.net.named_parameters() if name.startswith(("backbone.stem", "backbone.stage1"))
    ]
    assert len(trunk) > 5
    for name, parameter in own[-1].active.net.named_parameters():
        if name.startswith(("backbone.stem", "backbone.stage1")):
            assert torch.equal(parameter, trunk.pop(0)), name


def test_after_the_first_epoch_the_second_branch_learns() -> None:
    erm = [end.loss for end in epochs_of("erm", erm_with_half_of_the_classifier())]
    own = [end.loss for end in epochs_of("bbn")]
    assert own[0] == erm[0]
    assert own[1] != erm[1]


def test_each_step_counts_both_batches_in_the_shared_norms() -> None:
    spec = tiny_run("bbn", epochs=3, settings=SMALL)
    active = begin_stages(spec, build_network(spec), spec.dataset.train, 0)
    now = active.begin_epoch(1)
    for picked in islice(active.draw(now), 4):
        step(active, active.batch(picked), now)
    tracked = {name: int(value) for name, value in active.net.named_buffers() if name.endswith("num_batches_tracked")}
    assert {name.split(".")[1] for name, number in tracked.items() if number == 8} == {"stem", "stage1", "stage2"}
    assert {name.split(".")[2] for name, number in tracked.items() if number == 4} == {"first", "second"}
    assert float(active.net.get_buffer("bbn_alpha")) == pytest.approx(1 - 1 / 9)
