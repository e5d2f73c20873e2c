"""AdamW and clipped gradients, beside the formulas written out."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from helpers.first_steps import first_steps
from helpers.tiny import tiny_run
from ltbench.benchmarks.training.active_stage import begin_stages
from ltbench.benchmarks.training.loop import step
from ltbench.benchmarks.training.optimiser import clip_gradient, make_optimiser
from ltbench.benchmarks.training.run_spec import build_network
from torch import Tensor, nn

LR, BETA, DECAY = 0.01, 0.8, 0.3
ADAMW = ("recipe.optimiser=adamw", f"recipe.lr={LR}", f"recipe.momentum={BETA}", f"recipe.weight_decay={DECAY}")


def head_steps(optimiser: torch.optim.Optimizer, weight: Tensor, gradients: Tensor) -> None:
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimiser.step()


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_s_decay_is_in_the_gradient_and_adamw_s_in_the_weight(kind: str) -> None:
    """Three steps of the head, in float64 by the formulas of both papers."""
    run = tiny_run(settings=(f"recipe.optimiser={kind}", *ADAMW[1:]))
    net = build_network(run)
    weight = net.head.weight
    gradients = torch.randn(3, *weight.shape, generator=torch.Generator().manual_seed(0))
    expected, first, second = weight.detach().double(), 0.0, 0.0
    for number, gradient in enumerate(gradients.double(), 1):
        if kind == "adam":
            gradient = gradient + DECAY * expected
        else:
            expected = expected * (1 - LR * DECAY)
        first = BETA * first + (1 - BETA) * gradient
        second = 0.999 * second + 0.001 * gradient**2
        step_size = LR / (1 - BETA**number)
        expected = expected - step_size * first / ((second / (1 - 0.999**number)).sqrt() + 1e-8)
    head_steps(make_optimiser(net, run.recipe, run.stages[0]), weight, gradients)
    torch.testing.assert_close(weight.detach().double(), expected, rtol=0, atol=1e-5)


def test_adamw_without_decay_is_adam() -> None:
    settings = ("recipe.lr=0.01", "recipe.weight_decay=0")
    runs = [tiny_run(settings=(f"recipe.optimiser={kind}", *settings)) for kind in ("adam", "adamw")]
    assert first_steps(runs[0])[0] == first_steps(runs[1])[0]
    assert first_steps(tiny_run(settings=ADAMW))[0] != first_steps(runs[1])[0]


@pytest.mark.parametrize(("largest", "factor"), [(13.0, 1.0), (6.5, 0.5), (0.0, 1.0)])
def test_a_gradient_is_scaled_down_to_the_largest_norm(largest: float, factor: float) -> None:
    """The gradient (3, 4, 12), spread over two parameter groups, has the norm 13."""
    parts = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    optimiser = torch.optim.SGD([{"params": [part]} for part in parts], 1)
    parts[0].grad, parts[1].grad = torch.tensor([3.0, 4.0]), torch.tensor([12.0])
    clip_gradient(optimiser, largest)
    for part, gradient in zip(parts, ([3.0, 4.0], [12.0]), strict=True):
        torch.testing.assert_close(part.grad, factor * torch.tensor(gradient))


def test_steps_are_clipped_and_the_neutral_value_changes_no_bit() -> None:
    plain = first_steps(tiny_run())[0]
    assert first_steps(tiny_run(settings=("recipe.clip_norm=1e6",)))[0] == plain
    assert tiny_run(settings=("recipe.clip_norm=0",)).id == tiny_run().id
    run = tiny_run(settings=("recipe.clip_norm=0.25", "recipe.momentum=0", "recipe.weight_decay=0", "recipe.warmup=0"))
    net = build_network(run)
    active = begin_stages(run, net, run.dataset.train, 0)
    now = active.begin_epoch(0)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    step(active, active.batch(next(iter(active.draw(now)))), now)
    moved = [new.detach() - old for new, old in zip(net.parameters(), before, strict=True)]
    length = torch.cat([each.flatten() for each in moved]).norm()
    assert float(length) == pytest.approx(0.25 * run.recipe.lr, rel=1e-4)


def test_clipping_waits_for_no_value() -> None:
    """A step on fake tensors, which have no values, works with clipping."""
    from ltbench.benchmarks.speed.op_counter import count_step
    from ltbench.benchmarks.speed.synthetic import QUICK, synthetic_specs

    (spec,) = synthetic_specs(["erm"], QUICK)
    clipped = dataclasses.replace(spec, recipe=spec.recipe.model_copy(update={"clip_norm": 1.0}))
    assert count_step(clipped, 0).operations > count_step(spec, 0).operations
