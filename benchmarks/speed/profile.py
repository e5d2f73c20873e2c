"""Profile of a training step: time by part and by operation."""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity

from ..data.loader import Generators, Picked, generator
from ..method import Batch, Method, Now
from ..network import Classifier
from ..records.environment import threads
from ..training.loop import step
from ..training.run_spec import RunSpec
from .interleaved import timed, wait
from .op_counter import Counts, Tally, bring_to, count_step, first_picked

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # keeps the profiler from writing to standard error
PARTS = ("data", "augment", "transform", "forward", "backward", "optimiser")
BUDGET = 5.0  # seconds for the timed steps at one moment of training
FEWEST, MOST = 3, 50  # number of timed steps
TOP = 8  # number of operations to list


@dataclass(frozen=True)
class Operation:
    """Time and calls of one kind of tensor operation in a step.

    Attributes:
        name: name of the operation, such as "aten::convolution".
        fraction: fraction of the time of all operations.
        calls: mean number of calls per step.
    """

    name: str
    fraction: float
    calls: float


@dataclass(frozen=True)
class Profile:
    """Profile of a step in one epoch, with initial weights.

    Attributes:
        stage: name of the stage.
        epoch: number of the epoch, from 0, within the stage.
        epochs: number of epochs of the stage.
        parts: median seconds of each part in PARTS; the host synchronises with the device after each part.
        whole: median seconds of a step without these synchronisations.
        flops: mean floating-point operations of convolutions and matrix products in a step.
        counts: operations and memory of a step, and its arithmetic if every slot is filled.
        operations: the TOP operations that take the most time.
        kernels: number of GPU kernels launched per step; None on a CPU.
        busy: fraction of the time in which the GPU is busy; None on a CPU.
        waits: number of times per step that the host waits for the GPU; None on a CPU.
        steps: number of timed steps.
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


def profiles(spec: RunSpec, device: torch.device) -> list[Profile]:
    """Profiles at the start and near the end of training; only the latter if both have the same counts."""
    counts = {progress: count_step(spec, progress) for progress in (0.0, 0.99)}
    moments = [0.99] if counts[0.0] == counts[0.99] else [0.0, 0.99]
    with threads(spec.recipe.threads):
        return [_profile(ProfiledSteps(spec, moment, device), counts[moment]) for moment in moments]


def _profile(steps: ProfiledSteps, counts: Counts) -> Profile:
    steps.take()
    rounds = _timed(steps)
    parts = {name: statistics.median(each[name] for each in rounds) for name in PARTS}
    number = min(len(rounds), 5)
    whole = statistics.median(timed(steps.take, steps.device) for _ in range(number))
    with Tally() as tally:
        for _ in range(number):
            steps.take()
    operations, kernels, busy = _operations(steps, number)
    waits = _waits(steps) if steps.device.type == "cuda" else None
    now, flops = steps.now, tally.flops / number
    return Profile(
        now.stage, now.epoch, now.epochs, parts, whole, flops, counts, operations, kernels, busy, waits, len(rounds)
    )


Mark = Callable[[str], None]


class MarkedMethod(Method):
    """Wrapper of a method that reports the end of each part of a step.

    Args:
        method: method to wrap.
        optimiser: optimiser of the step.

    Attributes:
        mark: callback that receives the name of the part that has ended, one of PARTS.
    """

    def __init__(self, method: Method, optimiser: torch.optim.Optimizer) -> None:
        self.method = method
        self.mark: Mark = lambda part: None
        optimiser.register_step_pre_hook(lambda *_: self.mark("backward"))

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """Call the method's `transform` and report the end of the part "transform"."""
        batch = self.method.transform(batch, net, now)
        self.mark("transform")
        return batch

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        """Call the method's `loss` and report the end of the part "forward"."""
        loss = self.method.loss(net, batch, now)
        self.mark("forward")
        return loss

    def after_step(self, net: Classifier, now: Now) -> None:
        """Call the method's `after_step` and report the end of the part "optimiser"."""
        self.method.after_step(net, now)
        self.mark("optimiser")


