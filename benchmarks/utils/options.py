"""Command-line options shared by several commands."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rich_click as click

PATH = click.Path(path_type=Path)


class Once(click.Option):
    """An option that may be given at most once; click itself would silently keep the last of several values."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser collect all values."""
        self.multiple = not self.is_flag
        super().add_to_parser(parser, ctx)
        self.multiple = False

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> Any:
        """Return the value of the option and its source.

        Raises:
            click.UsageError: the option was given several times.
        """
        values = opts.get(str(self.name))
        if isinstance(values, list):
            if len(values) > 1:
                raise click.UsageError(f"{self.opts[0]} is given {len(values)} times: {', '.join(values)}.", ctx)
            opts = {**opts, str(self.name): values[0]}
        return super().consume_value(ctx, opts)


class FractionType(click.FloatRange):
    """Click type for numbers from 0 to 1; unlike `click.FloatRange`, it rejects "nan"."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Convert the value of an option to a number.

        Raises:
            click.BadParameter: the value is not a number from 0 to 1.
        """
        number: float = super().convert(value, param, ctx)
        return self.fail(f"{value} is not a number from 0 to 1.", param, ctx) if math.isnan(number) else number


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """`click.option` that shows its default, if any, in the help text and may be given only once unless `multiple`."""
    if not settings.get("multiple"):
        settings["cls"] = Once
    return click.option(*names, show_default="default" in settings, **settings)


def names_option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """Click option for names, comma-separated (see `split_names`), in repeated options, or both."""
    return click.option(*names, multiple=True, metavar="NAMES", callback=_as_names, **settings)


def _as_names(ctx: click.Context, parameter: click.Parameter, values: Sequence[str]) -> list[str]:
    try:
        return [name for value in values for name in split_names(value)]
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from error


def split_names(text: str) -> list[str]:
    r"""Split comma-separated names, such as `erm,drw`; empty names are dropped, and `\,` is a comma within a name.

    Raises:
        ValueError: the text contains no name.
    """
    names = [part.replace(r"\,", ",").strip() for part in re.split(r"(?<!\\),", text)]
    if not any(names):
        raise ValueError(f"'{text}' contains no name.")
    return [name for name in names if name]


def escape_name(name: str) -> str:
    r"""Escape the commas of a name for `split_names`: `a,b` becomes `a\,b`."""
    return name.replace(",", r"\,")


def add_options(shared: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Decorator that adds options to a command, in the given order."""

    def add(command: Any) -> Any:
        for decorate in reversed(shared):
            command = decorate(command)
        return command

    return add


DEVICE = option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]), help="auto: CUDA if available.")
RESULTS = option("--results", default="results", type=PATH, help="Folder of the records.")
RUNS = option("--runs", default="runs", type=PATH, help="Folder of checkpoints, final networks and test logits.")
DATA_OPTIONS = [
    option("--data-root", metavar="DIR", help="Folder of the datasets; default: LTBENCH_DATA or ./data."),
    option("--allow-unverified", is_flag=True, help="Accept data files whose checksum differs; marked in records."),
]
RUN_OPTIONS = [
    option("--imbalance", metavar="RATIO", help="Size of the largest class / size of the smallest; 1: balanced."),
    option("--profile", metavar="NAME", help="Imbalance profile: exp or step."),
    option("--recipe", metavar="NAME", help="A recipe or .toml file; default: the dataset's recipe."),
    option("--epochs", metavar="N", help="Override the recipe's epochs; the schedule keeps its shape."),
    option(
        "--augment", type=click.Choice(["basic", "simclr", "autoaugment"]),
        help="Override the recipe's augmentation; basic: only its crop, flip and Cutout.",
    ),
    option(
        "--set", "settings", multiple=True, metavar="NAME=VALUE",
        help="Set a hyper-parameter of every method; METHOD.NAME, recipe.NAME or dataset.NAME sets a specific one.",
    ),
    option("--plain", is_flag=True, help="Use the readable, slow reference path; same results up to rounding."),
    *DATA_OPTIONS,
]  # fmt: skip
