"""Recorded steps, tested without a GPU: a stand-in for the CUDA graph runs the step again at each replay.

Like a graph, the stand-in keeps the values that `now` and the method's attributes have at the time of recording. The
results differ if a change of these values does not cause a new recording.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from helpers.tiny import tiny_run
from ltbench.benchmarks import registry
from ltbench.benchmarks.data.loader import Picked
from ltbench.benchmarks.method import Batch, Method, Now
from ltbench.benchmarks.network import Classifier
from ltbench.benchmarks.split import Split
from ltbench.benchmarks.training.active_stage import ActiveStage, begin_stages
from ltbench.benchmarks.training.cuda_graph import MakeStepTaker, RecordedSteps, Step, StepState, record_steps
from ltbench.benchmarks.training.guards import Conditions, GuardedNow
from ltbench.benchmarks.training.loop import train
from ltbench.benchmarks.training.run_spec import build_network
from ltbench.benchmarks.training.shared_start import attach_source
from torch import Tensor

PHASES = {"erm": 1, "oversample": 1, "drw": 2, "open": 2, "m2m": 2, "rsg": 2, "blt": 3}


class StandIn:
    """Stand-in for a CUDA graph: recording runs the step once and restores all state; a replay runs it again."""

    recorded = 0

    def __init__(self, active: ActiveStage, work: Callable[[], Tensor], generators: Sequence[torch.Generator]) -> None:
        self.work, self.method, self.attributes = work, active.spec.method, dict(vars(active.spec.method))
        self.state = StepState(active.net, active.optimiser, generators[0])
        before = self.state.copy()
        work()
        self.state.restore(before)
        StandIn.recorded += 1

    def replay(self) -> Tensor:
        now = dict(vars(self.method))
        vars(self.method).update(self.attributes)
        try:
            return self.work()
        finally:
            vars(self.method).update(now)


class Wrong(StandIn):
    """A graph whose replays return a wrong loss."""

    def replay(self) -> Tensor:
        return self.work() + 1


class Idle(StandIn):
    """A graph whose replays return the loss but do not update the state."""

    def replay(self) -> Tensor:
        before = self.state.copy()
        loss = self.work()
        self.state.restore(before)
        return loss


def recording(kind: type[StandIn]) -> MakeStepTaker:
    """Function that records steps with a stand-in, in place of `record_steps`, which records nothing on a CPU."""
    return lambda active, step: RecordedSteps(active, step, partial(kind, active))


class PlainSteps:
    """Runs every step eagerly, with learning rates as tensors as in recorded steps, so that losses are equal."""

    def __init__(self, active: ActiveStage, step: Step) -> None:
        self.active, self.plain_step = active, step
        for group in active.optimiser.param_groups:
            group["lr"] = torch.tensor(float(group["lr"]))

    def begin_epoch(self, now: Now) -> None:
        self.now = now

    def step(self, picked: Picked) -> Tensor:
        return self.plain_step(self.active, self.active.batch(picked), self.now)


@dataclass
class Outcome:
    losses: list[float]
    weights: dict[str, Tensor]
    moved: set[str]
    recorded: int


def trained(name: str | Method, record: MakeStepTaker, epochs: int = 5) -> Outcome:
    """Losses, final weights, names of tensors that moved in memory, and number of recordings of a short run."""
    StandIn.recorded = 0
    settings = ("recipe.batch_size=16",)  # five steps per epoch; the first three steps of a phase run eagerly
    spec = tiny_run(name if isinstance(name, str) else "erm", epochs=epochs, settings=settings, n_max=16)
    if not isinstance(name, str):
        spec = dataclasses.replace(spec, method=name)
    torch.manual_seed(0)
    net = build_network(spec)
    attach_source(spec, net)
    losses, addresses, moved = [], {}, set()
    for end in train(spec, net, spec.dataset.train, record=record):
        losses.append(end.loss)
        tensors = [*net.named_parameters(), *net.named_buffers()]
        now = {f"{end.active.number} {name}": tensor.data_ptr() for name, tensor in tensors}
        moved |= {name for name, address in now.items() if addresses.setdefault(name, address) != address}
    return Outcome(losses, net.state_dict(), moved, StandIn.recorded)


@pytest.mark.parametrize("name", registry.names("methods"))
def test_recorded_steps_compute_what_plain_ones_do(name: str, slots: None) -> None:
    recorded = trained(name, recording(StandIn))
    plain = trained(name, PlainSteps)
    assert recorded.losses == plain.losses
    assert all(torch.equal(value, recorded.weights[key]) for key, value in plain.weights.items())
    assert not recorded.moved, "a graph would continue to use the tensor with which it was recorded"
    assert recorded.recorded == PHASES.get(name, recorded.recorded)
    assert 1 <= recorded.recorded <= 3, "one graph for each phase"


class Fading(Method):
    """A method that multiplies its loss by a different factor in every epoch."""

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        return super().loss(net, batch, now) * (1 - 0.5 * now.progress)


def test_a_step_that_changes_every_epoch_is_recorded_every_epoch() -> None:
    recorded = trained(Fading(), recording(StandIn), epochs=4)
    assert recorded.losses == trained(Fading(), PlainSteps, epochs=4).losses
    assert recorded.recorded == 4


class Weighted(Method):
    """A method that changes the weight of its loss in epoch 2 and freezes a layer from epoch 3 on."""

    weight = 1.0

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        self.weight = 1.0 if now.epoch < 2 else 0.1
        net.backbone[0].requires_grad_(now.epoch < 3)

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        return super().loss(net, batch, now) * self.weight


def test_what_changes_between_epochs_is_recorded_again() -> None:
    recorded = trained(Weighted(), recording(StandIn))
    assert recorded.losses == trained(Weighted(), PlainSteps).losses
    assert recorded.recorded == 3


class Redrawn(Method):
    """A method whose step augments images with random numbers from the host, which a graph would freeze."""

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        return Batch(now.fresh(torch.arange(len(batch.labels))), batch.labels)


@pytest.mark.parametrize(
    ("method", "kind", "why"),
    [
        (Redrawn(), StandIn, "no images to augment"),
        (Method(), Wrong, "a replayed step differs from an eager one"),
        (Method(), Idle, "a replayed step differs from an eager one"),
    ],
)
def test_what_cannot_be_recorded_is_taken_plainly_and_said_once(method: Method, kind: type[StandIn], why: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        losses = trained(method, recording(kind), epochs=3).losses
    (text,) = [str(warning.message) for warning in caught if "run eagerly" in str(warning.message)]
    assert why in text
    assert losses == trained(method, PlainSteps, epochs=3).losses


def test_on_a_cpu_nothing_is_recorded() -> None:
    spec = tiny_run()
    active = begin_stages(spec, build_network(spec), spec.dataset.train, 0)
    assert record_steps(active, lambda active, batch, now: torch.zeros(())) is None


def test_conditions_hold_until_one_would_be_another() -> None:
    conditions = Conditions()
    now: Any = GuardedNow(Now("train", 4, 10, torch.Generator()), conditions)
    assert not now.progress >= 0.8
    assert now.epoch > 0
    holds = [conditions.hold_at(Now("train", epoch, 10, torch.Generator())) for epoch in range(10)]
    assert holds == [False] + [True] * 7 + [False] * 2


@pytest.mark.parametrize(
    "use",
    [
        lambda now: 2 * now.progress,
        lambda now: torch.ones(2) * now.progress,
        lambda now: [1.0] * 20 and list(range(20))[now.epoch],
        lambda now: float(now.progress),
        lambda now: f"{now.epoch}",
        lambda now: {now.epoch: 1},
        lambda now: now.progress == now.epoch,
    ],
)
def test_any_other_use_of_a_moment_stands_for_that_epoch_alone(use: Callable[[Any], Any]) -> None:
    conditions = Conditions()
    use(GuardedNow(Now("train", 4, 10, torch.Generator()), conditions))
    holds = [conditions.hold_at(Now("train", epoch, 10, torch.Generator())) for epoch in (3, 4, 5)]
    assert holds == [False, True, False]


def test_torch_does_not_read_a_guarded_number_without_its_notice() -> None:
    now: Any = GuardedNow(Now("train", 4, 10, torch.Generator()), Conditions())
    with pytest.raises(TypeError):
        torch.full((2,), now.progress)
