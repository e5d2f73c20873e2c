"""`bench run`: train and evaluate methods on datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console

from ..errors import UserError
from ..utils.device import find_device
from ..utils.options import DEVICE, RESULTS, RUN_OPTIONS, RUNS, add_options, option


@click.command()
@option("--method", "-m", "methods", required=True, metavar="NAMES", help="Names or .py files, joined by commas.")
@option("--dataset", "-d", "datasets", required=True, metavar="NAMES", help="Names or folder:PATH, joined by commas.")
@option("--seed", "-s", "seeds", default="0", metavar="SEEDS", help="Such as 3, 0..2 or 0,4,7.")
@DEVICE
@RESULTS
@RUNS
@option("--quiet", is_flag=True, help="Print no leaderboard at the end.")
@add_options(RUN_OPTIONS)
def run(methods: str, datasets: str, device: str, results: Path, runs: Path, quiet: bool, **options: Any) -> None:
    """Train, evaluate and record. Finished runs are skipped, interrupted ones resume.

    \b
    bench run --method ldam-drw --dataset cifar100-lt --imbalance 100 --seed 0..2
    bench run --method erm,drs --dataset digits-lt --set drs.weighting=inverse
    """
    from ..sweeps.runner import run_missing
    from ..training.plan import RunRequest, make_plan
    from .progress import ProgressLine

    torch_device = find_device(device)
    plan = make_plan(methods.split(","), datasets.split(","), RunRequest(**options))
    with ProgressLine(Console(stderr=True)) as line:
        records, failures = run_missing(plan, torch_device, results, runs, line, line.say)
    if not quiet:
        from ...report.document import run_document
        from ...report.outputs.terminal import terminal

        Console().print(terminal(run_document(records)))
    if failures:
        raise UserError("\n".join(failures))


COMMANDS = (run,)
