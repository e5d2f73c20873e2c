"""Decoupled training: heads, projections and second stages of crt, lws, tau-norm, ncm and weight-balancing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import carry_out, tiny_run
from ltbench.benchmarks.method import Method, Now, Stage
from ltbench.benchmarks.network import LinearHead
from ltbench.benchmarks.registry import configure, load
from ltbench.benchmarks.training.active_stage import ActiveStage, begin_stages
from ltbench.benchmarks.training.loop import step, train
from ltbench.benchmarks.training.run_spec import RunSpec, build_network
from ltbench.methods._shared.class_weights import effective_number_weights
from ltbench.methods._shared.decoupled import Decoupled
from ltbench.methods._shared.scaled_head import ScaledHead
from ltbench.methods.ncm import NearestMean
from ltbench.methods.tau_norm import GRID, normalised
from ltbench.methods.weight_balancing import bound, project
from torch import Tensor

WEIGHT = torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]], dtype=torch.float64)
BIAS = torch.tensor([0.5, 0.0, 0.0], dtype=torch.float64)
ONES = torch.ones(1, 2, dtype=torch.float64)
SECOND = {"crt": 30, "lws": 30, "weight-balancing": 10}  # published number of epochs


def linear_head(weight: Tensor = WEIGHT, bias: Tensor = BIAS) -> LinearHead:
    head = LinearHead(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    head.load_state_dict({"weight": weight, "bias": bias})
    return head


def second_stage(name: str, settings: tuple[str, ...] = ()) -> ActiveStage:
    """The second stage of a run that has not been trained, so that its network has initial weights."""
    spec = tiny_run(name, settings=(f"second={SECOND[name]}", *settings))
    return begin_stages(spec, build_network(spec), spec.dataset.train, 1)


def ten_losses(active: ActiveStage) -> list[float]:
    """Losses of ten steps from the start of a stage."""
    losses: list[float] = []
    for epoch in range(10):
        now = active.begin_epoch(epoch)
        losses += [float(step(active, active.batch(picked), now)) for picked in active.draw(now)]
    assert len(losses) >= 10
    return losses[:10]


def test_scaled_head_multiplies_the_logits_of_a_class() -> None:
    head = ScaledHead(linear_head())
    assert torch.equal(head(ONES), linear_head()(ONES)), "scales of 1 change nothing"
    head.load_state_dict({"scale": torch.tensor([0.5, 1.0, 2.0])}, strict=False)
    assert head(ONES)[0].tolist() == pytest.approx([3.75, 2.0, 2.0], abs=1e-5)


def test_folded_scales_give_the_same_logits() -> None:
    head = ScaledHead(linear_head())
    assert all(map(torch.equal, head.fold().parameters(), linear_head().parameters()))
    head.load_state_dict({"scale": torch.tensor([0.5, 1.0, -2.0])}, strict=False)
    features = torch.tensor([[1.0, 1.0], [-0.3, 2.5]], dtype=torch.float64)
    torch.testing.assert_close(head.fold()(features), head(features), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("tau", "expected"),
    [(0, (7, 2, 1)), (0.5, (3.130495, 1.414214, 1)), (0.7, (2.268919, 1.231144, 1)), (1, (1.4, 1, 1))],
)
def test_tau_normalised_logits(tau: float, expected: tuple[float, ...]) -> None:
    assert (ONES @ normalised(WEIGHT, tau).T)[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_tau_norm_keeps_a_class_vector_of_zeros() -> None:
    for tau in (0.0, 0.5, 2.0):
        assert normalised(torch.zeros(2, 3), tau).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("raw", (-2.25, -6.25, -15.25)),
        ("l2", (-0.4, -0.8, -3.979899)),
        ("centred-l2", (-1.072551, -2.021873, -3.701872)),
    ],
)
def test_scores_of_the_nearest_mean(space: Any, expected: tuple[float, ...]) -> None:
    features = torch.tensor([[1.0, 0], [3, 0], [0, 2], [0, 4], [-1, -1]], dtype=torch.float64)
    head = NearestMean(2, 3, space).double()
    head.fit(features, torch.tensor([0, 0, 1, 1, 2]))
    assert head(torch.tensor([[2.0, 1.5]], dtype=torch.float64))[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_class_vectors_are_shortened_to_the_bound() -> None:
    weight, largest = WEIGHT.clone(), bound(WEIGHT, 0.1)
    assert float(largest) == pytest.approx(1.4)
    project(weight, largest)
    torch.testing.assert_close(weight, torch.tensor([[0.84, 1.12], [0, 1.4], [1, 0]], dtype=torch.float64))
    once = weight.clone()
    project(weight, largest)
    torch.testing.assert_close(weight, once)
    project(weight, torch.tensor(torch.inf, dtype=torch.float64))
    torch.testing.assert_close(weight, once)


def test_projection_keeps_a_class_vector_of_zeros() -> None:
    for largest in (0.0, 1.0):
        weight = torch.zeros(2, 3)
        project(weight, torch.tensor(largest))
        assert weight.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(("name", "norms"), [("crt", "eval"), ("crt", "statistics"), ("lws", "eval")])
def test_the_second_stage_keeps_the_features(name: str, norms: str) -> None:
    """Only the head and, unless norms=eval, running statistics change; LWS changes only the scales of the head."""
    spec = tiny_run(name, settings=(f"norms={norms}", "second=2"))
    net = build_network(spec)
    before: dict[str, Tensor] = {}
    for end in train(spec, net, spec.dataset.train):
        if end.now.stage == "train":
            before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    after = net.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    statistics = {key for key in before if "running" in key or "num_batches" in key}
    assert changed - statistics == ({"head.weight", "head.bias"} if name == "crt" else set())
    assert bool(changed & statistics) == (norms == "statistics")
    assert name == "crt" or not torch.equal(after["head.scale"], torch.ones(10))


@pytest.mark.parametrize("name", ["crt", "lws"])
def test_the_second_stage_draws_four_images_of_a_class(name: str) -> None:
    active = second_stage(name)
    now = active.begin_epoch(0)
    labels = torch.cat([active.batch(picked).labels for picked in active.draw(now)])
    groups = labels[: len(labels) // 4 * 4].view(-1, 4)
    assert (groups == groups[:, :1]).all()
    assert sorted(groups[:10, 0].tolist()) == list(range(10)), "each class occurs once before any recurs"


def test_crt_begins_with_a_new_head_and_lws_with_the_old() -> None:
    first = build_network(tiny_run()).head
    assert not torch.equal(second_stage("crt").net.head.weight, first.weight)
    assert torch.equal(second_stage("lws").net.head.weight, first.weight)


def test_the_second_stage_has_the_published_settings() -> None:
    crt = second_stage("crt")
    rates = []
    for epoch in range(30):
        crt.begin_epoch(epoch)
        rates.append(crt.optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, *[0.1] * 6, *[0.01] * 10, *[0.001] * 10])
    assert crt.optimiser.param_groups[0]["weight_decay"] == 5e-4
    balanced = second_stage("weight-balancing").optimiser.param_groups[0]
    assert balanced["weight_decay"] == 0.1
    first, second = tiny_run("weight-balancing").stages
    assert (first.lr, first.weight_decay, second.lr) == (0.01, 5e-3, 0.01)


@pytest.mark.parametrize(("name", "epochs"), SECOND.items())
def test_the_second_stage_has_a_length_of_its_own(name: str, epochs: int) -> None:
    assert [stage.epochs for stage in configure(load("methods", name), {}).stages(200)] == [200, epochs]


def test_lws_with_scales_of_one_is_the_old_classifier() -> None:
    """With a vanishing learning rate, ten losses equal those of a second stage that trains the classifier itself."""
    slow = "recipe.lr=1e-30"
    spec = dataclasses.replace(tiny_run(settings=(slow,)), method=Decoupled())
    plain = ten_losses(begin_stages(spec, build_network(spec), spec.dataset.train, 1))
    assert ten_losses(second_stage("lws", (slow,))) == plain
    assert ten_losses(second_stage("lws")) != plain


class ReTraining(Method):
    """Continues to train the classifier like weight balancing, but without class weights and without a norm bound."""

    def stages(self, epochs: int) -> list[Stage]:
        stages: list[Stage] = configure(load("methods", "weight-balancing"), {}).stages(epochs)
        return stages


def test_weight_balancing_without_balance_is_re_training() -> None:
    spec = dataclasses.replace(tiny_run(), method=ReTraining())
    plain = ten_losses(begin_stages(spec, build_network(spec), spec.dataset.train, 1))
    neutral = second_stage("weight-balancing", ("beta=0",))
    neutral.net.largest_norm.fill_(torch.inf)
    assert ten_losses(neutral) == plain
    assert ten_losses(second_stage("weight-balancing", ("beta=0",))) != plain, "the bound has an effect"
    weighted = second_stage("weight-balancing")
    weighted.net.largest_norm.fill_(torch.inf)
    assert ten_losses(weighted) != plain, "class weights have an effect"


def test_weight_balancing_bounds_by_the_first_stage(tmp_path: Path) -> None:
    spec = tiny_run("weight-balancing")
    net = build_network(spec)
    largest = torch.tensor(0.0)
    for end in train(spec, net, spec.dataset.train):
        if end.now.stage == "train":
            largest = bound(net.head.weight, 0.1)
        else:
            assert torch.equal(net.largest_norm, largest)
            assert float(net.head.weight.detach().norm(dim=1).max()) <= float(largest) * (1 + 1e-6)


def test_weight_balancing_weights_classes_in_the_second_stage() -> None:
    z, y = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.5]], dtype=torch.float64), torch.tensor([0, 2])
    method: Any = tiny_run("weight-balancing").method
    method.weights_ = effective_number_weights(torch.tensor([100, 20, 5]), 0.9999).double()
    losses = [float(method.criterion(z, y, Now(stage, 0, 10, torch.Generator()))) for stage in ("train", "classifier")]
    assert losses == pytest.approx([1.185987, 1.889901], abs=1e-5)
    method.weights_ = effective_number_weights(torch.tensor([7, 7, 7]), 0.9999).double()
    equal = method.criterion(z, y, Now("classifier", 0, 10, torch.Generator()))
    assert float(equal) == pytest.approx(1.185987, abs=1e-6)


def finished(spec: RunSpec, runs: Path) -> dict[str, Tensor]:
    carry_out(spec, runs)
    state: dict[str, Tensor] = torch.load(runs / spec.id / "network.pt", weights_only=True)
    return state


def test_tau_of_zero_gives_the_logits_of_erm_without_biases(tmp_path: Path) -> None:
    erm = finished(tiny_run(), tmp_path)
    zero, unit = (finished(tiny_run("tau-norm", settings=(f"tau={tau}",)), tmp_path) for tau in (0, 1))
    assert {key for key in erm if not torch.equal(erm[key], zero[key])} == {"head.bias"}
    assert not zero["head.bias"].any()
    assert unit["head.weight"].norm(dim=1).tolist() == pytest.approx([1.0] * 10)


def test_the_chosen_tau_is_recorded(tmp_path: Path) -> None:
    """It is the value of the grid with the highest class-mean accuracy on held-out images."""
    spec = tiny_run("tau-norm", settings=("choose=validation",))
    record = carry_out(spec, tmp_path)
    (epoch, tau), *others = record.history.measures["tau"]
    assert (epoch, others) == (record.final.epoch, [])
    held_out, erm = spec.dataset.train.validation, tiny_run(settings=("dataset.holdout=true",))
    assert held_out is not None
    net = build_network(erm)
    net.load_state_dict(finished(erm, tmp_path))
    net.eval()
    with torch.no_grad():
        features = net.features(held_out.images.float() / 255)
    accuracies = {}
    for value in GRID:
        predicted = (features @ (net.head.weight / net.head.weight.norm(dim=1)[:, None] ** value).T).argmax(1)
        hits = [float((predicted[held_out.labels == label] == label).float().mean()) for label in range(10)]
        accuracies[value] = sum(hits) / len(hits)
    assert accuracies[tau] == max(accuracies.values())
    assert not carry_out(tiny_run("tau-norm"), tmp_path).history.measures


def test_nearest_means_are_those_of_the_final_erm_network(tmp_path: Path) -> None:
    spec, erm = tiny_run("ncm", settings=("space=l2",)), tiny_run()
    state = finished(spec, tmp_path)
    net = build_network(erm)
    net.load_state_dict(finished(erm, tmp_path))
    net.eval()
    split = spec.dataset.train
    with torch.no_grad():
        features = torch.nn.functional.normalize(net.features(split.images.float() / 255), dim=1)
    naive = torch.stack([features[split.labels == label].mean(0) for label in range(10)])
    torch.testing.assert_close(state["head.means"], naive, rtol=1e-4, atol=1e-6)
    assert not state["head.centre"].any()
