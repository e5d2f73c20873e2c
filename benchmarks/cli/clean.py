"""`bench clean`: delete files that are no longer needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from ..errors import UserError, printable
from ..utils.formatting import counted
from ..utils.options import DATA_OPTIONS, RESULTS, RUNS, add_options, option


@click.command()
@click.argument("suite", required=False)
@option("--yes", is_flag=True, help="Delete the files; without it they are only listed.")
@RESULTS
@RUNS
@add_options(DATA_OPTIONS)
def clean(suite: str | None, yes: bool, results: Path, runs: Path, **data: Any) -> None:
    """List temporary files of killed writes and, for a finished suite, its snapshots and features; --yes deletes them.

    \b
    bench clean                  # temporary files at least an hour old
    bench clean digits --yes     # the shared trainings and features of a finished suite, too
    """
    from ..sweeps.leftovers import spare_snapshots, temporary_files

    paths = temporary_files(results, runs)
    if suite is not None:
        from ..records.suites import read_suite
        from ..sweeps.status import missing
        from ..sweeps.units import make_units

        units = make_units(read_suite(suite), **data)
        if unfinished := missing(units, results):
            print(f"{suite} has {counted(len(unfinished), 'missing run')}; its snapshots and features are kept.")
        paths += spare_snapshots(units, results, runs)
    sizes = {path: path.stat().st_size for path in paths}
    for path, size in sizes.items():
        print(f"{size / 1e6:8.1f} MB  {printable(str(path))}")
    total = f"{counted(len(paths), 'file')}, {sum(sizes.values()) / 1e6:.1f} MB"
    if not yes:
        print(f"{total}. Nothing was deleted{'; add --yes to delete them' if paths else ''}.")
        return
    for path in paths:
        _delete(path)
    print(f"Deleted {total}.")


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"Cannot delete {path}: {(error.strerror or str(error)).lower()}.") from error


COMMANDS = (clean,)
