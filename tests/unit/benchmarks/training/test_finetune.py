"""Label smoothing, learning rates by layer and the moving average of weights, beside torch's and timm's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.callbacks import StopAfter
from helpers.first_steps import first_steps, take_steps
from helpers.tiny import carry_out, tiny_run, without_timings
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import Batch
from ltbench.benchmarks.nn.average import average_of, averaged
from ltbench.benchmarks.recipe import load_recipe
from ltbench.benchmarks.training.active_stage import begin_stages
from ltbench.benchmarks.training.evaluate import logits_of
from ltbench.benchmarks.training.loop import smoothed, step
from ltbench.benchmarks.training.optimiser import layer_factors, make_optimiser, set_learning_rate
from ltbench.benchmarks.training.run_spec import build_network
from ltbench.benchmarks.training.trainer import execute
from timm.utils import ModelEmaV2

CPU = torch.device("cpu")
ALL = (
    "recipe.optimiser=adamw",
    "recipe.lr=0.003",
    "recipe.label_smoothing=0.1",
    "recipe.layer_decay=0.8",
    "recipe.average=0.9",
    "recipe.clip_norm=1",
    "recipe.crop_scale=0.4",
    "recipe.crop_padding=0",
)


def test_smoothed_labels_are_torch_s() -> None:
    logits, labels = torch.randn(6, 4), torch.tensor([0, 3, 1, 2, 2, 0])
    batch = smoothed(Batch(torch.rand(6, 3, 4, 4), labels), 0.3, 4)
    expected = F.cross_entropy(logits, labels, label_smoothing=0.3)
    torch.testing.assert_close(F.cross_entropy(logits, batch.labels), expected)
    assert smoothed(batch, 0, 4) is batch


@pytest.mark.parametrize("method", ["erm", "focal", "ldam-drw", "balanced-softmax", "lade", "cb-rw"])
def test_losses_of_labels_are_smoothed(method: str) -> None:
    plain, smooth = (first_steps(tiny_run(method, settings=(f"recipe.label_smoothing={s}",)))[0] for s in (0, 0.2))
    assert all(a != b for a, b in zip(plain, smooth, strict=True))
    assert plain == first_steps(tiny_run(method))[0]


@pytest.mark.parametrize("method", ["mixup", "rsg", "bbn"])
def test_methods_with_other_losses_refuse(method: str) -> None:
    with pytest.raises(UserError, match=f"^{method} does not compute its loss from the labels"):
        tiny_run(method, settings=("recipe.label_smoothing=0.1",))


def test_learning_rates_fall_from_the_head_down() -> None:
    run = tiny_run(settings=("recipe.layer_decay=0.5",))
    net = build_network(run)
    stages = [name for name, stage in net.backbone.named_children() if list(stage.parameters())]
    factors = layer_factors(net, 0.5)
    assert list(factors) == [f"backbone.{name}." for name in reversed(stages)]
    assert list(factors.values()) == [0.5**k for k in range(1, len(stages) + 1)]
    optimiser = make_optimiser(net, run.recipe, run.stages[0])
    set_learning_rate(optimiser, 0.8)
    rates = {id(parameter): group["lr"] for group in optimiser.param_groups for parameter in group["params"]}
    for name, parameter in net.named_parameters():
        factor = next((each for prefix, each in factors.items() if name.startswith(prefix)), 1.0)
        assert rates[id(parameter)] == pytest.approx(0.8 * factor)
    assert len(optimiser.param_groups) == len(stages) + 1
    assert layer_factors(net, 1.0) == {}


def test_averages_are_timm_s() -> None:
    """From the step on at which the warm-up of the decay has reached its largest value."""
    run = tiny_run(settings=("recipe.average=0.5",), epochs=20)
    net = build_network(run)
    active = begin_stages(run, net, run.dataset.train, 0)
    average = average_of(net)
    assert average is not None
    take_steps(active, 20)
    decays = [min(0.5, (1 + t) / (10 + t)) for t in range(20)]
    assert float(average.steps) == 20
    assert decays[8] == 0.5
    with averaged(net):
        other = ModelEmaV2(net, decay=0.5)
    now = active.begin_epoch(7)
    for picked in active.draw(now):
        step(active, active.batch(picked), now)
        other.update(net)
    expected = other.module.state_dict()
    with averaged(net):
        for name, value in net.state_dict().items():
            if value.is_floating_point() and not name.startswith("average."):
                torch.testing.assert_close(value, expected[name])


def test_the_first_steps_of_an_average_by_the_formula() -> None:
    run = tiny_run(settings=("recipe.average=0.999", "recipe.batch_size=8"))
    net = build_network(run)
    active = begin_stages(run, net, run.dataset.train, 0)
    expected = net.head.weight.detach().clone()
    now = active.begin_epoch(0)
    for t, picked in enumerate(active.draw(now)):
        step(active, active.batch(picked), now)
        decay = min(0.999, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * net.head.weight.detach()
    with averaged(net):
        torch.testing.assert_close(net.head.weight.detach(), expected)
    assert not torch.equal(net.head.weight, expected)


@pytest.mark.parametrize("method", ["erm", "crt", "ldam-drw", "tau-norm", "m2m"])
def test_the_average_is_evaluated_kept_and_resumed(method: str, tmp_path: Path) -> None:
    """The finished network has the averages; a run interrupted in each stage equals an uninterrupted one."""
    settings = ("recipe.average=0.9",)
    whole = carry_out(tiny_run(method, settings=settings, epochs=5), tmp_path / "whole")
    for stop in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            execute(tiny_run(method, settings=settings, epochs=5), CPU, tmp_path / "again", StopAfter(stop))
    again = carry_out(tiny_run(method, settings=settings, epochs=5), tmp_path / "again")
    assert without_timings(again) == without_timings(whole)
    plain = carry_out(tiny_run(method, epochs=5), tmp_path / "plain")
    assert plain.history.loss[0] == whole.history.loss[0], "training itself is the same"
    assert plain.history.accuracy != whole.history.accuracy
    run = tiny_run(method, settings=settings, epochs=5)
    state = torch.load(tmp_path / "whole" / run.id / "network.pt", weights_only=True)
    assert not [name for name in state if name.startswith("average")]
    if method == "erm":
        net = build_network(run)
        net.load_state_dict(state)
        hits = logits_of(net, run.dataset.test, run.recipe).argmax(1) == run.dataset.test.labels
        assert int(hits.sum()) == sum(whole.final.correct)


@pytest.mark.parametrize("method", ["erm", "ldam-drw", "crt", "drs"])
def test_everything_together_resumes(method: str, tmp_path: Path) -> None:
    whole = carry_out(tiny_run(method, settings=ALL, epochs=5), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        execute(tiny_run(method, settings=ALL, epochs=5), CPU, tmp_path / "again", StopAfter(3))
    again = carry_out(tiny_run(method, settings=ALL, epochs=5), tmp_path / "again")
    assert without_timings(again) == without_timings(whole)


def test_neutral_values_leave_the_id() -> None:
    neutral = ("recipe.label_smoothing=0", "recipe.layer_decay=1", "recipe.average=0", "recipe.crop_scale=0")
    assert tiny_run(settings=neutral).id == tiny_run().id


def test_the_recipe_uses_all_fields() -> None:
    recipe, _ = load_recipe("finetune")
    used = (recipe.label_smoothing, recipe.average, recipe.clip_norm, recipe.crop_scale, 1 - recipe.layer_decay)
    assert all(value > 0 for value in used)
    assert (recipe.optimiser, recipe.schedule) == ("adamw", "cosine")
    assert recipe.least_steps
    assert not recipe.frozen
