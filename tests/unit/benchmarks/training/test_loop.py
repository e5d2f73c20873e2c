"""The training loop with test methods that have stages, freeze parts, attach modules and modify images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from helpers.tiny import carry_out, tiny_run, without_timings
from ltbench.benchmarks.method import Batch, Method, Now, Split, Stage
from ltbench.benchmarks.network import Classifier
from ltbench.benchmarks.training import checkpoint
from ltbench.benchmarks.training.callbacks import Callback
from ltbench.benchmarks.training.loop import train
from ltbench.benchmarks.training.optimiser import make_optimiser
from ltbench.benchmarks.training.run_spec import RunSpec, build_network
from ltbench.benchmarks.training.trainer import execute
from torch import Tensor, nn

CPU = torch.device("cpu")


@dataclass
class TwoStages(Method):
    """Trains the whole network with noise and a helper module that gets its first gradient late; then only the head."""

    strength: float = 0.1

    def stages(self, epochs: int) -> list[Stage]:
        return [Stage("features", epochs), Stage("head", 3, trained=("head.",), factors=(("head.", 0.5),))]

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        if stage.name == "features":
            net.helper = nn.Linear(10, 10)
            net.register_buffer("steps", torch.zeros(()))

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        noise = torch.rand(batch.images.shape, generator=now.generator, device=batch.images.device)
        return Batch((batch.images + self.strength * noise).clamp(0, 1), batch.labels)

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        logits = net(batch.images)
        if now.stage == "features" and now.progress >= 0.5:
            logits = logits + net.helper(logits)  # type: ignore[operator]
        return self.criterion(logits, batch.labels, now)

    def after_step(self, net: Classifier, now: Now) -> None:
        net.steps.add_(1)  # type: ignore[operator,union-attr]

    def finish(self, net: Classifier, train: Split) -> Classifier:
        del net.helper, net.steps
        return net


def two_stages(epochs: int = 4) -> RunSpec:
    return dataclasses.replace(tiny_run(epochs=epochs), name="two-stages", method=TwoStages())


class StopIn(Callback):
    """Callback that interrupts a run in the middle of an epoch, after `epochs` complete ones."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def step(self, images: int) -> None:
        if self.left == 0:
            raise KeyboardInterrupt

    def epoch(self, history: object) -> None:
        self.left -= 1