class ProfiledSteps:
    """Complete training steps of an untrained run, always on the images of the epoch's first batch.

    Args:
        spec: specification of the run.
        progress: fraction of the run that has elapsed, in [0, 1].
        device: device to train on.
    """

    def __init__(self, spec: RunSpec, progress: float, device: torch.device) -> None:
        active, self.now = bring_to(spec, progress, device)
        self.device, self.picked = device, first_picked(active, self.now)
        self.method = MarkedMethod(spec.method, active.optimiser)
        self.active = dataclasses.replace(active, spec=dataclasses.replace(spec, method=self.method))
        self.draws = cycle([self._augmented(partial(generator, spec.seed, number)) for number in range(4)])

    def _augmented(self, random: Generators) -> Picked:
        """The images of the first batch with new augmentation."""
        size, augment = len(self.picked.index), self.active.augment
        further = tuple(Picked(each.index, augment.draw(size, random).to(self.device)) for each in self.picked.further)
        return Picked(self.picked.index, augment.draw(size, random).to(self.device), further)

    def take(self, mark: Mark | None = None) -> None:
        """Take one step.

        Args:
            mark: called with the name of each part, one of PARTS, when the part ends. If it is given, the images are
                read once more, to time the part "data".
        """
        active, picked = self.active, next(self.draws)
        self.method.mark = mark or (lambda part: None)
        if mark:
            for each in (picked, *picked.further):
                active.augment.crop(each.index, each.parameters.crop)
            self.method.mark("data")
        batch = active.batch(picked)
        self.method.mark("augment")
        step(active, batch, self.now)


def _timed(steps: ProfiledSteps) -> list[dict[str, float]]:
    """Time the parts of as many steps as the budget allows; return seconds by part for each step."""
    rounds: list[dict[str, float]] = []
    started = time.perf_counter()
    while len(rounds) < FEWEST or (len(rounds) < MOST and time.perf_counter() - started < BUDGET):
        spent: dict[str, float] = {}
        last = time.perf_counter()

        def mark(part: str, spent: dict[str, float] = spent) -> None:
            nonlocal last
            wait(steps.device)
            now = time.perf_counter()
            spent[part], last = now - last, now

        steps.take(mark)
        spent["augment"] = max(0.0, spent["augment"] - spent["data"])  # augmentation reads the images again
        rounds.append(spent)
    return rounds


def _operations(steps: ProfiledSteps, number: int) -> tuple[list[Operation], float | None, float | None]:
    """Operations that take the most time, number of GPU kernels per step, and fraction of time with a busy GPU.

    The latter two are None on a CPU.

    Args:
        steps: steps of a run.
        number: number of steps to profile.
    """
    cuda = steps.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=activities) as profiler:
        started = time.perf_counter()
        for _ in range(number):
            steps.take()
        wait(steps.device)
        wall = time.perf_counter() - started
    field = "self_device_time_total" if cuda else "self_cpu_time_total"
    on_cpu = [row for row in profiler.key_averages() if row.device_type.name == "CPU"]
    rows = sorted(on_cpu, key=lambda row: -getattr(row, field))
    total = sum(getattr(row, field) for row in rows) or 1
    operations = [Operation(row.key, getattr(row, field) / total, row.count / number) for row in rows[:TOP]]
    if not cuda:
        return operations, None, None
    kernels = [event for event in profiler.events() if event.device_type.name == "CUDA"]
    return operations, len(kernels) / number, min(1.0, total / 1e6 / wall)


def _waits(steps: ProfiledSteps) -> float:
    """Number of times that the host waits for the GPU in a step."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            torch.cuda.set_sync_debug_mode("warn")
            steps.take()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return float(sum("called a synchronizing" in str(warning.message) for warning in caught))
