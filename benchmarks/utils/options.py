"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rich_click as click

PATH = click.Path(path_type=Path)


class FractionType(click.FloatRange):
    """A number from 0 to 1; click itself lets "nan" through."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The number; a usage error if it is none."""
        number: float = super().convert(value, param, ctx)
        return self.fail(f"{value} is no number from 0 to 1.", param, ctx) if math.isnan(number) else number


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """`click.option`; its help shows the default if there is one."""
    return click.option(*names, show_default="default" in settings, **settings)


def add_options(shared: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """A decorator that adds several options to a command, in their order."""

    def add(command: Any) -> Any:
        for decorate in reversed(shared):
            command = decorate(command)
        return command

    return add


DEVICE = option(
    "--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]), help="auto: CUDA where there is one."
)
RESULTS = option("--results", default="results", type=PATH, help="Folder of the records.")
RUNS = option("--runs", default="runs", type=PATH, help="Folder of checkpoints, final networks and test logits.")
DATA_OPTIONS = [
    option("--data-root", metavar="DIR", help="Folder of the datasets; else LTBENCH_DATA, else ./data."),
    option("--allow-unverified", is_flag=True, help="Accept data files whose checksum differs; records say so."),
]
RUN_OPTIONS = [
    option("--imbalance", metavar="RATIO", help="Largest class / smallest class; 1 is balanced."),
    option("--profile", metavar="NAME", help="exp or step."),
    option("--recipe", metavar="NAME", help="A recipe or a .toml file; else the dataset's own."),
    option("--epochs", metavar="N", help="Instead of the recipe's; the schedule keeps its shape."),
    option(
        "--augment", type=click.Choice(["basic", "simclr", "autoaugment"]),
        help="Instead of the recipe's; basic: no more than its crop, flip and Cutout.",
    ),
    option(
        "--set", "settings", multiple=True, metavar="NAME=VALUE",
        help="A hyper-parameter of every method; METHOD.NAME, recipe.NAME or dataset.NAME for one of those.",
    ),
    option("--plain", is_flag=True, help="The readable, slow reference path; it computes what the fast one does."),
    *DATA_OPTIONS,
]  # fmt: skip
