"""`bench check-records`: validate all records in a folder."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from ..errors import UserError
from ..utils.options import PATH


@click.command("check-records")
@click.argument("folder", default="results", type=PATH)
def check_records(folder: Path) -> None:
    """Validate every record below a folder; if any is invalid, list the files and exit with code 2."""
    from ..records.store import misplaced, read_all

    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    records, problems = read_all(folder)
    print(f"{len(records)} valid records in {folder}")
    problems += misplaced(folder)
    if problems:
        raise UserError("\n".join(problems))


COMMANDS = (check_records,)
