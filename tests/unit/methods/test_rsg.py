"""RSG as a method: parameters trained by each loss, edge cases, settings, and the cut of different backbones."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import carry_out, tiny_run
from ltbench.benchmarks.data.loader import generator as random_numbers
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import Batch, Now
from ltbench.benchmarks.network import Classifier, LinearHead
from ltbench.benchmarks.nn.backbones import build_backbone
from ltbench.benchmarks.nn.dar_batch_norm import convert_batchnorm
from ltbench.benchmarks.registry import configure, load
from ltbench.benchmarks.split import long_tail_counts
from ltbench.benchmarks.training.optimiser import make_optimiser
from ltbench.benchmarks.training.plan import RunRequest, make_plan
from ltbench.benchmarks.training.run_spec import build_network
from ltbench.methods._shared.feature_generation import frequent_classes, pair_up
from ltbench.methods.rsg import find_cut, is_step
from torch import nn


def started(name: str = "ldam-drw", **fields: Any) -> tuple[Any, Classifier, Batch]:
    """The method RSG with its stage begun, its network, and a batch of 24 images of all classes."""
    run = tiny_run("rsg", settings=(f"rsg.base={name}", *(f"rsg.{k}={v}" for k, v in fields.items())))
    net, split = build_network(run), run.dataset.train
    torch.manual_seed(0)
    run.method.begin_stage(run.method.stages(10)[0], net, split)
    index = torch.arange(24) * len(split) // 24
    return run.method, net, Batch(split.pixels(index).float() / 255, split.labels[index])


def when(progress: float) -> Now:
    return Now("train", round(10 * progress), 10, random_numbers(0, "test"))


def moved(net: nn.Module) -> set[str]:
    """Names of the network's parts that have a parameter with a non-zero gradient."""
    parts = set()
    for name, parameter in net.named_parameters():
        if parameter.grad is not None and parameter.grad.abs().sum() > 0:
            parts.add(".".join(name.split(".")[:2]))
    return parts


LOWER, UPPER = {"backbone.stem", "backbone.stage1", "backbone.stage2"}, {"backbone.stage3", "head.weight"}
CENTRES = {"rsg.centres", "rsg.weight", "rsg.bias"}


def test_what_is_trained_before_and_after_generation_begins() -> None:
    method, net, batch = started(detach_rare="true")
    net.rsg.centres.data.normal_()  # type: ignore[union-attr]
    method.loss(net, batch, when(0.7)).backward()
    assert moved(net) == LOWER | UPPER | CENTRES | {"rsg.contrast"}
    net.zero_grad()
    method.loss(net, batch, when(0.8)).backward()
    assert moved(net) == LOWER | UPPER | CENTRES | {"rsg.transform"}
    assert all(parameter.grad is None for parameter in net.rsg.contrast.parameters())  # type: ignore[union-attr]


# evaluation mode makes the gradient of the layers before the cut exactly zero
@pytest.mark.filterwarnings("ignore:A batch norm in evaluation mode")
def test_generated_maps_teach_the_transform_and_the_layers_above() -> None:
    method, net, batch = started()
    net.eval()
    for detached, reached in ((True, False), (False, True)):
        method.detach_rare = detached
        net.zero_grad()
        maps = net.backbone[: method.cut_](net.normalise(batch.images))
        pairs = pair_up(method.frequent_[batch.labels], method.transfer_)
        change, _ = net.rsg(maps.detach(), batch.labels, net.rsg.assignment(maps, batch.labels).detach(), pairs)  # type: ignore[operator,union-attr]
        base = maps.detach() if detached else maps
        method._upper_loss(net, base[pairs.rare] + change, batch.labels[pairs.rare], ~pairs.valid, when(0.8)).backward()
        assert bool(moved(net) & LOWER) == reached
        assert {"rsg.transform"} | UPPER <= moved(net)
        assert not moved(net) & (CENTRES | {"rsg.contrast"})


