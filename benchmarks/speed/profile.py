"""Where the time of a training step goes: part by part, and operation by operation."""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from ..data.augment import make_augment
from ..data.loader import generator
from ..method import Batch
from ..precision import autocast, rounding
from ..records.environment import threads
from ..training.loop import frozen_but, make_optimiser
from ..training.run_spec import RunSpec
from .interleaved import timed, wait
from .op_counter import Counts, Ready, Tally, count_step, make_ready

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own lines on standard error
PARTS = ("data", "augment", "transform", "forward", "backward", "optimiser")
BUDGET = 5.0  # seconds for the steps of one moment, after the first
FEWEST, MOST = 3, 50  # steps
TOP = 8  # operations


@dataclass(frozen=True)
class Operation:
    """One kind of tensor operation: its share of the time of all, and how often a step calls it."""

    name: str
    share: float
    calls: float


@dataclass(frozen=True)
class Profile:
    """A step at one moment of training, with initial weights.

    Attributes:
        stage: its name.
        epoch: 0-based, of the stage.
        epochs: of the stage.
        parts: median seconds of each of PARTS, each waited for.
        whole: median seconds of a step that waits for nothing in between.
        flops: of convolutions and matrix products in a step, on average.
        counts: operations, memory, and the arithmetic where every slot is filled.
        operations: those that take most of the time.
        kernels: launched on the GPU in a step; None on a CPU.
        busy: share of the time in which the GPU works; None on a CPU.
        waits: how often the host waits for the GPU in a step; None on a CPU.
        steps: how many were timed.
    """

    stage: str
    epoch: int
    epochs: int
    parts: dict[str, float]
    whole: float
    flops: float
    counts: Counts
    operations: list[Operation]
    kernels: float | None
    busy: float | None
    waits: float | None
    steps: int


def profiles(run: RunSpec, device: torch.device) -> list[Profile]:
    """A profile of the first and of a late step; only of the late one where both cost the same."""
    counts = {progress: count_step(run, progress) for progress in (0.0, 0.99)}
    moments = [0.99] if counts[0.0] == counts[0.99] else [0.0, 0.99]
    with threads(run.recipe.threads):
        return [_profile(make_ready(run, moment, device), counts[moment]) for moment in moments]


def _profile(ready: Ready, counts: Counts) -> Profile:
    device, net = ready.index.device, ready.net
    net.train()
    with frozen_but(net, ready.stage.trained):
        steps = _Steps(ready)
        steps.take()
        rounds = _timed(steps, device)
        parts = {name: statistics.median(each[name] for each in rounds) for name in PARTS}
        number = min(len(rounds), 5)
        whole = statistics.median(timed(steps.take, device) for _ in range(number))
        with Tally() as tally:
            for _ in range(number):
                steps.take()
        operations, kernels, busy = _operations(steps, device, number)
        waits = _waits(steps) if device.type == "cuda" else None
    now, flops = ready.now, tally.flops / number
    return Profile(
        now.stage, now.epoch, now.epochs, parts, whole, flops, counts, operations, kernels, busy, waits, len(rounds)
    )


class _Steps:
    """Steps of a run from index to optimiser, with a mark after each part."""

    def __init__(self, ready: Ready) -> None:
        self.run, self.net, self.now = ready.run, ready.net, ready.now  # `train_step.step`, with marks in between
        self.split = self.run.dataset.train.to(ready.index.device)
        self.augment = make_augment(self.split.images, self.run.recipe)
        self.optimiser = make_optimiser(self.net, self.run.recipe, ready.stage.slower)
        self.index, seed = ready.index, self.run.seed
        draws = [
            self.augment.draw(len(self.index), partial(generator, seed, number)).to(self.index.device)
            for number in range(4)
        ]
        self.draws = cycle(draws)

    def take(self, mark: Callable[[str], Any] = lambda part: None) -> None:
        """One step; `mark` is called at the end of each part."""
        method, recipe, parameters = self.run.method, self.run.recipe, next(self.draws)
        self.augment.crop(self.index, parameters.crop)
        labels = self.split.labels[self.index]
        mark("data")
        images = self.augment(self.index, parameters)
        mark("augment")
        batch = method.transform(Batch(images, labels), self.net, self.now)
        mark("transform")
        with rounding(recipe.precision, images):
            with autocast(recipe.precision, images.device):
                loss = method.loss(self.net, batch, self.now)
            mark("forward")
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
        mark("backward")
        self.optimiser.step()
        method.after_step(self.net, self.now)
        mark("optimiser")


def _timed(steps: _Steps, device: torch.device) -> list[dict[str, float]]:
    """Seconds of each part, for as many steps as the budget allows."""
    rounds: list[dict[str, float]] = []
    started = time.perf_counter()
    while len(rounds) < FEWEST or (len(rounds) < MOST and time.perf_counter() - started < BUDGET):
        spent: dict[str, float] = {}
        last = time.perf_counter()

        def mark(part: str, spent: dict[str, float] = spent) -> None:
            nonlocal last
            wait(device)
            now = time.perf_counter()
            spent[part], last = now - last, now

        steps.take(mark)
        spent["augment"] = max(0.0, spent["augment"] - spent["data"])  # which it repeats
        rounds.append(spent)
    return rounds


def _operations(steps: _Steps, device: torch.device, number: int) -> tuple[list[Operation], float | None, float | None]:
    """The operations that take most time; kernels of a step and the GPU's busy share."""
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=activities) as profiler:
        started = time.perf_counter()
        for _ in range(number):
            steps.take()
        wait(device)
        wall = time.perf_counter() - started
    field = "self_device_time_total" if cuda else "self_cpu_time_total"
    on_cpu = [row for row in profiler.key_averages() if row.device_type == torch.autograd.DeviceType.CPU]
    rows = sorted(on_cpu, key=lambda row: -getattr(row, field))
    total = sum(getattr(row, field) for row in rows) or 1
    found = [Operation(row.key, getattr(row, field) / total, row.count / number) for row in rows[:TOP]]
    if not cuda:
        return found, None, None
    kernels = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return found, len(kernels) / number, min(1.0, total / 1e6 / wall)


def _waits(steps: _Steps) -> float:
    """How often the host waits for the GPU in a step."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            torch.cuda.set_sync_debug_mode("warn")
            steps.take()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return float(sum("called a synchronizing" in str(warning.message) for warning in seen))
