"""Runs of balanced-softmax, logit-adjustment, logit-adjustment-posthoc, pc-softmax and lade."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import pytest
import torch
from helpers.tiny import carry_out, on_its_own, tiny_run, without_timings
from ltbench.benchmarks.method import Method, Stage
from ltbench.benchmarks.network import Classifier
from ltbench.benchmarks.training.active_stage import ActiveStage, begin_stages
from ltbench.benchmarks.training.callbacks import Callback
from ltbench.benchmarks.training.history import History
from ltbench.benchmarks.training.loop import step, train
from ltbench.benchmarks.training.run_spec import RunSpec, build_network
from ltbench.benchmarks.training.trainer import execute
from ltbench.methods._shared.priors import log_prior
from ltbench.methods.logit_adjustment_posthoc import GRID
from torch import Tensor

CPU = torch.device("cpu")
DECOUPLED = ("decoupled=true", "second=3")


def ten_losses(active: ActiveStage) -> list[float]:
    """Losses of ten steps from the start of a stage."""
    losses: list[float] = []
    for epoch in range(10):
        now = active.begin_epoch(epoch)
        drawn = itertools.islice(active.draw(now), 10 - len(losses))
        losses += [float(step(active, active.batch(picked), now)) for picked in drawn]
    assert len(losses) == 10
    return losses


def first_losses(name: str, *settings: str) -> list[float]:
    spec = tiny_run(name, settings=settings)
    return ten_losses(begin_stages(spec, build_network(spec), spec.dataset.train, 0))


def test_neutral_settings_are_the_simpler_methods() -> None:
    erm, balanced = first_losses("erm"), first_losses("balanced-softmax")
    assert first_losses("logit-adjustment", "tau=0") == pytest.approx(erm, rel=1e-6)
    assert first_losses("logit-adjustment", "tau=1") == balanced
    assert first_losses("lade", "alpha=0") == pytest.approx(balanced, rel=1e-6)
    for other in (balanced, first_losses("logit-adjustment", "tau=0.5"), first_losses("lade")):
        assert other[0] != pytest.approx(erm[0], rel=1e-3)
    assert first_losses("lade")[0] != pytest.approx(balanced[0], rel=1e-3)
    assert first_losses("lade", "importance=label")[0] != pytest.approx(first_losses("lade")[0], rel=1e-3)


class ReTraining(Method):
    """Trains a new classifier like the decoupled balanced softmax, but with plain cross-entropy."""

    def stages(self, epochs: int) -> list[Stage]:
        return tiny_run("balanced-softmax", settings=DECOUPLED).method.stages(epochs)


def second_stage(method: Method | None = None, counts: Tensor | None = None) -> ActiveStage:
    """The second stage of a decoupled run with initial weights; `counts` replace the class sizes in its prior."""
    spec = tiny_run("balanced-softmax", settings=DECOUPLED)
    spec = dataclasses.replace(spec, method=method or spec.method)
    active = begin_stages(spec, build_network(spec), spec.dataset.train, 1)
    if counts is not None:
        spec.method.prior_ = log_prior(counts)  # type: ignore[attr-defined]
    return active


def test_decoupled_balanced_softmax_re_trains_a_classifier() -> None:
    """With equal class sizes, ten losses of the second stage are those of plain cross-entropy."""
    plain = ten_losses(second_stage(ReTraining()))
    assert ten_losses(second_stage(counts=torch.full((10,), 7))) == pytest.approx(plain, rel=1e-5)
    assert ten_losses(second_stage())[0] != pytest.approx(plain[0], rel=1e-3)


def test_the_second_stage_has_the_published_settings() -> None:
    spec = tiny_run("balanced-softmax", settings=("decoupled=true", "recipe.lr=0.7"))
    first, second = spec.stages
    assert (first.epochs, second.epochs) == (3, 20)
    active = begin_stages(spec, build_network(spec), spec.dataset.train, 1)
    assert not torch.equal(active.net.head.weight, build_network(spec).head.weight), "a new classifier"
    rates = []
    for epoch in (0, 10, 19):
        assert spec.method.sampling(spec.dataset.train.counts, active.begin_epoch(epoch)) is None
        rates.append(active.optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.05, 0.05 * (1 + math.cos(math.pi * 0.95))])


def test_the_second_stage_keeps_the_features() -> None:
    spec = tiny_run("balanced-softmax", settings=DECOUPLED)
    net = build_network(spec)
    before: dict[str, Tensor] = {}
    for end in train(spec, net, spec.dataset.train):
        if end.now.stage == "train":
            before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    changed = {key for key, tensor in net.state_dict().items() if not torch.equal(before[key], tensor)}
    assert {key for key in changed if "running" not in key and "num_batches" not in key} == {"head.weight", "head.bias"}


class StopAfter(Callback):
    """Interrupts a run, or the training that it shares, after `epochs` epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def epoch(self, history: History) -> None:
        if history.epochs == self.epochs:
            raise KeyboardInterrupt


