"""Class priors in the softmax: balanced softmax, logit adjustment, PC-softmax and LADE."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny import carry_out, on_its_own, tiny_run, without_timings
from ltbench.benchmarks.method import Method, Now, Stage
from ltbench.benchmarks.network import Classifier
from ltbench.benchmarks.registry import configure, load
from ltbench.benchmarks.split import Split
from ltbench.benchmarks.training.active_stage import ActiveStage, begin_stages
from ltbench.benchmarks.training.callbacks import Callback
from ltbench.benchmarks.training.history import History
from ltbench.benchmarks.training.loop import step, train
from ltbench.benchmarks.training.run_spec import RunSpec, build_network
from ltbench.benchmarks.training.trainer import execute
from ltbench.methods._shared.priors import adjusted_losses, density_ratio_regulariser, log_prior
from ltbench.methods.logit_adjustment_posthoc import GRID
from ltbench.methods.pc_softmax import compensated
from torch import Tensor

COUNTS = torch.tensor([100, 20, 5])
PRIOR = (COUNTS.double() / 125).log()
LOGITS = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.5]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])
CPU = torch.device("cpu")
NOW = Now("train", 0, 10, torch.Generator())
LOSSES = ["balanced-softmax", "logit-adjustment", "lade"]
DECOUPLED = ("decoupled=true", "second=3")


def begun(name: str, counts: Tensor, **fields: object) -> Method:
    """A method whose first stage has begun on a split with these class sizes; its tensors are float64."""
    method: Any = configure(load("methods", name), fields)
    labels = torch.repeat_interleave(torch.arange(len(counts)), counts)
    split = Split(torch.zeros(len(labels), 3, 2, 2, dtype=torch.uint8), labels, len(counts))
    method.begin_stage(Stage("train", 10), build_network(tiny_run()), split)
    method.prior_ = method.prior_.double()
    built: Method = method
    return built


def criterion(name: str, counts: Tensor = COUNTS, **fields: object) -> float:
    return float(begun(name, counts, **fields).criterion(LOGITS, LABELS, NOW))


def some_batch(classes: int = 4) -> tuple[Tensor, Tensor]:
    """Logits (12, C) and labels (12,), among which the last class is missing and two rows are ignored."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(classes - 1, (12,), generator=random)
    labels[[3, 7]] = -100
    return 3 * torch.randn(12, classes, generator=random, dtype=torch.float64), labels


def test_log_priors_are_those_of_the_class_fractions() -> None:
    assert log_prior(COUNTS).exp().tolist() == pytest.approx([0.80, 0.16, 0.04])
    assert log_prior(torch.tensor([10**6, 1])).isfinite().all()


def test_balanced_softmax_of_the_fixture() -> None:
    assert adjusted_losses(LOGITS, LABELS, PRIOR).tolist() == pytest.approx([0.077278, 3.949342], abs=1e-5)
    assert criterion("balanced-softmax") == pytest.approx(2.013310, abs=1e-5)


@pytest.mark.parametrize(("tau", "expected"), [(0, 1.185987), (0.5, 1.515394), (1, 2.013310), (2, 3.305494)])
def test_logit_adjustment_of_the_fixture(tau: float, expected: float) -> None:
    assert criterion("logit-adjustment", tau=tau) == pytest.approx(expected, abs=1e-5)


def test_adjusted_losses_equal_the_naive_formula() -> None:
    logits, labels = some_batch()
    counts = torch.tensor([50, 20, 7, 3])
    naive = []
    for z, y in zip(logits.tolist(), labels.tolist(), strict=True):
        terms = [math.exp(value) * (n / 80) ** 1.3 for value, n in zip(z, counts.tolist(), strict=True)]
        naive.append(0.0 if y < 0 else -math.log(terms[y] / sum(terms)))
    losses = adjusted_losses(logits, labels, (counts.double() / 80).log(), 1.3)
    assert losses.tolist() == pytest.approx(naive, rel=1e-9)
    method = begun("logit-adjustment", counts, tau=1.3)
    assert float(method.criterion(logits, labels, NOW)) == pytest.approx(sum(naive) / 10, rel=1e-6)


def test_posthoc_logits_of_the_fixture() -> None:
    adjusted = LOGITS - log_prior(COUNTS).double()
    expected = torch.tensor([[2.223144, 2.832581, 3.218876], [1.223144, 3.832581, 3.718876]], dtype=torch.float64)
    torch.testing.assert_close(adjusted, expected, atol=1e-5, rtol=0)
    assert adjusted.argmax(1).tolist() == [2, 1]
    assert (LOGITS - 0.5 * log_prior(COUNTS)).argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ((1 / 3, 1 / 3, 1 / 3), (0.180307, 0.331656, 0.488037)),
        ((0.04, 0.16, 0.80), (0.016002, 0.117737, 0.866261)),
        ((0.80, 0.16, 0.04), (0.665241, 0.244728, 0.090031)),  # the training prior: softmax of the logits themselves
    ],
)
def test_pc_softmax_of_the_fixture(target: Sequence[float], expected: Sequence[float]) -> None:
    logits = compensated(LOGITS[0], PRIOR, torch.tensor(target, dtype=torch.float64).log())
    assert logits.softmax(0).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("of_label", "expected"), [(False, -0.395492), (True, 1.780483)])
