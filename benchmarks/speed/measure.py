"""All measurements of `bench speed`."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..training.run_spec import RunSpec
from .bf16 import bf16_speed
from .interleaved import Ratio, alternate
from .microbenchmarks import StepCost, against_dataloader, convolution_peak, input_paths, repeated_step, step_costs
from .synthetic import CIFAR_10_LT, Scale

Say = Callable[[str], None]


@dataclass
class Speed:
    """Results of `bench speed`.

    Attributes:
        device: name of the GPU or CPU.
        threads: torch's number of threads; input paths and method steps are timed with one.
        bf16: speed of a bfloat16 convolution relative to float32.
        input: time of the PIL baseline relative to ltbench, by augmentation chain.
        steps: cost of each method's step relative to ERM's, by method.
        loop: time of the baseline loop relative to ltbench, for "epoch" and "evaluation"; empty if not requested.
        peak: floating-point operations per second of a single convolution, all threads.
        achieved: floating-point operations per second of ERM's step, all threads.
    """

    device: str
    threads: int
    bf16: float
    input: dict[str, Ratio] = field(default_factory=dict)
    steps: dict[str, StepCost] = field(default_factory=dict)
    loop: dict[str, Ratio] = field(default_factory=dict)
    peak: float = 0.0
    achieved: float = 0.0


def measure(
    specs: Sequence[RunSpec],
    device: torch.device,
    dataloader: bool,
    say: Say = lambda text: None,
    scale: Scale = CIFAR_10_LT,
) -> Speed:
    """Run all measurements.

    Args:
        specs: one run of each method, ERM first; see `synthetic_specs`.
        device: device of the steps; PIL runs on the CPU.
        dataloader: whether to compare an epoch and an evaluation with the baseline loop; takes minutes on a CPU.
        say: function that receives a description of the next measurement.
        scale: size of the measurements.
    """
    erm = specs[0]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    speed = Speed(name, torch.get_num_threads(), bf16_speed(device.type))
    say("augmentation")
    speed.input = input_paths(erm, scale)
    say(f"steps of {len(specs)} methods")
    speed.steps = step_costs(specs, scale.rounds, device)
    speed.peak = convolution_peak(device)
    (seconds,) = alternate({"": repeated_step(erm, 0.0, device)}, scale.rounds, device).values()
    speed.achieved = speed.steps[erm.name].counts.flops / statistics.median(seconds)
    if dataloader:
        say(f"an epoch and an evaluation against the baseline loop, {scale.rounds} times")
        speed.loop = against_dataloader(erm, scale, device)
    return speed


def _processor() -> str:
    """Name of the CPU and its vector instruction set."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}"
