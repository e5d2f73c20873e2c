"""All that `bench speed` measures, as one object."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..precision import bf16_speed
from ..training.run_spec import RunSpec
from .interleaved import Ratio, take_turns
from .microbenchmarks import StepCost, against_dataloader, convolution_peak, input_paths, stepper, steps
from .op_counter import make_ready

Say = Callable[[str], None]
ROUNDS = 5


@dataclass
class Speed:
    """What was measured, on which kind of device; ratios say how many times as long something takes.

    Attributes:
        device: as torch names it.
        threads: of torch; steps of methods and the input are timed with one.
        bf16: speed of a convolution in bfloat16 relative to float32.
        input: chain of augmentation to PIL's time against ours.
        steps: method to its step against ERM's.
        loop: `epoch` and `evaluation` to the common loop's time against ours; empty if not asked for.
        peak: convolutions' floating-point operations a second, all threads.
        achieved: those of ERM's step, all threads.
    """

    device: str
    threads: int
    bf16: float
    input: dict[str, Ratio] = field(default_factory=dict)
    steps: dict[str, StepCost] = field(default_factory=dict)
    loop: dict[str, Ratio] = field(default_factory=dict)
    peak: float = 0.0
    achieved: float = 0.0


def measure(runs: Sequence[RunSpec], device: torch.device, dataloader: bool, say: Say = lambda text: None) -> Speed:
    """Measure everything.

    Args:
        runs: one of each method, ERM's first; see `made_runs`.
        device: of the steps; images pass through PIL on the CPU.
        dataloader: also time an epoch and an evaluation against the common loop, which takes minutes on a CPU.
        say: told what comes next.
    """
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else _processor()
    speed = Speed(name, torch.get_num_threads(), bf16_speed(device.type))
    say("augmentation")
    speed.input = input_paths(runs[0], ROUNDS)
    say(f"steps of {len(runs)} methods")
    speed.steps = steps(runs, ROUNDS, device)
    speed.peak = convolution_peak(device)
    work = stepper(make_ready(runs[0], 0.0, device))
    (seconds,) = take_turns({"": work}, ROUNDS, device).values()
    speed.achieved = speed.steps[runs[0].name].counts.flops / statistics.median(seconds)
    if dataloader:
        say(f"an epoch and an evaluation against the common loop, {ROUNDS + 1} times")
        speed.loop = against_dataloader(runs[0], ROUNDS, device)
    return speed


def _processor() -> str:
    """The CPU in words, with its vector instructions, which decide more than its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}"
