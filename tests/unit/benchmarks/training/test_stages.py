"""Settings of a stage: frozen batch norms, a fresh head, own optimiser settings and schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import carry_out, tiny_run, without_timings
from ltbench.benchmarks.errors import RunFailed
from ltbench.benchmarks.method import Batch, ClassAware, Method, Now, SameImages, Schedule, Split, Stage
from ltbench.benchmarks.network import Classifier
from ltbench.benchmarks.training.active_stage import ActiveStage, begin_stages
from ltbench.benchmarks.training.callbacks import Callback
from ltbench.benchmarks.training.evaluate import logits_of
from ltbench.benchmarks.training.loop import train
from ltbench.benchmarks.training.run_spec import RunSpec, build_network
from ltbench.benchmarks.training.trainer import execute
from torch import Tensor

HEAD = ("head.",)


@dataclass
class Decoupled(Method):
    """Trains all layers, then the head alone; `second` has further settings of the second stage."""

    second: dict[str, Any] = field(default_factory=dict)

    def stages(self, epochs: int) -> list[Stage]:
        return [Stage("train", epochs), Stage("head", 3, **{"trained": HEAD, **self.second})]


def decoupled(**second: Any) -> RunSpec:
    return dataclasses.replace(tiny_run(), name="decoupled", method=Decoupled(second))


def second_stage(**second: Any) -> ActiveStage:
    spec = decoupled(**second)
    return begin_stages(spec, build_network(spec), spec.dataset.train, 1)


def changed_in_second_stage(**second: Any) -> set[str]:
    """Names of the tensors of the network that the second stage changes."""
    spec = decoupled(**second)
    net = build_network(spec)
    before: dict[str, Tensor] = {}
    for end in train(spec, net, spec.dataset.train):
        if end.now.stage == "train":
            before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    return {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}


def kinds(names: set[str]) -> set[str]:
    """Kinds of the backbone's tensors among `names`: `statistics` or `affine` of batch norms, or `convolution`."""
    of_norms = {
        f"{name}." for name, module in build_network(tiny_run()).named_modules() if hasattr(module, "running_var")
    }
    kinds = set()
    for name in (name for name in names if name.startswith("backbone.")):
        norm = any(name.startswith(prefix) for prefix in of_norms)
        affine = "affine" if name.endswith(("weight", "bias")) else "statistics"
        kinds.add(affine if norm else "convolution")
    return kinds


@pytest.mark.parametrize(
    ("mode", "changed"), [("statistics", {"statistics"}), ("eval", set()), ("train", {"statistics", "affine"})]
)
def test_frozen_parts_keep_their_values(mode: str, changed: set[str]) -> None:
    names = changed_in_second_stage(frozen_norms=mode)
    assert kinds(names) == changed
    assert {"head.weight", "head.bias"} <= names


def test_frozen_norms_in_eval_mode_use_running_statistics() -> None:
    """The features of an image do not depend on the other images of its batch."""
    active = second_stage(frozen_norms="eval")
    images = active.split.images[:8].float() / 255
    assert torch.allclose(active.net.features(images)[:2], active.net.features(images[:2]), atol=1e-5)
    assert active.net.training
    assert not any(module.training for module in active.net.modules() if hasattr(module, "running_var"))


def test_evaluation_in_between_keeps_the_mode_of_frozen_norms() -> None:
    active = second_stage(frozen_norms="eval")
    modes = [module.training for module in active.net.modules()]
    logits_of(active.net, active.spec.dataset.test, active.spec.recipe)
    assert [module.training for module in active.net.modules()] == modes


def test_norms_train_again_in_the_stage_after() -> None:
    spec = dataclasses.replace(tiny_run(), method=ThreeStages())
    ends = train(spec, build_network(spec), spec.dataset.train)
    modes = [all(module.training for module in end.active.net.modules()) for end in ends]
    assert modes == [False, True]


class ThreeStages(Method):
    """A stage with frozen batch norms, an empty stage, and a stage that trains all layers."""

    def stages(self, epochs: int) -> list[Stage]:
        return [Stage("head", 1, trained=HEAD, frozen_norms="eval"), Stage("none", 0), Stage("all", 1)]