@pytest.mark.parametrize("name", ["erm", "cb-rw", "focal", "cb-focal", "m-drw", "ldam-drw"])
def test_slots_without_a_map_change_nothing(name: str) -> None:
    """Gradients equal those of the same batch without its empty slots in a network with plain batch norms."""
    method, net, batch = started(name)
    maps = net.backbone[: method.cut_](net.normalise(batch.images)).detach()
    pairs = pair_up(method.frequent_[batch.labels], method.transfer_)
    assert 0 < int(pairs.valid.sum()) < len(maps)
    new, labels = torch.randn_like(maps), batch.labels[pairs.rare]
    empty = torch.cat([torch.zeros_like(pairs.valid), ~pairs.valid])
    padded = torch.cat([batch.labels, torch.where(pairs.valid, labels, -100)])
    method._upper_loss(net, torch.cat([maps, new]), padded, empty, when(0.9)).backward()
    plain = copy.deepcopy(net)
    plain.zero_grad()
    upper = convert_batchnorm(plain.backbone[method.cut_ :], "standard")
    logits = plain.head(upper(torch.cat([maps, new[pairs.valid]])))
    method.criterion(logits, torch.cat([batch.labels, labels[pairs.valid]]), when(0.9)).backward()
    for left, other in zip(net.parameters(), plain.parameters(), strict=True):
        if left.grad is not None or other.grad is not None:
            torch.testing.assert_close(left.grad, other.grad, atol=2e-5, rtol=1e-3)


def test_a_cpu_leaves_out_the_empty_slots_of_a_gpu(request: pytest.FixtureRequest) -> None:
    results = []
    for path in ("few", "slots"):
        if path == "slots":
            request.getfixturevalue("slots")
        method, net, batch = started()
        net.rsg.centres.data.normal_(generator=random_numbers(0, "centres"))  # type: ignore[union-attr]
        rows: list[int] = []
        net.backbone[-1].register_forward_pre_hook(lambda layer, maps, rows=rows: rows.append(len(maps[0])))
        loss = method.loss(net, batch, when(0.8))
        loss.backward()
        results.append((rows[-1], [loss, *(p.grad for p in net.parameters() if p.grad is not None), *net.buffers()]))
    (few, first), (slots, second) = results
    assert 24 < few < slots == 48
    for left, other in zip(first, second, strict=True):
        torch.testing.assert_close(left, other, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("rows_", [1, 2, 3, 7], ids=str)
@pytest.mark.parametrize("kind", ["frequent", "rare", "mixed"])
@pytest.mark.parametrize("progress", [0.0, 0.8])
@pytest.mark.parametrize("path", ["few", "slots"])
def test_odd_small_and_one_sided_batches(
    rows_: int, kind: str, progress: float, path: str, request: pytest.FixtureRequest
) -> None:
    if path == "slots":
        request.getfixturevalue("slots")
    method, net, batch = started()
    frequent = method.frequent_[batch.labels]
    chosen = {"frequent": frequent.nonzero(), "rare": (~frequent).nonzero()}.get(kind, torch.arange(24)[:, None])
    index = chosen[:, 0][-rows_:]
    loss = method.loss(net, Batch(batch.images[index], batch.labels[index]), when(progress))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in net.parameters())


