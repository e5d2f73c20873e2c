"""The entry point: joins the commands of benchmarks/cli and report/cli. It imports no torch, so `--help` is quick."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterable
from typing import Any

import rich_click as click
from ltbench.benchmarks.errors import UserError

SUBJECTS = [  # modules with commands in COMMANDS
    "ltbench.benchmarks.cli.run",
    "ltbench.benchmarks.cli.sweep",
    "ltbench.benchmarks.cli.data",
    "ltbench.benchmarks.cli.inspect",
    "ltbench.benchmarks.cli.preview",
    "ltbench.benchmarks.cli.records",
    "ltbench.benchmarks.cli.speed",
    "ltbench.report.cli",
]
click.rich_click.MAX_WIDTH = 110


def main(words: list[str] | None = None) -> None:
    """Carry out a command line; an error that the user can correct is one message and exit code 2.

    Args:
        words: the arguments; those of the process if None. The child processes of a sweep call it with those of a run.

    Raises:
        SystemExit: always, with the exit code.
    """
    warnings.showwarning = _show_warning
    try:
        join(SUBJECTS)(words, prog_name="bench" if words else None, obj=main)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)


def join(subjects: Iterable[str]) -> click.RichGroup:
    """The command line with the commands of all these modules; `main` is handed down in the context."""

    @click.group(context_settings={"help_option_names": ["-h", "--help"]})
    @click.version_option(package_name="ltbench", prog_name="bench")
    def bench() -> None:
        """Benchmark methods for long-tailed image classification on equal terms."""

    for subject in subjects:
        for command in importlib.import_module(subject).COMMANDS:
            bench.add_command(command)
    return bench


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"Warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
