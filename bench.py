"""Entry point `bench`: joins the commands of benchmarks/cli and report/cli without importing torch."""

from __future__ import annotations

import errno
import importlib
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ltbench.benchmarks.errors import INTERRUPTED, UserError
from ltbench.benchmarks.utils.signals import SIGNALS, Stopped, noted_signals
from ltbench.benchmarks.utils.streams import safe_streams

if TYPE_CHECKING:
    import rich_click as click

SUBJECTS = [  # modules with commands in COMMANDS
    "ltbench.benchmarks.cli.run",
    "ltbench.benchmarks.cli.sweep",
    "ltbench.benchmarks.cli.advise",
    "ltbench.benchmarks.cli.data",
    "ltbench.benchmarks.cli.inspect",
    "ltbench.benchmarks.cli.preview",
    "ltbench.benchmarks.cli.records",
    "ltbench.benchmarks.cli.clean",
    "ltbench.benchmarks.cli.speed",
    "ltbench.report.cli",
]
OUTSIDE = {  # system errors that are caused by the user's files or machine, not by a fault of ltbench
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP,
    errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.EISDIR, errno.ENOTDIR,
}  # fmt: skip
REMEDY = "Fix this or choose another path, then run the same command again; no finished work is lost."


def main(words: list[str] | None = None) -> None:
    """Run a command line. A UserError is printed as one message, with exit code 2.

    Args:
        words: command-line arguments; None for those of this process. Signals are handled only with None: the child
            processes of a sweep pass the arguments of their run, and leave signals to the process that started them.

    Raises:
        SystemExit: always, with the exit code.
    """
    warnings.showwarning = _show_warning
    with safe_streams(), noted_signals(SIGNALS if words is None else ()) as arrived:
        code = _exit_code(lambda: join(SUBJECTS)(words, prog_name="bench" if words else None, obj=main), arrived)
        unwritten = _exit_code(sys.stdout.flush, arrived)
    sys.exit(code or unwritten)


def join(subjects: Iterable[str]) -> click.RichGroup:
    """Create the command group `bench` from the commands of some modules.

    Args:
        subjects: names of modules, each with a tuple COMMANDS.
    """
    import rich_click as click  # not at the top, so that Ctrl-C during the import is handled as well

    class Bench(click.RichGroup):
        def invoke(self, context: click.Context) -> Any:
            try:
                return super().invoke(context)
            except KeyboardInterrupt:  # click would turn it into exit code 1
                raise Stopped(INTERRUPTED) from None

    click.rich_click.MAX_WIDTH = 110

    @click.group(cls=Bench, context_settings={"help_option_names": ["-h", "--help"]})
    @click.version_option(package_name="ltbench", prog_name="bench")
    def bench() -> None:
        """Benchmark methods for long-tailed image classification on equal terms."""

    for subject in subjects:
        for command in importlib.import_module(subject).COMMANDS:
            bench.add_command(command)
    return bench


def _exit_code(action: Callable[[], object], arrived: list[int]) -> Any:
    """Call a function, print the message of an exception that ends it, and return the exit code.

    Args:
        action: function to call; it may raise SystemExit with an exit code.
        arrived: signals that have arrived; see `noted_signals`.
    """
    try:
        action()
    except SystemExit as leave:
        return leave.code
    except BaseException as error:
        if (end := _end(error, arrived)) is None:
            raise
        message, code = end
        print(message, file=sys.stderr)
        return code
    return 0


def _end(error: BaseException, arrived: list[int]) -> tuple[str, int] | None:
    """Message and exit code for a signal or an error that the user can correct; None for any other exception."""
    if isinstance(error, Stopped) or arrived:
        code = error.code if isinstance(error, Stopped) else 128 + arrived[-1]
    elif isinstance(error, KeyboardInterrupt):
        code = INTERRUPTED
    elif isinstance(error, UserError):
        return f"Error: {error}", 2
    elif isinstance(error, OSError) and error.errno in OUTSIDE:
        return f"Error: Cannot use {error.filename or 'a file'}: {(error.strerror or str(error)).lower()}. {REMEDY}", 2
    else:
        return None
    word = "Interrupted" if code == INTERRUPTED else "Terminated"
    return f"{word}. Run the same command again to continue; no finished work is lost.", code


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"Warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
