"""Entry point: joins the commands of benchmarks/cli and report/cli. Does not import torch, so `--help` is fast."""

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
    """Run a command line. A UserError is printed as one message, with exit code 2.

    Args:
        words: command-line arguments; None for those of the process. The child processes of a sweep pass those of a
            run.

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
    """The click group with the commands of the given modules; `main` reaches them as the context's object."""

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
