"""The commands that measure: profile and speed. They import what they need when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.console import Console

from ..errors import UserError
from ..utils.options import DEVICE, FOLDER, SETTING, option, options

if TYPE_CHECKING:
    import torch


@click.command()
@option("--method", "-m", required=True, metavar="NAME", help="A name or a .py file.")
@option("--dataset", "-d", required=True, metavar="NAME", help="A name or folder:PATH.")
@DEVICE
@options(SETTING)
def profile(method: str, dataset: str, device: str, **choices: Any) -> None:
    """Show where the time of a training step goes, at the beginning and late in training. Trains nothing.

    \b
    bench profile --method open --dataset cifar10-lt
    """
    from ..records.environment import threads
    from ..speed.microbenchmarks import convolution_peak
    from ..speed.profile import profiles
    from ..speed.tables import profile_view
    from ..training.plan import RunRequest, make_plan

    where = find_device(device)
    (run,) = make_plan([method], [dataset], RunRequest(**choices))
    title = f"{run.name} on {run.facts.dataset.label}: {run.recipe.backbone}, batch of {run.recipe.batch_size}, {where}"
    with Console(stderr=True).status("Taking steps"), threads(run.recipe.threads):
        before = convolution_peak(where)
        found = profiles(run, where)
        peak = max(before, convolution_peak(where))
    Console().print(profile_view(title, found, peak))


@click.command()
@option("--methods", metavar="NAMES", help="Names or .py files, joined by commas; else all.")
@option("--against", type=click.Choice(["dataloader"]), help="Also time an epoch against the common PyTorch loop.")
@option("--json", "json_file", type=FOLDER, metavar="FILE", help="Write all rounds there.")
@option("--out", type=FOLDER, metavar="FILE", help="Write the tables there as Markdown.")
@DEVICE
def speed(methods: str | None, against: str | None, json_file: Path | None, out: Path | None, device: str) -> None:
    """Measure speed as ratios: two ways take turns in one process. Takes minutes on a CPU.

    \b
    bench speed --methods open,m2m
    bench speed --against dataloader --out benchmarks/speed/speed.md
    """
    from ..registry import names
    from ..speed.measure import measure
    from ..speed.synthetic import synthetic_specs
    from ..speed.tables import as_json, markdown, speed_view
    from ..utils.atomic_write import write_atomically

    where, console = find_device(device), Console(stderr=True)
    chosen = [name.strip() for name in methods.split(",") if name.strip()] if methods else names("methods")
    runs = synthetic_specs(["erm", *(name for name in chosen if name != "erm")])
    with console.status("Measuring") as status:
        found = measure(runs, where, against == "dataloader", lambda text: status.update(f"Measuring {text}"))
    Console().print(speed_view(found))
    for path, text in ((json_file, as_json(found)), (out, markdown(found))):
        if path:
            write_atomically(path, text)
            print(f"Wrote {path}")


def find_device(name: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` names.

    Raises:
        UserError: there is no CUDA here.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"--device cuda: torch {torch.__version__} finds no CUDA device on this machine. Use --device cpu or auto."
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
