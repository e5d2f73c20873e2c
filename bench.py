"""The command line. It wires the rest and imports torch only inside commands, so that `--help` answers at once."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import rich_click as click
from ltbench.benchmarks.cli.speed import find_device, profile, speed
from ltbench.benchmarks.errors import INTERRUPTED, MissingData, UserError
from ltbench.benchmarks.utils.options import DATA, DEVICE, FOLDER, RESULTS, RUNS, SETTING, option, options
from ltbench.report.cli import compare, report, show
from rich.console import Console

KINDS = ("methods", "datasets", "recipes", "suites", "backbones")
click.rich_click.MAX_WIDTH = 110


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ltbench", prog_name="bench")
def cli() -> None:
    """Benchmark methods for long-tailed image classification on equal terms."""


@cli.command()
@option("--method", "-m", "methods", required=True, metavar="NAMES", help="Names or .py files, joined by commas.")
@option("--dataset", "-d", "datasets", required=True, metavar="NAMES", help="Names or folder:PATH, joined by commas.")
@option("--seed", "-s", "seeds", default="0", metavar="SEEDS", help="Such as 3, 0..2 or 0,4,7.")
@DEVICE
@RESULTS
@RUNS
@option("--quiet", is_flag=True, help="Print no leaderboard at the end.")
@options(SETTING)
def run(methods: str, datasets: str, device: str, results: Path, runs: Path, quiet: bool, **choices: Any) -> None:
    """Train, evaluate, record. Finished runs are skipped, interrupted ones resume.

    \b
    bench run --method ldam-drw --dataset cifar100-lt --imbalance 100 --seed 0..2
    bench run --method erm,drs --dataset digits-lt --set drs.weighting=inverse
    """
    from ltbench.benchmarks.cli.progress import ProgressLine
    from ltbench.benchmarks.sweeps.run_missing import run_missing
    from ltbench.benchmarks.training.plan import make_plan

    where = find_device(device)
    plan = make_plan(methods.split(","), datasets.split(","), device=where.type, **choices)
    console = Console(stderr=True)
    try:
        with ProgressLine(console) as line:
            records, failed = run_missing(plan, where, results, runs, line, line.say)
    except KeyboardInterrupt:
        console.print("Interrupted. The same command resumes after the last finished epoch.")
        sys.exit(INTERRUPTED)
    if not quiet:
        from ltbench.report.terminal import run_table

        Console().print(run_table(records))
    if failed:
        raise UserError("\n".join(failed))


@cli.command()
@click.argument("suite")
@option("--dry-run", is_flag=True, help="Say what would run, in which order, and how long it may take.")
@option("--jobs", "-j", default=1, type=click.IntRange(1), help="Processes at once on the CPU.")
@option("--devices", metavar="NAMES", help="GPUs instead: cuda:0,cuda:1.")
@option("--per-device", default=1, type=click.IntRange(1), help="Processes at once on each GPU.")
@option("--engine", default="local", type=click.Choice(["local", "ray", "slurm"]), help="Where the runs go.")
@option("--address", metavar="WHERE", help="Ray: auto or HOST:PORT of a cluster; else one on this machine.")
@option("--emit", type=click.Choice(["sbatch"]), help="Slurm: print the script that submits what is missing.")
@option("--fail-fast/--keep-going", default=False, help="Stop at the first failure, or never.")
@RESULTS
@RUNS
@options(DATA)
def sweep(
    suite: str, dry_run: bool, emit: str | None, data_root: str | None, allow_unverified: bool, **given: Any
) -> None:
    """Run what is missing of a suite: a name (bench list suites) or a .toml file. Prerequisites come first.

    \b
    bench sweep digits --jobs 2
    bench sweep mine.toml --devices cuda:0,cuda:1 --per-device 3
    """
    from ltbench.benchmarks.sweeps.workers import fork_server, slots_of

    devices, here = given.pop("devices"), given["engine"] == "local" and not (dry_run or emit)
    slots = slots_of(given.pop("jobs"), devices, given.pop("per_device"))
    if here and devices:
        find_device("cuda")  # says once what every run would say
    if here:
        fork_server(slots)  # it imports torch while this process does, too
    from ltbench.benchmarks.sweeps import runner as sweeping

    choices, console = sweeping.Choices(slots=slots, **given), Console(stderr=True)
    units = sweeping.units_of(suite, data_root, allow_unverified)
    if dry_run:
        sweeping.dry_run(units, choices, Console())
    elif emit or choices.engine == "slurm":
        from ltbench.benchmarks.sweeps.engines.slurm import script, submit

        text = script(units, choices)
        print(text, end="") if emit else submit(text)
    else:
        sweeping.carry_out(units, choices, run_command, console)


@cli.command()
@click.argument("suite", required=False)
@option("--watch", is_flag=True, help="Draw it again and again until nothing is left to do.")
@RESULTS
@RUNS
@options(DATA)
def status(
    suite: str | None, watch: bool, results: Path, runs: Path, data_root: str | None, allow_unverified: bool
) -> None:
    """Show what of a suite is done, running, failed or missing; without a suite, what is running."""
    from ltbench.benchmarks.sweeps.runner import units_of
    from ltbench.benchmarks.sweeps.status import anything_running, follow, states, status_table

    if suite is None:
        print("\n".join(anything_running(runs)) or "Nothing is running.")
        return
    units = units_of(suite, data_root, allow_unverified)
    follow(units, results, runs) if watch else Console().print(status_table(states(units, results, runs)))


@cli.command()
@option("--method", "-m", required=True, metavar="NAME", help="A name or a .py file.")
@option("--dataset", "-d", required=True, metavar="NAME", help="A name or folder:PATH.")
@option("--progress", default=0.99, type=click.FloatRange(0, 1), help="Moment of training: 0 its start, 1 its end.")
@option("--out", default="runs/look.png", type=FOLDER, help="A .png, .svg or .pdf file.")
@option("--seed", "-s", "seeds", default="0", metavar="SEED", help="Of the run whose network is used.")
@RUNS
@options(SETTING)
def look(method: str, dataset: str, progress: float, out: Path, runs: Path, **choices: Any) -> None:
    """Draw what a method's network is shown: natural and synthetic images, and their shares per class.

    \b
    bench look --method open --dataset cifar10-lt --augment simclr
    bench look --method m2m --dataset cifar10-lt        # after bench run with the same options
    """
    from ltbench.benchmarks.training.plan import make_plan
    from ltbench.benchmarks.training.preview import view
    from ltbench.benchmarks.utils.atomic_write import write_whole
    from ltbench.report.pictures import batch_picture
    from ltbench.report.style import picture_format

    kind = picture_format(out)
    chosen = make_plan([method], [dataset], **choices)[0]
    seen = view(chosen, progress, runs)
    title = f"{chosen.name} on {chosen.facts.label}, {progress:.0%} of training, {seen.state}"
    write_whole(out, batch_picture(title, chosen.dataset.class_names, seen, kind))
    print(f"Wrote {out}")


@cli.command("list")
@click.argument("kind", type=click.Choice(KINDS))
def list_command(kind: str) -> None:
    """Name what there is: methods, datasets, recipes, suites or backbones."""
    from ltbench.benchmarks.cli.inspect import summaries

    rows = summaries(kind)
    width = max((len(name) for name, _ in rows), default=0)
    for name, summary in rows:
        print(f"{name:<{width}}  {summary}".rstrip())


@cli.command()
@click.argument("name")
def info(name: str) -> None:
    """Print the card and the fields of a method, a dataset or a recipe; of all that have the name."""
    from ltbench.benchmarks.cli.inspect import cards

    console = Console(highlight=False)
    for part in cards(name):
        console.print(part, markup=False)


@cli.group()
def data() -> None:
    """Check or download datasets."""


@data.command()
@click.argument("dataset", required=False)
@options(DATA)
def check(dataset: str | None, data_root: str | None, allow_unverified: bool) -> None:
    """Read a dataset, or all of them, and say what is there. Exit code 2 if something asked for is not sound."""
    from ltbench.benchmarks.registry import configure, load, names
    from ltbench.benchmarks.split import DataRoot
    from ltbench.benchmarks.training.plan import find_source

    root = DataRoot.find(data_root, allow_unverified)
    wanted = [dataset] if dataset else [name for name in names("datasets") if not load("datasets", name).cls.paths]
    damaged = False
    for name in wanted:
        plugin, given = find_source(name)
        try:
            print(_describe(configure(plugin, given).load(root)))
        except UserError as error:
            if dataset:
                raise
            missing = isinstance(error, MissingData)
            damaged |= not missing
            print(f"{name}: missing; 'bench data check {name}' says what to do" if missing else error)
    if damaged:
        sys.exit(2)


@data.command()
@click.argument("dataset")
@options(DATA)
def download(dataset: str, data_root: str | None, allow_unverified: bool) -> None:
    """Download a dataset into the data root, where its makers allow it, and check it."""
    from ltbench.benchmarks.registry import configure
    from ltbench.benchmarks.split import DataRoot
    from ltbench.benchmarks.training.plan import find_source

    plugin, given = find_source(dataset)
    source, root = configure(plugin, given), DataRoot.find(data_root, allow_unverified)
    source.download(root)
    print(_describe(source.load(root)))


@cli.command("check-records")
@click.argument("folder", default="results", type=FOLDER)
def check_records(folder: Path) -> None:
    """Validate every record below a folder; exit code 2 names each bad file."""
    from ltbench.benchmarks.records.store import misplaced, read_all

    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    records, problems = read_all(folder)
    print(f"{len(records)} valid records in {folder}")
    problems += misplaced(folder)
    if problems:
        raise UserError("\n".join(problems))


for command in (report, compare, show, profile, speed):
    cli.add_command(command)


def _describe(dataset: Any) -> str:
    counts = dataset.train.counts.tolist()
    state = {True: "verified", False: "NOT verified", None: "no published checksum"}[dataset.verified]
    return (
        f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} test images, {len(counts)} classes "
        f"of {max(counts)} to {min(counts)} ({dataset.profile}), {state}, checksum {dataset.checksum[:12]}"
    )


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"Warning: {message}", file=sys.stderr)


def run_command(words: list[str]) -> None:
    """Carry out `bench` with some arguments; ends with SystemExit. A sweep's child processes call it."""
    sys.argv = ["bench", *words]
    main()


def main() -> None:
    """Run the command line; an error that the user can put right is one message and exit code 2."""
    warnings.showwarning = _show_warning
    try:
        cli()
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
