"""Profiles and ratios for a terminal, as Markdown and as JSON."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Sequence

import torch
import torchvision
from rich.console import Group, RenderableType
from rich.table import Table

from .measure import Speed
from .profile import PARTS, Profile


def profile_view(title: str, profiles: Sequence[Profile], peak: float) -> RenderableType:
    """A table of the parts of a step and what a step consists of, for a console.

    Args:
        title: what was profiled, in words.
        profiles: of one moment or two.
        peak: floating-point operations a second of a CIFAR ResNet's convolutions in float32.
    """
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("part of a step")
    for each in profiles:
        table.add_column(f"{each.stage}, epoch {each.epoch + 1}/{each.epochs}", justify="right")
    for name in PARTS:
        table.add_row(name, *(f"{p.parts[name] * 1000:.1f} ms  {p.parts[name] / total(p):4.0%}" for p in profiles))
    table.add_row("host waits", *(_waits(each) for each in profiles), end_section=True)
    table.add_row("whole step", *(f"{each.whole * 1000:.1f} ms" for each in profiles))
    table.add_row("forward passes", *(f"{each.flops / each.counts.forward:.2f}" for each in profiles))
    table.add_row("arithmetic", *(f"{each.flops / 1e9:,.2f} GFLOP" for each in profiles))
    table.add_row("of convolutions' peak", *(f"{each.flops / each.whole / peak:.0%}" for each in profiles))
    table.add_row("tensor operations", *(f"{each.counts.operations:,}" for each in profiles))
    table.add_row("memory, counted", *(f"{each.counts.peak_bytes / 2**20:,.0f} MiB" for each in profiles))
    if profiles[0].kernels is not None:
        table.add_row("kernels", *(f"{each.kernels:,.0f}" for each in profiles))
        table.add_row("GPU at work", *(f"{each.busy or 0:.0%}" for each in profiles))
    same = [] if len(profiles) > 1 else ["A step at the beginning costs the same."]
    if profiles[0].kernels is not None:
        same.append("Steps are taken one by one here; training records them as one graph.")
    return Group(table, *same, *(_operations(each) for each in profiles))


def total(profile: Profile) -> float:
    """Seconds of all parts of a step."""
    return sum(profile.parts.values())


def _waits(profile: Profile) -> str:
    return "none" if not profile.waits else f"{profile.waits:.0f}"


def _operations(profile: Profile) -> Table:
    table = Table(title=f"Most of the time, epoch {profile.epoch + 1}", title_justify="left", title_style="dim")
    table.add_column("operation")
    table.add_column("fraction", justify="right")
    table.add_column("calls a step", justify="right")
    for operation in profile.operations:
        name = operation.name.removeprefix("aten::")
        table.add_row(name, f"{operation.fraction:.0%}", f"{operation.calls:,.0f}")
    return table


Rows = tuple[list[str], list[list[str]]]


def ratio_rows(speed: Speed) -> Rows:
    """Speed relative to common code: the input path, an epoch, an evaluation."""
    rows = [["input", name, str(ratio)] for name, ratio in speed.input.items()]
    rows += [["loop", f"{name}, ResNet-32", str(ratio)] for name, ratio in speed.loop.items()]
    return ["against", "work", "times as fast"], rows


def method_rows(speed: Speed) -> Rows:
    """Cost of a late step of each method relative to ERM's; operations are absolute."""
    erm = next(iter(speed.steps.values())).counts
    rows = []
    for name, cost in speed.steps.items():
        counts = cost.counts
        passes, memory = f"{counts.passes / erm.passes:.2f}", f"{counts.peak_bytes / erm.peak_bytes:.2f}"
        rows.append([name, passes, str(cost.time), memory, f"{counts.operations:,}"])
    return ["method", "arithmetic", "time", "memory", "operations"], rows


def speed_view(speed: Speed) -> RenderableType:
    """All results as tables for a console."""
    return Group(*(_table(*rows) for rows in (ratio_rows(speed), method_rows(speed))), *notes(speed))


def _table(header: list[str], rows: list[list[str]]) -> Table:
    table = Table()
    for number, name in enumerate(header):
        text = number == 0 or name == "work"
        table.add_column(name, justify="left" if text else "right", no_wrap=not text)
    for row in rows:
        table.add_row(*row)
    return table


def notes(speed: Speed) -> list[str]:
    """What the numbers mean, and the machine they were measured on."""
    faster = f"bfloat16 convolves {speed.bf16:.2g} times as fast as float32 there."
    fraction = f"{speed.achieved / speed.peak:.0%} of what a single convolution of its sizes reaches"
    return [
        "Medians of rounds in which both sides alternate in one process, with the least and the greatest.",
        "Input: a batch of 128 on one core, against images one at a time through PIL. Loop: a training epoch of 12,406 "
        "and an evaluation of 10,000 images, against a PyTorch loop with PIL, a DataLoader of 4 workers, channels "
        "first, float32 and plain SGD.",
        "Methods: a step late in training on ResNet-32, a batch of 128, one thread, relative to ERM's; arithmetic is "
        "counted in convolutions and matrix products as on a GPU (a CPU leaves out empty slots and backward passes of "
        "rows that teach nothing), memory in tensors. No step reads a value back from a GPU.",
        f"Machine: {speed.device}, {speed.threads} threads; {faster} ERM's step reaches "
        f"{speed.achieved / 1e9:,.0f} GFLOP/s, {fraction}, all threads.",
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}.",
    ]


def markdown(speed: Speed) -> str:
    """The text of `benchmarks/speed/speed.md`."""
    parts = [
        "# Speed",
        "Written by `bench speed`. Ratios on one machine; they differ on others.",
    ]
    for title, (header, rows) in (
        ("## Against the common way", ratio_rows(speed)),
        ("## Methods beside ERM", method_rows(speed)),
    ):
        lines = [header, ["---"] * len(header), *rows]
        parts += [title, "\n".join("| " + " | ".join(line) + " |" for line in lines)]
    return "\n\n".join([*parts, "\n".join(f"* {note}" for note in notes(speed))]) + "\n"


def as_json(speed: Speed) -> str:
    """All results with all rounds, as JSON."""
    return json.dumps(dataclasses.asdict(speed), indent=1, sort_keys=True) + "\n"