def test_a_fresh_head_has_new_initial_weights() -> None:
    kept, fresh, again = (second_stage(fresh_head=new).net for new in (False, True, True))
    assert not torch.equal(kept.head.weight, fresh.head.weight)
    assert torch.equal(again.head.weight, fresh.head.weight)
    assert all(map(torch.equal, kept.backbone.parameters(), fresh.backbone.parameters()))


def test_optimiser_settings_of_a_stage_replace_those_of_the_recipe() -> None:
    own = second_stage(
        lr=0.5, weight_decay=0.25, schedule=Schedule(drops=((1 / 3, 0.1),)), factors=(("head.bias", 0.5),)
    )
    weight, bias = own.optimiser.param_groups
    assert (weight["weight_decay"], bias["weight_decay"]) == (0.25, 0.25)
    rates = []
    for epoch in range(3):
        own.begin_epoch(epoch)
        rates.append((weight["lr"], bias["lr"]))
    assert rates == [pytest.approx(pair) for pair in [(0.5, 0.25), (0.05, 0.025), (0.05, 0.025)]]
    usual = second_stage()
    usual.begin_epoch(2)
    (group,) = usual.optimiser.param_groups
    recipe = usual.spec.recipe
    assert (group["weight_decay"], group["lr"]) == (recipe.weight_decay, recipe.learning_rate(2, 3))


@dataclass
class TwoStreams(Method):
    """Adds the losses on a class-aware stream and on a second view; with `unused`, both are drawn but ignored."""

    unused: bool = False

    def streams(self, counts: Tensor, now: Now) -> Sequence[ClassAware | SameImages]:
        return [ClassAware(2), SameImages()]

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        first = super().loss(net, batch, now)
        return first if self.unused else first + sum(super(TwoStreams, self).loss(net, b, now) for b in batch.further)


class Interrupt(Callback):
    """Interrupts a run at the first step after `epochs` complete epochs."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def epoch(self, history: Any) -> None:
        self.left -= 1

    def step(self, images: int) -> None:
        if self.left <= 0:
            raise KeyboardInterrupt


def test_a_run_with_further_streams_resumes(tmp_path: Path) -> None:
    spec = dataclasses.replace(tiny_run(), name="streams", method=TwoStreams())
    whole = carry_out(spec, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        execute(spec, torch.device("cpu"), tmp_path / "stopped", Interrupt(2))
    assert without_timings(carry_out(spec, tmp_path / "stopped")) == without_timings(whole)


def test_streams_that_are_not_used_change_nothing(tmp_path: Path) -> None:
    unused = dataclasses.replace(tiny_run(), method=TwoStreams(unused=True))
    assert carry_out(unused, tmp_path / "a").history.loss == carry_out(tiny_run(), tmp_path / "b").history.loss


@pytest.mark.parametrize(
    ("hook", "value", "message"),
    [
        ("sampling", ClassAware(0), r"sampling\(\) must return a ClassAware with a positive integer"),
        ("streams", [torch.ones(3)], r"streams\(\) must return None, ClassAware or a tensor of 10"),
        ("streams", torch.ones(10), r"streams\(\) must return a sequence of samplings"),
    ],
)
def test_an_invalid_sampling_names_its_hook(hook: str, value: Any, message: str, tmp_path: Path) -> None:
    method = type("Wrong", (Method,), {hook: lambda self, counts, now: value})()
    with pytest.raises(RunFailed, match=message):
        carry_out(dataclasses.replace(tiny_run(), method=method), tmp_path)


class Chosen(Decoupled):
    """Chooses settings of the second stage from the training split."""

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> Stage | None:
        fraction = 1 / train.num_classes
        changes: dict[str, Any] = {"lr": fraction, "schedule": Schedule(), "frozen_norms": "eval"}
        return dataclasses.replace(stage, **changes) if stage.name == "head" else None


def test_a_stage_takes_settings_from_the_training_split() -> None:
    spec = dataclasses.replace(decoupled(), method=Chosen())
    active = begin_stages(spec, build_network(spec), spec.dataset.train, 1)
    active.begin_epoch(0)
    assert [group["lr"] for group in active.optimiser.param_groups] == [0.1]
    assert active.stage.frozen_norms == "eval"
    norms = [module for name, module in active.net.named_modules() if hasattr(module, "running_var")]
    assert not any(norm.training for norm in norms)
