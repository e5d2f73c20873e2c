"""First training steps of a stage."""

from __future__ import annotations

from itertools import count

from ltbench.benchmarks.network import Classifier
from ltbench.benchmarks.training.active_stage import ActiveStage, begin_stages
from ltbench.benchmarks.training.loop import step
from ltbench.benchmarks.training.run_spec import RunSpec, build_network


def take_steps(active: ActiveStage, steps: int = 10) -> list[float]:
    """Take the first `steps` training steps of a stage; return their losses."""
    losses: list[float] = []
    for epoch in count():
        now = active.begin_epoch(epoch)
        for picked in active.draw(now):
            if len(losses) == steps:
                return losses
            losses.append(float(step(active, active.batch(picked), now)))
    raise AssertionError("unreachable")


def first_steps(spec: RunSpec, stage: int = 0, steps: int = 10) -> tuple[list[float], Classifier]:
    """Losses of the first `steps` training steps of a stage from initial weights, and the network after them."""
    net = build_network(spec)
    return take_steps(begin_stages(spec, net, spec.dataset.train, stage), steps), net
