"""Command-line options shared by several commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rich_click as click

PATH = click.Path(path_type=Path)


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """`click.option` that shows the default, if any, in its help text."""
    return click.option(*names, show_default="default" in settings, **settings)


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
