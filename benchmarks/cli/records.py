"""`bench check-records`: validate all records in a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import rich_click as click

from ..errors import UserError
from ..utils.options import PATH


@click.command("check-records")
@click.argument("folder", default="results", type=PATH)
def check_records(folder: Path) -> None:
    """Validate every record below a folder. If some are invalid, list them; the exit code is then 2.

    Records of a newer version of ltbench only cause a warning.
    """
    from ..records.store import misplaced, read_folder

    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    contents = read_folder(folder)
    count = len(contents.records)
    print(f"{count} valid record{'s' * (count != 1)} in {folder}")
    for sentence in contents.newer:
        print(f"Warning: {sentence}", file=sys.stderr)
    if problems := contents.problems + misplaced(contents):
        raise UserError("\n".join(problems))


COMMANDS = (check_records,)
