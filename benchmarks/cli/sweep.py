"""`bench sweep` and `bench status`: run a suite on one or many machines, and show the state of its runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.console import Console

from ..sweeps.engines import ENGINES, SCRIPTS, create_engine
from ..sweeps.request import SweepRequest
from ..sweeps.workers import Command, slots_of
from ..utils.options import DATA_OPTIONS, RESULTS, RUNS, add_options, option

if TYPE_CHECKING:
    from ..sweeps.units import Unit


@click.command()
@click.argument("suite")
@option("--dry-run", is_flag=True, help="Print the missing runs in order, with time estimates, and exit.")
@option("--jobs", "-j", default=1, type=click.IntRange(1), help="Number of parallel processes on the CPU.")
@option("--devices", metavar="NAMES", help="Use GPUs instead, such as cuda:0,cuda:1.")
@option("--per-device", default=1, type=click.IntRange(1), help="Number of parallel processes on each GPU.")
@option("--engine", default="local", type=click.Choice(tuple(ENGINES)), help="Where to execute the runs.")
@option("--address", metavar="WHERE", help="Ray: auto or HOST:PORT of a cluster; default: start one on this machine.")
@option("--emit", type=click.Choice(tuple(SCRIPTS)), help="Slurm: print the script that submits the missing runs.")
@option("--fail-fast/--keep-going", default=False, help="Stop at the first failure, or continue with the other runs.")
@RESULTS
@RUNS
@add_options(DATA_OPTIONS)
@click.pass_obj
def sweep(command: Command, /, suite: str, dry_run: bool, engine: str, emit: str | None, **options: Any) -> None:
    """Run the missing runs of a suite: a name (see bench list suites) or a .toml file. Prerequisites run first.

    \b
    bench sweep digits --jobs 2
    bench sweep mine.toml --devices cuda:0,cuda:1 --per-device 3
    """
    data = [options.pop(name) for name in ("data_root", "allow_unverified")]
    slots = slots_of(*(options.pop(name) for name in ("jobs", "devices", "per_device")))
    request = SweepRequest(slots=slots, command=command, script_only=emit is not None, **options)
    if dry_run:
        from ..sweeps.runner import print_dry_run

        print_dry_run(_units(suite, *data), request, Console())
        return
    chosen = create_engine(SCRIPTS[emit] if emit else engine, request)
    from ..sweeps.runner import print_outcome  # imports torch, while the fork server imports it in parallel

    units = _units(suite, *data)
    outcome = chosen.run(units)
    if outcome is not None:
        print_outcome(outcome, len(units), Console(stderr=True))


@click.command()
@click.argument("suite", required=False)
@option("--watch", is_flag=True, help="Refresh the table until no run is running or missing.")
@RESULTS
@RUNS
@add_options(DATA_OPTIONS)
def status(
    suite: str | None, watch: bool, results: Path, runs: Path, data_root: str | None, allow_unverified: bool
) -> None:
    """Show which runs of a suite are done, running, failed or missing; without a suite, list the running ones."""
    from ..sweeps.dashboard import follow, status_table
    from ..sweeps.status import running_now, states

    if suite is None:
        print("\n".join(running_now(runs)) or "Nothing is running.")
        return
    units = _units(suite, data_root, allow_unverified)
    if watch:
        follow(units, results, runs)
    else:
        Console().print(status_table(states(units, results, runs)))


def _units(suite: str, data_root: str | None, allow_unverified: bool) -> list[Unit]:
    from ..records.suites import read_suite
    from ..sweeps.units import make_units

    return make_units(read_suite(suite), data_root, allow_unverified)


COMMANDS = (sweep, status)
