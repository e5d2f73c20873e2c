"""Tables of profiles and ratios for a terminal, as Markdown and as JSON."""

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
    """Console tables of the parts and operations of a step.

    Args:
        title: title that names the profiled run.
        profiles: one or two profiles.
        peak: peak floating-point operations per second of float32 convolutions; see `convolution_peak`.
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
        table.add_row("GPU busy", *(f"{each.busy or 0:.0%}" for each in profiles))
    same = [] if len(profiles) > 1 else ["A step at the start of training costs the same."]
    if profiles[0].kernels is not None:
        same.append("These steps run eagerly; training replays a CUDA graph.")
    return Group(table, *same, *(_operations(each) for each in profiles))


def total(profile: Profile) -> float:
    """Total seconds of all parts of a step."""
    return sum(profile.parts.values())


def _waits(profile: Profile) -> str:
    return "none" if not profile.waits else f"{profile.waits:.0f}"


def _operations(profile: Profile) -> Table:
    table = Table(title=f"Top operations, epoch {profile.epoch + 1}", title_justify="left", title_style="dim")
    table.add_column("operation")
    table.add_column("fraction", justify="right")
    table.add_column("calls per step", justify="right")
    for operation in profile.operations:
        name = operation.name.removeprefix("aten::")
        table.add_row(name, f"{operation.fraction:.0%}", f"{operation.calls:,.0f}")
    return table


Rows = tuple[list[str], list[list[str]]]


def ratio_rows(speed: Speed) -> Rows:
    """Header and rows of a table: speed relative to the baseline, for the input path, an epoch and an evaluation."""
    rows = [["input", name, str(ratio)] for name, ratio in speed.input.items()]
    rows += [["loop", f"{name}, ResNet-32", str(ratio)] for name, ratio in speed.loop.items()]
    return ["against", "work", "times as fast"], rows


def method_rows(speed: Speed) -> Rows:
    """Header and rows of a table: cost of each method's step near the end of training.

    Arithmetic, time and memory are relative to ERM's; the number of operations is absolute.
    """
    erm = next(iter(speed.steps.values())).counts
    rows = []
    for name, cost in speed.steps.items():
        counts = cost.counts
        passes, memory = f"{counts.passes / erm.passes:.2f}", f"{counts.peak_bytes / erm.peak_bytes:.2f}"
        rows.append([name, passes, str(cost.time), memory, f"{counts.operations:,}"])
    return ["method", "arithmetic", "time", "memory", "operations"], rows


def speed_view(speed: Speed) -> RenderableType:
    """Console tables of all results."""
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
    """Notes that explain the numbers and name the machine."""
    faster = f"bfloat16 convolutions run {speed.bf16:.2g} times as fast as float32 there."
    fraction = f"{speed.achieved / speed.peak:.0%} of the rate of a single convolution of the same sizes"
    return [
        "Median [minimum, maximum] over rounds in which both sides alternate in one process.",
        "Input: a batch of 128 on one core, against image-by-image transforms with PIL. Loop: a training epoch of "
        "12,406 and an evaluation of 10,000 images, against a PyTorch loop with PIL, a DataLoader with 4 workers, "
        "channels first, float32 and plain SGD.",
        "Methods: a step near the end of training with ResNet-32, batch size 128 and one thread, relative to ERM's. "
        "Arithmetic counts convolutions and matrix products as on a GPU (a CPU skips empty slots and the backward pass "
        "of rows that do not contribute to the loss); memory counts tensors. No step reads a value back from a GPU.",
        f"Machine: {speed.device}, {speed.threads} threads; {faster} ERM's step reaches "
        f"{speed.achieved / 1e9:,.0f} GFLOP/s, {fraction}, all threads.",
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}.",
    ]


def markdown(speed: Speed) -> str:
    """Markdown text of `benchmarks/speed/speed.md`."""
    parts = [
        "# Speed",
        "Written by `bench speed`. Ratios from one machine; others will differ.",
    ]
    for title, (header, rows) in (
        ("## Against a standard PyTorch loop", ratio_rows(speed)),
        ("## Methods relative to ERM", method_rows(speed)),
    ):
        lines = [header, ["---"] * len(header), *rows]
        parts += [title, "\n".join("| " + " | ".join(line) + " |" for line in lines)]
    return "\n\n".join([*parts, "\n".join(f"* {note}" for note in notes(speed))]) + "\n"


def as_json(speed: Speed) -> str:
    """JSON text of all results, including the ratios of all rounds."""
    return json.dumps(dataclasses.asdict(speed), indent=1, sort_keys=True) + "\n"
