"""`bench run`: train and evaluate methods on datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console

from ..errors import UserError
from ..utils.device import find_device
from ..utils.options import DEVICE, RESULTS, RUN_OPTIONS, RUNS, add_options, names_option, option


@click.command()
@names_option("--method", "-m", "methods", required=True, help="Names or .py files, comma-separated or repeated.")
@names_option("--dataset", "-d", "datasets", required=True, help="Names or folder:PATH, comma-separated or repeated.")
@option("--seed", "-s", "seeds", default=("0",), multiple=True, metavar="SEEDS", help="Such as 3, 0..2 or 0,4,7.")
@DEVICE
@RESULTS
@RUNS
@option("--quiet", is_flag=True, help="Do not print the leaderboard.")
@add_options(RUN_OPTIONS)
def run(
    methods: list[str], datasets: list[str], device: str, results: Path, runs: Path, quiet: bool, **options: Any
) -> None:
    """Train and evaluate methods, and write a record of each run. Skips finished runs and resumes interrupted ones.

    \b
    bench run --method ldam-drw --dataset cifar100-lt --imbalance 100 --seed 0..2
    bench run --method erm,drs --dataset digits-lt --set drs.weighting=inverse
    """
    from ..sweeps.runner import run_missing
    from ..training.plan import RunRequest, make_plan
    from ..training.transfer_hint import transfer_hint
    from .progress import ProgressLine

    torch_device = find_device(device)
    plan = make_plan(methods, datasets, RunRequest(seeds=",".join(options.pop("seeds")), **options))
    with ProgressLine(Console(stderr=True)) as line:
        if hint := transfer_hint(plan, options["recipe"], torch_device):
            line.say(hint)
        records, failures = run_missing(plan, torch_device, results, runs, line, line.say)
    if not quiet:
        from ...report.document import run_document
        from ...report.outputs.terminal import terminal

        Console().print(terminal(run_document(records)))
    if failures:
        raise UserError("\n".join(failures))


COMMANDS = (run,)
