"""Recorded steps. There is no GPU in these tests: a stand-in for its graph carries the step out anew at each replay.

The stand-in is strict where a graph is: the moment and the method's attributes stay what they were when the step was
recorded. So a change of them that should have led to a new recording and did not changes the numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from helpers.tiny import tiny_run
from ltbench.benchmarks import registry
from ltbench.benchmarks.method import Batch, Method, Now
from ltbench.benchmarks.network import Classifier
from ltbench.benchmarks.split import Split
from ltbench.benchmarks.training import cuda_graph as graph
from ltbench.benchmarks.training import loop as train
from ltbench.benchmarks.training.cuda_graph import Steps
from ltbench.benchmarks.training.guards import Answers, WatchedNow
from ltbench.benchmarks.training.trainer import attach_source, build_network
from torch import Tensor

PHASES = {"erm": 1, "oversample": 1, "drw": 2, "open": 2, "m2m": 2, "rsg": 2, "blt": 3}


class StandIn:
    """Runs the step once when it is recorded, as capturing does, and puts everything back."""

    made = 0

    def __init__(self, steps: Steps, work: Callable[[], Tensor], generators: Sequence[torch.Generator]) -> None:
        state = graph._State(steps.net, steps.optimiser, generators[0])
        before = state.copies()
        work()
        state.restore(before)
        self.work, self.method, self.found = work, steps.method, dict(vars(steps.method))
        StandIn.made += 1

    def replay(self) -> Tensor:
        now = dict(vars(self.method))
        vars(self.method).update(self.found)
        try:
            return self.work()
        finally:
            vars(self.method).update(now)


class Recording(Steps):
    """Records on the CPU, too."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.record = lambda work, generators: StandIn(self, work, generators)
        as_tensors(self)


class Plain(Steps):
    """Takes every step plainly, with learning rates as tensors, whose rounding is another one."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        as_tensors(self)


def as_tensors(steps: Steps) -> None:
    for group in steps.optimiser.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]))


@dataclass
class Seen:
    losses: list[float]
    weights: dict[str, Tensor]
    moved: set[str]
    recorded: int


def trained(name: str | Method, kind: type[Steps], monkeypatch: pytest.MonkeyPatch, epochs: int = 5) -> Seen:
    """A run of a few seconds, all epochs through the method's own hooks."""
    monkeypatch.setattr(train, "Steps", kind)
    StandIn.made = 0
    run = tiny_run(name if isinstance(name, str) else "erm", epochs=epochs, settings=("recipe.batch_size=16",))
    method = run.method if isinstance(name, str) else name
    torch.manual_seed(0)
    net = build_network(run)
    attach_source(run, net)
    losses, places, moved = [], {}, set()
    for end in train.train(method, net, run.dataset.train, run.recipe, 0):
        losses.append(end.loss)
        now = {f"{end.stage} {key}": value.data_ptr() for key, value in [*net.named_parameters(), *net.named_buffers()]}
        moved |= {key for key, place in now.items() if places.setdefault(key, place) != place}
    return Seen(losses, net.state_dict(), moved, StandIn.made)


@pytest.mark.parametrize("name", registry.names("methods"))
def test_recorded_steps_compute_what_plain_ones_do(name: str, slots: None, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = trained(name, Recording, monkeypatch)
    plain = trained(name, Plain, monkeypatch)
    assert recorded.losses == plain.losses
    assert all(torch.equal(value, recorded.weights[key]) for key, value in plain.weights.items())
    assert not recorded.moved, "a graph would go on with the tensor that was there when it was recorded"
    assert recorded.recorded == PHASES.get(name, recorded.recorded)
    assert 1 <= recorded.recorded <= 3, "one graph for each phase"


class Fading(Method):
    """A loss that changes with every epoch."""

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        return super().loss(net, batch, now) * (1 - 0.5 * now.progress)


def test_a_step_that_changes_with_every_epoch_is_recorded_for_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = trained(Fading(), Recording, monkeypatch, epochs=4)
    assert recorded.losses == trained(Fading(), Plain, monkeypatch, epochs=4).losses
    assert recorded.recorded == 4


class Weighted(Method):
    """Sets what its step reads where an epoch begins, out of sight of the moment; and freezes a layer half-way."""

    weight = 1.0

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        self.weight = 1.0 if now.epoch < 2 else 0.1
        net.backbone[0].requires_grad_(now.epoch < 3)

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        return super().loss(net, batch, now) * self.weight


def test_what_changes_between_epochs_is_recorded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = trained(Weighted(), Recording, monkeypatch)
    assert recorded.losses == trained(Weighted(), Plain, monkeypatch).losses
    assert recorded.recorded == 3


class Redrawn(Method):
    """Draws from the host in its step, which a graph would freeze."""

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        return Batch(now.fresh(torch.arange(len(batch.labels))), batch.labels)


class Forgetful(Steps):
    """Its recordings compute something else."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.record = lambda work, generators: Wrong(self, work, generators)


class Wrong(StandIn):
    def replay(self) -> Tensor:
        return self.work() + 1


class Lazy(Steps):
    """Its recordings give the loss and change nothing."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.record = lambda work, generators: Idle(self, work, generators)


class Idle(StandIn):
    def __init__(self, steps: Steps, *parts: Any) -> None:
        super().__init__(steps, *parts)
        self.state = graph._State(steps.net, steps.optimiser, steps.now.generator)

    def replay(self) -> Tensor:
        before = self.state.copies()
        loss = self.work()
        self.state.restore(before)
        return loss


@pytest.mark.parametrize(
    ("method", "kind", "why"),
    [
        (Redrawn(), Recording, "no images to augment"),
        (Method(), Forgetful, "does not compute what a plain one does"),
        (Method(), Lazy, "does not compute what a plain one does"),
    ],
)
def test_what_cannot_be_recorded_is_taken_plainly_and_says_so_once(
    method: Method, kind: type[Steps], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        losses = trained(method, kind, monkeypatch, epochs=3).losses
    (said,) = [str(one.message) for one in seen if "one by one" in str(one.message)]
    assert why in said
    assert losses == trained(method, Plain if kind is Recording else Steps, monkeypatch, epochs=3).losses


def test_answers_hold_until_one_would_be_another() -> None:
    answers = Answers()
    now: Any = WatchedNow(Now("train", 4, 10, torch.Generator()), answers)
    assert not now.progress >= 0.8
    assert now.epoch > 0
    holds = [answers.hold(Now("train", epoch, 10, torch.Generator())) for epoch in range(10)]
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
    answers = Answers()
    use(WatchedNow(Now("train", 4, 10, torch.Generator()), answers))
    assert [answers.hold(Now("train", epoch, 10, torch.Generator())) for epoch in (3, 4, 5)] == [False, True, False]


def test_torch_does_not_read_a_watched_number_behind_its_back() -> None:
    now: Any = WatchedNow(Now("train", 4, 10, torch.Generator()), Answers())
    with pytest.raises(TypeError):
        torch.full((2,), now.progress)
