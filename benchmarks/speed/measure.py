"""All that `bench speed` measures, as one object."""

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
    """Results of `bench speed`; ratios say how many times as long something takes.

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


def measure(
    specs: Sequence[RunSpec],
    device: torch.device,
    dataloader: bool,
    say: Say = lambda text: None,
    scale: Scale = CIFAR_10_LT,
) -> Speed:
    """Measure everything.

    Args:
        specs: one run of each method, ERM's first; see `synthetic_specs`.
        device: of the steps; images pass through PIL on the CPU.
        dataloader: also time an epoch and an evaluation against the common loop, which takes minutes on a CPU.
        say: is called with what is measured next.
        scale: how much is measured.
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
        say(f"an epoch and an evaluation against the common loop, {scale.rounds} times")
        speed.loop = against_dataloader(erm, scale, device)
    return speed


def _processor() -> str:
    """Name of the CPU with its vector instructions, which matter more than the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}"
