"""`bench profile` and `bench speed`: time spent in each part of a training step, and relative speed of methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console

from ..errors import printable
from ..utils.device import find_device
from ..utils.options import DEVICE, PATH, RUN_OPTIONS, add_options, names_option, option


@click.command()
@option("--method", "-m", required=True, metavar="NAME", help="A name or a .py file.")
@option("--dataset", "-d", required=True, metavar="NAME", help="A name or folder:PATH.")
@DEVICE
@add_options(RUN_OPTIONS)
def profile(method: str, dataset: str, device: str, **options: Any) -> None:
    """Show the time spent in each part of a training step, at the start and near the end of training.

    \b
    bench profile --method open --dataset cifar10-lt
    """
    from ..records.environment import threads
    from ..speed.microbenchmarks import convolution_peak
    from ..speed.profile import profiles
    from ..speed.tables import profile_view
    from ..training.plan import RunRequest, make_plan

    torch_device = find_device(device)
    (run,) = make_plan([method], [dataset], RunRequest(**options))
    data, recipe = run.facts.dataset, run.recipe
    title = printable(f"{run.name} on {data.label}: {recipe.backbone}, batch of {recipe.batch_size}, {torch_device}")
    with Console(stderr=True).status("Taking steps"), threads(run.recipe.threads):
        before = convolution_peak(torch_device)
        measured = profiles(run, torch_device)
        peak = max(before, convolution_peak(torch_device))
    Console(markup=False, emoji=False).print(profile_view(title, measured, peak))


@click.command()
@names_option("--methods", help="Names or .py files, comma-separated or repeated; default: all.")
@option("--against", type=click.Choice(["dataloader"]), help="Also time an epoch of a standard PyTorch loop.")
@option("--json", "json_file", type=PATH, metavar="FILE", help="Write the timings of all rounds to this file.")
@option("--out", type=PATH, metavar="FILE", help="Write the tables to this file, as Markdown.")
@option("--quick", is_flag=True, hidden=True, help="Few images, a small network and two rounds, to try the command.")
@DEVICE
def speed(
    methods: list[str], against: str | None, json_file: Path | None, out: Path | None, quick: bool, device: str
) -> None:
    """Time each method's step relative to ERM's, and the input path relative to PIL. Takes minutes on a CPU.

    \b
    bench speed --methods open,m2m
    bench speed --against dataloader --out benchmarks/speed/speed.md
    """
    from ..registry import names
    from ..speed.measure import measure
    from ..speed.synthetic import CIFAR_10_LT, QUICK, synthetic_specs
    from ..speed.tables import as_json, markdown, speed_view
    from ..utils.atomic_write import write_atomically

    torch_device, console = find_device(device), Console(stderr=True)
    chosen = methods or names("methods")
    scale = QUICK if quick else CIFAR_10_LT
    runs = synthetic_specs(["erm", *(name for name in chosen if name != "erm")], scale)
    with console.status("Measuring") as status:

        def say(text: str) -> None:
            status.update(f"Measuring {text}")

        results = measure(runs, torch_device, against == "dataloader", say, scale)
    Console(markup=False, emoji=False).print(speed_view(results))
    for path, text in ((json_file, as_json(results)), (out, markdown(results))):
        if path:
            write_atomically(path, text)
            print(f"Wrote {path}")


COMMANDS = (profile, speed)