@pytest.mark.parametrize("stop", range(7))
def test_a_run_of_two_stages_resumes_exactly_from_any_epoch(tmp_path: Path, stop: int) -> None:
    whole = carry_out(two_stages(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        execute(two_stages(), CPU, tmp_path / "hit", StopIn(stop))
    resumed = carry_out(two_stages(), tmp_path / "hit")
    assert without_timings(resumed) == without_timings(whole)
    assert resumed.cost.epochs_per_stage == {"features": 4, "head": 3}
    assert len(resumed.history.loss) == 7


def test_a_run_killed_after_its_last_epoch_only_evaluates(tmp_path: Path) -> None:
    whole = carry_out(two_stages(), tmp_path)
    again = carry_out(two_stages(), tmp_path)  # resumes from its checkpoints
    assert without_timings(again) == without_timings(whole)
    assert again.cost.seconds_training == whole.cost.seconds_training


def test_frozen_parts_do_not_move_and_trained_ones_do(tmp_path: Path) -> None:
    run = two_stages()
    net = build_network(run)
    states = {}
    for end in train(run, net, run.dataset.train):
        states[end.active.number] = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    moved = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    assert moved == {"head.weight", "head.bias"}


@dataclass
class FreezesItself(TwoStages):
    """Freezes the stem at the beginning of each stage and never unfreezes it."""

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        super().begin_stage(stage, net, train)
        net.backbone[0].requires_grad_(False)


def test_a_stage_unfreezes_what_it_froze_and_nothing_else() -> None:
    run = dataclasses.replace(two_stages(), method=FreezesItself())
    net = build_network(run)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    trained = {}
    for end in train(run, net, run.dataset.train):
        trained[end.active.number] = {name for name, p in net.named_parameters() if p.requires_grad}
    stem = {name for name in before if name.startswith("backbone.stem")}
    assert all(torch.equal(before[name], net.get_parameter(name)) for name in stem)
    assert trained[0] == {name for name, _ in net.named_parameters()} - stem
    assert trained[1] == {"head.weight", "head.bias"}
    assert {name for name, p in net.named_parameters() if not p.requires_grad} == stem


def test_a_parameter_may_receive_its_first_gradient_late() -> None:
    """TwoStages has such parameters. Without momentum buffers for them, torch's fused SGD would raise a TypeError."""
    net = build_network(tiny_run())
    net.helper = nn.Linear(10, 10)
    optimiser = make_optimiser(net, tiny_run().recipe, tiny_run().stages[0])
    images = torch.rand(4, 3, 8, 8)
    for helps in (False, True):
        logits = net(images)
        (net.helper(logits) if helps else logits).sum().backward()  # type: ignore[operator]
        optimiser.step()


def test_sgd_computes_what_the_formula_says() -> None:
    run = tiny_run(settings=("recipe.momentum=0.9", "recipe.weight_decay=0.01"))
    net = build_network(run)
    optimiser = make_optimiser(net, run.recipe, run.stages[0])
    weight, velocity = net.head.weight.detach().clone(), torch.zeros_like(net.head.weight)  # type: ignore[operator,union-attr]
    for step in range(3):
        optimiser.zero_grad()
        net(torch.full((2, 3, 8, 8), 0.1 * step)).square().sum().backward()
        velocity = 0.9 * velocity + net.head.weight.grad + 0.01 * weight  # type: ignore[union-attr,operator]
        weight = weight - run.recipe.lr * velocity
        optimiser.step()
        assert torch.allclose(net.head.weight, weight, rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]


def test_the_loss_of_an_epoch_is_the_mean_of_its_steps() -> None:
    losses: list[Tensor] = []

    class Noting(TwoStages):
        def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
            loss = super().criterion(logits, labels, now)
            losses.append(loss.detach())
            return loss

    run = dataclasses.replace(tiny_run(), method=Noting())
    end = next(train(run, build_network(run), run.dataset.train))
    assert end.loss == pytest.approx(float(torch.stack(losses).mean()))
    assert end.images == len(run.dataset.train)


def test_bfloat16_trains_and_differs_only_in_rounding(tmp_path: Path) -> None:
    plain = carry_out(tiny_run(epochs=2), tmp_path)
    short = carry_out(tiny_run(epochs=2, settings=("recipe.precision=bf16",)), tmp_path)
    assert plain.id != short.id
    assert short.history.loss == pytest.approx(plain.history.loss, rel=0.05)
    assert short.history.loss != plain.history.loss


def test_checkpoint_holds_everything(tmp_path: Path) -> None:
    run = two_stages()
    with pytest.raises(KeyboardInterrupt):
        execute(run, CPU, tmp_path, StopIn(5))
    state = checkpoint.load(tmp_path / run.id)
    assert state is not None
    assert (state.stage, state.epoch) == (1, 0)
    assert float(state.net["steps"]) > 0
    assert {key.split(".")[0] for key in state.net} == {"normalise", "backbone", "head", "helper", "steps"}


def test_adam_trains_and_resumes_exactly(tmp_path: Path) -> None:
    settings = ("recipe.optimiser=adam", "recipe.lr=0.001", "recipe.batch_size=16")
    run = tiny_run(epochs=4, settings=settings)
    assert isinstance(make_optimiser(build_network(run), run.recipe, run.stages[0]), torch.optim.Adam)
    whole = carry_out(run, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        execute(run, CPU, tmp_path / "again", StopIn(2))
    assert without_timings(carry_out(run, tmp_path / "again")) == without_timings(whole)
    assert whole.history.loss[-1] < whole.history.loss[0]