def test_a_decoupled_run_resumes_and_shares_erm(tmp_path: Path) -> None:
    whole = carry_out(tiny_run("balanced-softmax", settings=DECOUPLED), tmp_path / "whole")
    assert [(part.method, part.epochs) for part in whole.cost.prerequisites] == [("erm", 3)]
    own = carry_out(on_its_own(tiny_run("balanced-softmax", settings=DECOUPLED)), tmp_path / "own")
    assert without_timings(own) == without_timings(whole)
    for stop in (1, 3, 4, 5):
        spec, folder = tiny_run("balanced-softmax", settings=DECOUPLED), tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            execute(spec, CPU, folder, StopAfter(stop))
        resumed = carry_out(tiny_run("balanced-softmax", settings=DECOUPLED), folder)
        assert without_timings(resumed) == without_timings(whole)


def finished(spec: RunSpec, runs: Path) -> dict[str, Tensor]:
    carry_out(spec, runs)
    state: dict[str, Tensor] = torch.load(runs / spec.id / "network.pt", weights_only=True)
    return state


def test_posthoc_methods_change_the_biases_of_erm_alone(tmp_path: Path) -> None:
    erm, prior = finished(tiny_run(), tmp_path), log_prior(tiny_run().dataset.train.counts)
    zero, half = (
        finished(tiny_run("logit-adjustment-posthoc", settings=(f"tau={tau}",)), tmp_path) for tau in (0, 0.5)
    )
    compensation = finished(tiny_run("pc-softmax"), tmp_path)
    assert all(torch.equal(erm[key], zero[key]) for key in erm)
    for state, expected in (
        (half, erm["head.bias"] - prior / 2),
        (compensation, erm["head.bias"] - prior - math.log(10)),
    ):
        assert {key for key in erm if not torch.equal(erm[key], state[key])} == {"head.bias"}
        torch.testing.assert_close(state["head.bias"], expected)


def test_pc_softmax_of_equal_class_sizes_is_erm() -> None:
    spec = tiny_run("pc-softmax")
    net, split = build_network(spec), spec.dataset.train
    bias = net.head.bias.detach().clone()
    index = torch.cat([(split.labels == label).nonzero()[:4, 0] for label in range(10)])
    torch.testing.assert_close(spec.method.finish(net, split.take(index)).head.bias.detach(), bias)
    assert not torch.allclose(spec.method.finish(net, split).head.bias.detach(), bias)


def test_the_chosen_tau_is_the_best_on_held_out_images(tmp_path: Path) -> None:
    """It is the first value of the grid with the highest class-mean accuracy; the prior leaves out held-out images."""
    spec = tiny_run("logit-adjustment-posthoc", settings=("choose=validation",))
    record = carry_out(spec, tmp_path)
    (epoch, tau), *others = record.history.measures["tau"]
    assert (epoch, others) == (record.final.epoch, [])
    split, erm = spec.dataset.train, tiny_run(settings=("dataset.holdout=true",))
    assert split.validation is not None
    prior = log_prior(split.counts)
    net: Classifier = build_network(erm)
    net.load_state_dict(finished(erm, tmp_path))
    net.eval()
    with torch.no_grad():
        logits = net(split.validation.images.float() / 255)
    labels, accuracies = split.validation.labels, []
    for value in GRID:
        hits = ((logits - value * prior).argmax(1) == labels).float()
        accuracies.append(sum(float(hits[labels == label].mean()) for label in range(10)) / 10)
    assert GRID[0] == 0
    assert (len(GRID), GRID[-1]) == (41, 4)
    assert tau == GRID[accuracies.index(max(accuracies))]
    final = torch.load(tmp_path / spec.id / "network.pt", weights_only=True)
    torch.testing.assert_close(final["head.bias"], net.head.bias.detach() - tau * prior)
    assert not carry_out(tiny_run("logit-adjustment-posthoc"), tmp_path).history.measures


@pytest.mark.parametrize(
    ("holder", "base"),
    [("rsg", "balanced-softmax"), ("rsg", "lade"), ("rsg", "pc-softmax"), ("m2m", "logit-adjustment")],
)
def test_methods_on_a_prior_adjusted_base_train(holder: str, base: str, tmp_path: Path) -> None:
    record = carry_out(tiny_run(holder, settings=(f"{holder}.base={base}", f"{holder}.start=0.3")), tmp_path)
    assert all(math.isfinite(loss) for loss in record.history.loss)
    assert record.hyperparameters["base"] == base