def test_evaluation_is_the_plain_backbone() -> None:
    method, net, batch = started()
    net.eval()
    plain = net.head(net.backbone(net.normalise(batch.images)))
    assert torch.equal(net(batch.images), plain)
    finished = method.finish(net, tiny_run("rsg").dataset.train)
    assert not hasattr(finished, "rsg")
    assert all(type(module) is nn.BatchNorm2d for module in finished.modules() if isinstance(module, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("counts", "step", "number"),
    [(long_tail_counts(5000, 10, 50), False, 2), (long_tail_counts(5000, 10, 50, "step"), True, 5),
     (long_tail_counts(500, 100, 50), False, 20)],
)  # fmt: skip
def test_settings_follow_the_profile(counts: list[int], step: bool, number: int) -> None:
    sizes = torch.tensor(counts).flip(0)
    method = configure(load("methods", "rsg"), {})
    assert bool(is_step(sizes)) == step
    assert method._frequent(sizes).nonzero()[:, 0].tolist() == list(range(len(counts) - number, len(counts)))
    assert float(method._transfer(sizes)) == (0.01 if step else 1.0)
    reference = configure(load("methods", "rsg"), {"preset": "reference"})
    assert reference._frequent(sizes).nonzero()[:, 0].tolist() == list(range(int(len(counts) * 0.2)))
    assert float(reference._transfer(sizes)) == 1.0


def test_frequent_classes_are_rounded_and_ties_go_down() -> None:
    assert int(frequent_classes(torch.arange(100), 0.29).sum()) == 29
    assert frequent_classes(torch.tensor([3, 5, 5, 5]), 0.5).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("name", "width", "cuts"),
    [("resnet32", 32, (2, 3, 4)), ("wrn-16-2", 64, (2, 3, 4)), ("densenet40", 312, (2, 4, 6)),
     ("resnext29-8x64d", 512, (2, 3, 4)), ("timm:resnet10t", 256, None)],
)  # fmt: skip
def test_where_the_generator_stands(name: str, width: int, cuts: tuple[int, ...] | None) -> None:
    net = Classifier(build_backbone(name), LinearHead, 10)
    image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    assert find_cut(net, image, None)[1] == width
    if cuts is not None:
        assert tuple(find_cut(net, image, k)[0] for k in (1, 2, 3)) == cuts
    with pytest.raises(UserError, match="insert = 9"):
        find_cut(net, image, 9)


def test_refusals() -> None:
    with pytest.raises(UserError, match="makes 10 of 10 classes frequent"):
        started(frequent=0.99)
    with pytest.raises(UserError, match="makes 0 of 4 classes frequent"):
        configure(load("methods", "rsg"), {"preset": "reference"})._frequent(torch.tensor([9, 5, 3, 1]))
    method, net, _ = started()
    with torch.no_grad():
        net.rsg.centres[0, 0, 0] = float("inf")  # type: ignore[union-attr,index,operator]
    with pytest.raises(UserError, match="centres of rsg diverged"):
        method.begin_epoch(net, tiny_run("rsg").dataset.train, when(0.5))


def test_contrastive_module_rests_once_generation_begins() -> None:
    run = tiny_run("rsg")
    method, net, batch = started()
    optimiser = make_optimiser(net, run.recipe, run.stages[0])
    before = {k: v.clone() for k, v in net.rsg.contrast.state_dict().items()}  # type: ignore[union-attr]
    method.loss(net, batch, when(0.8)).backward()
    optimiser.step()
    after = net.rsg.contrast.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(before[key], after[key]) for key in before)


LARGE = pytest.param("resnext29-8x64d", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["densenet40", LARGE, "timm:resnet10t"])
def test_trains_end_to_end_in_other_backbones(name: str, tmp_path: Path) -> None:
    """Losses before and after generation begins are finite, and the finished network has the plain backbone."""
    data = [f"dataset.{each}" for each in ("size=16", "classes=3", "n_max=6", "test_per_class=1")]
    recipe = [f"recipe.{each}" for each in (f"backbone={name}", "batch_size=6", "lr=0.01")]
    settings = [*data, *recipe, "base=erm", "start=0.5", "frequent=0.34"]
    run = make_plan(["rsg"], ["waves-lt"], RunRequest(imbalance="3", epochs="2", settings=settings))[0]
    record = carry_out(run, tmp_path)
    assert len(record.history.loss) == 2
    assert all(math.isfinite(loss) for loss in record.history.loss)
    state = torch.load(tmp_path / run.id / "network.pt", weights_only=True)
    assert state.keys() == build_network(run).state_dict().keys()
