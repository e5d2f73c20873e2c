"""Where the time of a training step goes: part by part, and operation by operation."""

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

from ..data.loader import generator
from ..method import Batch, Method, Now
from ..network import Classifier
from ..records.environment import threads
from ..training.loop import step
from ..training.run_spec import RunSpec
from .interleaved import timed, wait
from .op_counter import Counts, Tally, bring_to, count_step, first_index

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # silences the profiler itself on standard error
PARTS = ("data", "augment", "transform", "forward", "backward", "optimiser")
BUDGET = 5.0  # seconds for the steps of one moment, after the first
FEWEST, MOST = 3, 50  # steps
TOP = 8  # operations


@dataclass(frozen=True)
class Operation:
    """One kind of tensor operation: its fraction of the time of all, and how often a step calls it."""

    name: str
    fraction: float
    calls: float


@dataclass(frozen=True)
class Profile:
    """A step at one moment of training, with initial weights.

    Attributes:
        stage: its name.
        epoch: 0-based, of the stage.
        epochs: of the stage.
        parts: median seconds of each of PARTS, after each of which the host waits for the device.
        whole: median seconds of a step without such waits.
        flops: of convolutions and matrix products in a step, on average.
        counts: operations, memory, and the arithmetic if every slot is filled.
        operations: those that take most of the time.
        kernels: launched on the GPU in a step; None on a CPU.
        busy: fraction of the time in which the GPU works; None on a CPU.
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


def profiles(spec: RunSpec, device: torch.device) -> list[Profile]:
    """A profile of the first and of a late step; only of the late one where both cost the same."""
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
    """A method whose step reports the end of each of its parts.

    Args:
        method: the method.
        optimiser: of the step.

    Attributes:
        mark: is called with the name of the part that ended.
    """

    def __init__(self, method: Method, optimiser: torch.optim.Optimizer) -> None:
        self.method = method
        self.mark: Mark = lambda part: None
        optimiser.register_step_pre_hook(lambda *_: self.mark("backward"))

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """See `Method`."""
        batch = self.method.transform(batch, net, now)
        self.mark("transform")
        return batch

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        """See `Method`."""
        loss = self.method.loss(net, batch, now)
        self.mark("forward")
        return loss

    def after_step(self, net: Classifier, now: Now) -> None:
        """See `Method`."""
        self.method.after_step(net, now)
        self.mark("optimiser")


class ProfiledSteps:
    """Steps of an untrained run, from index to optimiser, always on the images of the epoch's first batch.

    Args:
        spec: the run.
        progress: see `bring_to`.
        device: where the steps are taken.
    """

    def __init__(self, spec: RunSpec, progress: float, device: torch.device) -> None:
        active, self.now = bring_to(spec, progress, device)
        self.device, self.index = device, first_index(active, self.now)
        self.method = MarkedMethod(spec.method, active.optimiser)
        self.active = dataclasses.replace(active, spec=dataclasses.replace(spec, method=self.method))
        draws = [
            active.augment.draw(len(self.index), partial(generator, spec.seed, number)).to(device)
            for number in range(4)
        ]
        self.draws = cycle(draws)

    def take(self, mark: Mark | None = None) -> None:
        """One step; `mark` is called at the end of each part, and the images are then read once more for "data"."""
        active, parameters = self.active, next(self.draws)
        self.method.mark = mark or (lambda part: None)
        if mark:
            active.augment.crop(self.index, parameters.crop)
            self.method.mark("data")
        batch = active.batch(self.index, parameters)
        self.method.mark("augment")
        step(active, batch, self.now)


def _timed(steps: ProfiledSteps) -> list[dict[str, float]]:
    """Seconds of each part, for as many steps as the budget allows."""
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
        spent["augment"] = max(0.0, spent["augment"] - spent["data"])  # which it repeats
        rounds.append(spent)
    return rounds


def _operations(steps: ProfiledSteps, number: int) -> tuple[list[Operation], float | None, float | None]:
    """The operations that take most time; the kernels of a step and the fraction of time in which the GPU works."""
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
    """How often the host waits for the GPU in a step."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            torch.cuda.set_sync_debug_mode("warn")
            steps.take()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return float(sum("called a synchronizing" in str(warning.message) for warning in caught))
