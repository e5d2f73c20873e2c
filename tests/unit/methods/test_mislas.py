"""MiSLAS: label-aware smoothing, the values of its second stage, and what that stage trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.callbacks import StopAfter
from helpers.first_steps import take_steps
from helpers.tiny import carry_out, on_its_own, tiny_run, without_timings
from ltbench.benchmarks.data.loader import generator
from ltbench.benchmarks.method import Now
from ltbench.benchmarks.profiles import long_tail_counts
from ltbench.benchmarks.registry import configure, load
from ltbench.benchmarks.split import Split
from ltbench.benchmarks.training.active_stage import ActiveStage, begin_stages, freeze
from ltbench.benchmarks.training.run_spec import RunSpec, build_network
from ltbench.benchmarks.training.shared_start import shared_trainings
from ltbench.benchmarks.training.trainer import execute
from ltbench.methods.mislas import SECOND, label_smoothing, smoothed_losses
from torch import Tensor, nn

COUNTS = torch.tensor([100, 20, 5])
LOGITS = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.5]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])
NEUTRAL = ("eps_head=0", "eps_tail=0", "shift=false", "lr_factor=1")


def run(*values: str) -> RunSpec:
    return tiny_run("mislas", settings=("recipe.batch_size=16", *(f"mislas.{value}" for value in values)))


def second(spec: RunSpec) -> ActiveStage:
    """The second stage of a run whose network has initial weights."""
    return begin_stages(spec, build_network(spec), spec.dataset.train, 1)


def values(counts: list[int], **fields: Any) -> tuple[float, float, bool, float]:
    """MiSLAS's eps_head, eps_tail, shift and lr_factor for class sizes; checks that the stage's settings agree."""
    method: Any = configure(load("methods", "mislas"), fields)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    split = Split(torch.zeros(len(labels), 3, 1, 1, dtype=torch.uint8), labels, len(counts))
    net = nn.Module()
    net.head = load("methods", "erm").cls().head(nn.Linear)(2, len(counts))
    stage = method.begin_stage(method.stages(10)[1], net, split)
    assert stage.frozen_norms == ("statistics" if method.values_.shift else "eval")
    assert stage.factors == (("head.scale", 1.0), ("head.", method.values_.lr_factor))
    return tuple(method.values_)


@pytest.mark.parametrize(("shape", "middle"), [("concave", 0.173646), ("linear", 0.147368), ("convex", 0.109180)])
def test_worked_smoothing(shape: str, middle: float) -> None:
    assert label_smoothing(COUNTS, 0.4, 0.1, shape).tolist() == pytest.approx([0.4, middle, 0.1], abs=1e-6)


@pytest.mark.parametrize(("form", "mean"), [("code", 1.352654), ("paper", 1.435987)])
def test_worked_losses(form: str, mean: float) -> None:
    smoothing = label_smoothing(COUNTS, 0.4, 0.1, "concave").double()
    losses = smoothed_losses(LOGITS, LABELS, smoothing, form)
    assert float(losses.mean()) == pytest.approx(mean, abs=1e-5)
    naive = []
    for row, label in zip(LOGITS, LABELS.tolist(), strict=True):
        e, each = float(smoothing[label]), [float(F.cross_entropy(row, torch.tensor(c))) for c in range(3)]
        others = sum(each) / 3 if form == "code" else (sum(each) - each[label]) / 2
        naive.append((1 - e) * each[label] + e * others)
    assert losses.tolist() == pytest.approx(naive, rel=1e-6)
    turned = smoothed_losses(LOGITS.flip(0), LABELS.flip(0), smoothing, form)
    assert torch.equal(turned.flip(0), losses)


def test_equal_classes_have_equal_smoothing() -> None:
    assert label_smoothing(torch.tensor([7, 7, 7]), 0.4, 0.1, "concave").tolist() == pytest.approx([0.1] * 3)


@pytest.mark.parametrize("form", ["code", "paper"])
def test_without_smoothing_the_loss_is_cross_entropy(form: str) -> None:
    losses = smoothed_losses(LOGITS, LABELS, torch.zeros(3, dtype=torch.float64), form)
    assert torch.equal(losses, F.cross_entropy(LOGITS, LABELS, reduction="none"))


@pytest.mark.parametrize(
    ("largest", "classes", "ratio", "expected"),
    [
        (5000, 10, 10, (0.1, 0, False, 0.2)),
        (5000, 10, 50, (0.2, 0, False, 0.2)),
        (5000, 10, 100, (0.3, 0, False, 0.5)),
        (500, 100, 10, (0.2, 0, True, 0.1)),
        (500, 100, 50, (0.3, 0, True, 0.1)),
        (500, 100, 100, (0.4, 0.1, True, 0.2)),
        (500, 3, 1, (0.1, 0, False, 0.2)),
        (500, 3, 20, (0.1, 0, False, 0.2)),
        (500, 3, 25, (0.2, 0, False, 0.2)),
        (500, 32, 500, (0.4, 0.1, True, 0.2)),
    ],
)
def test_values_of_the_second_stage(
    largest: int, classes: int, ratio: float, expected: tuple[float, float, bool, float]
) -> None:
    assert values(list(long_tail_counts(largest, classes, ratio))) == expected


def test_values_that_are_set_replace_those_of_the_table() -> None:
    counts = list(long_tail_counts(5000, 10, 100))
    assert values(counts, eps_tail=0.05, shift=True) == (0.3, 0.05, True, 0.5)
    assert values(counts, eps_head=0, lr_factor=0) == (0, 0, False, 0)


def test_shifted_statistics() -> None:
    """A frozen batch norm in mode "statistics" continues to update its running statistics."""
    spec = run("shift=true")
    net = build_network(spec)
    net.backbone = nn.Sequential(nn.BatchNorm2d(1))
    norm: Any = net.backbone[0]
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    stage = second(spec).stage
    assert stage.frozen_norms == "statistics"
    freeze(net, stage)
    net.backbone(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1))
    assert (float(norm.running_mean), float(norm.running_var)) == pytest.approx((2.0, 3.8))
    assert not norm.weight.requires_grad


@pytest.mark.parametrize("shift", ["true", "false"])
def test_the_second_stage_trains_the_classifier_alone(shift: str) -> None:
    active = second(run(f"shift={shift}"))
    before = {name: value.clone() for name, value in active.net.state_dict().items()}
    take_steps(active)
    moved = {name for name, value in active.net.state_dict().items() if not torch.equal(value, before[name])}
    assert {"head.weight", "head.bias", "head.scale"} <= moved
    statistics = {name for name in before if name.rpartition(".")[2] in ("running_mean", "running_var")}
    assert moved & statistics == (statistics if shift == "true" else set())
    parameters = {name for name, _ in active.net.backbone.named_parameters(prefix="backbone")}
    assert not moved & parameters


def test_learning_rates_of_the_second_stage() -> None:
    spec = run("lr_factor=0.2", "second=4")
    active = second(spec)
    names = {parameter: name for name, parameter in active.net.named_parameters()}
    for epoch, fraction in enumerate((1, 0.853553, 0.5, 0.146447)):
        active.begin_epoch(epoch)
        groups = active.optimiser.param_groups
        rates = {names[each]: group["lr"] / spec.recipe.lr for group in groups for each in group["params"]}
        expected = {"head.weight": 0.2, "head.bias": 0.2, "head.scale": 1.0}
        assert rates == pytest.approx({name: fraction * factor for name, factor in expected.items()}, rel=1e-5)


class Rescaled:
    """Weights, biases and scales of a classifier, trained together by hand with momentum and weight decay."""

    def __init__(self, active: ActiveStage) -> None:
        head: Any = active.net.head
        self.parts = [part.detach().clone().requires_grad_() for part in (head.weight, head.bias, head.scale)]
        self.speeds = [torch.zeros_like(part) for part in self.parts]
        self.recipe = active.spec.recipe

    def loss(self, features: Tensor, labels: Tensor, rate: float) -> float:
        """Take a training step with cross-entropy; return the loss before the step."""
        weight, bias, scale = self.parts
        loss = F.cross_entropy(scale * (features @ weight.T + bias), labels)
        gradients = torch.autograd.grad(loss, self.parts)
        for part, speed, gradient in zip(self.parts, self.speeds, gradients, strict=True):
            speed.mul_(self.recipe.momentum).add_(gradient + self.recipe.weight_decay * part.detach())
            part.data -= rate * speed
        return float(loss.detach())


def ten_steps_by_hand(spec: RunSpec) -> list[float]:
    """Losses of ten steps that train scales and classifier, on features of the backbone in evaluation mode."""
    active = second(spec)
    active.net.eval()
    head, losses, epoch = Rescaled(active), [], 0
    while len(losses) < 10:
        now = active.begin_epoch(epoch)
        rate = spec.recipe.learning_rate(epoch, active.stage.epochs, None, active.stage.schedule)
        for picked in active.draw(now):
            batch = active.batch(picked)
            with torch.no_grad():
                features = active.net.features(batch.images)
            losses.append(head.loss(features, batch.labels, rate))
        epoch += 1
    return losses[:10]


def test_neutral_values_train_scales_and_classifier_alone() -> None:
    expected = ten_steps_by_hand(run(*NEUTRAL))
    assert take_steps(second(run(*NEUTRAL))) == pytest.approx(expected, rel=1e-5)
    for number, other in enumerate(("eps_head=0.4", "eps_tail=0.1", "shift=true", "lr_factor=0.2")):
        changed = (*NEUTRAL[:number], other, *NEUTRAL[number + 1 :])
        assert take_steps(second(run(*changed))) != pytest.approx(expected, rel=1e-4), other


def test_classes_without_images_in_a_batch_give_no_nan() -> None:
    method: Any = second(run()).spec.method
    logits = torch.zeros(3, 10, requires_grad=True)
    loss = smoothed_losses(logits, torch.tensor([9, 9, 9]), method.smoothing_, "code").mean()
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_first_stage_is_that_of_a_mixup_run(tmp_path: Path) -> None:
    (shared,) = shared_trainings(tiny_run("mislas"))
    assert (shared.spec.id, shared.epochs, shared.use) == (tiny_run("mixup").id, 3, "prefix")
    (shared,) = shared_trainings(tiny_run("mislas", settings=("mislas.alpha=0.2",)))
    assert shared.spec.id == tiny_run("mixup", settings=("mixup.alpha=0.2",)).id
    record = carry_out(tiny_run("mislas", settings=("mislas.second=10",)), tmp_path)
    assert record.cost.epochs_per_stage == {"train": 3, SECOND: 10}
    measured = {name: points[-1] for name, points in record.history.measures.items()}
    assert measured == {
        "mislas_eps_head": (12, 0.1),
        "mislas_eps_tail": (12, 0.0),
        "mislas_shift": (12, 0.0),
        "mislas_lr_factor": (12, 0.2),
    }


@pytest.mark.parametrize("stop", [2, 3, 4])
def test_a_run_resumes_around_the_change_of_stage(stop: int, tmp_path: Path) -> None:
    """The run trains both stages itself. It is interrupted in the first one, at its end, and in the second one."""
    spec = on_its_own(tiny_run("mislas", settings=("mislas.second=2",)))
    whole = carry_out(spec, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        execute(spec, torch.device("cpu"), tmp_path, StopAfter(stop))
    resumed = carry_out(spec, tmp_path)
    assert without_timings(resumed) == without_timings(whole)
    assert resumed.cost.resumed == 1


def test_batches_are_class_aware_in_the_second_stage() -> None:
    method = configure(load("methods", "mislas"), {})
    first, last = (Now(name, 0, 10, generator(0, "test")) for name in ("train", SECOND))
    assert method.sampling(COUNTS, first) is None
    assert method.sampling(COUNTS, last).per_class == 4