def test_lade_of_the_fixture(of_label: bool, expected: float) -> None:
    value = density_ratio_regulariser(LOGITS, LABELS, PRIOR, 0.1, of_label)
    assert float(value) == pytest.approx(expected, abs=1e-5)
    importance = "label" if of_label else "logit"
    total = criterion("lade", alpha=0.1, lam=0.1, importance=importance)
    assert total == pytest.approx(2.013310 + 0.1 * expected, abs=1e-5)
    assert total == pytest.approx(2.191358 if of_label else 1.973761, abs=1e-5)


@pytest.mark.parametrize("of_label", [False, True])
def test_the_regulariser_equals_the_naive_formula(of_label: bool) -> None:
    """Ignored rows do not count, and the first term of a class without an image in the batch is 0."""
    logits, labels = some_batch()
    prior = torch.tensor([0.6, 0.25, 0.1, 0.05], dtype=torch.float64)
    pairs = [(z, y) for z, y in zip(logits.tolist(), labels.tolist(), strict=True) if y >= 0]
    naive = 0.0
    for c, pi in enumerate(prior.tolist()):
        own = [z[c] for z, y in pairs if y == c]
        terms = [math.exp(z[c]) * 0.25 / float(prior[y] if of_label else pi) for z, y in pairs]
        bound = math.log(sum(terms) / len(terms))
        naive -= pi * ((sum(own) / len(own) if own else 0) - bound - 0.3 * bound**2)
    value = density_ratio_regulariser(logits, labels, prior.log(), 0.3, of_label)
    assert float(value) == pytest.approx(naive, rel=1e-9)
    kept = labels >= 0
    soft = F.one_hot(labels[kept], 4).double()
    value = density_ratio_regulariser(logits[kept], soft, prior.log(), 0.3, of_label)
    assert float(value) == pytest.approx(naive, rel=1e-9)


@pytest.mark.parametrize("importance", ["logit", "label"])
def test_large_logits_give_a_finite_regulariser(importance: str) -> None:
    logits = (1000 * LOGITS).float().requires_grad_()
    loss = begun("lade", COUNTS, importance=importance).criterion(logits, LABELS, NOW)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_do_not_depend_on_order_or_ignored_rows(name: str) -> None:
    """The gradient of ignored rows is exactly 0, and classes without an image in the batch give no NaN."""
    logits, labels = some_batch()
    method = begun(name, torch.tensor([50, 20, 7, 3]))
    leaf = logits.clone().requires_grad_()
    loss = method.criterion(leaf, labels, NOW)
    loss.backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert not leaf.grad[labels < 0].any()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    order = order[labels[order] >= 0]
    assert float(method.criterion(logits[order], labels[order], NOW)) == pytest.approx(float(loss.detach()), rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_class_probabilities_are_labels_too(name: str) -> None:
    method = begun(name, COUNTS)
    hard, soft = (float(method.criterion(LOGITS, each, NOW)) for each in (LABELS, F.one_hot(LABELS, 3).double()))
    assert soft == pytest.approx(hard, rel=1e-9)


def test_equal_class_sizes_give_the_losses_without_counts() -> None:
    equal = torch.tensor([7, 7, 7])
    plain = 1.185987
    assert criterion("balanced-softmax", equal) == pytest.approx(plain, abs=1e-6)
    assert criterion("logit-adjustment", equal, tau=3) == pytest.approx(plain, abs=1e-6)
    bounds = LOGITS.exp().mean(0).log()
    count_free = float((bounds + 0.01 * bounds**2).sum() - LOGITS[0, 0] - LOGITS[1, 2]) / 3
    for importance in ("logit", "label"):
        value = criterion("lade", equal, importance=importance)
        assert value == pytest.approx(plain + 0.1 * count_free, abs=1e-6)


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
    """Trains a new classifier as the decoupled balanced softmax does, with plain cross-entropy."""

    def stages(self, epochs: int) -> list[Stage]:
        return tiny_run("balanced-softmax", settings=DECOUPLED).method.stages(epochs)


def second_stage(method: Method | None = None, counts: Tensor | None = None) -> ActiveStage:
    """The second stage of a decoupled run without training; `counts` replace the class sizes of its split."""
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
    """Interrupts a run, or the training that it shares, after a number of epochs."""

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
    """The first value of the grid with the highest mean accuracy; the prior is that of the images trained on."""
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
