"""`bench data`: check and download datasets."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import rich_click as click

from ..errors import MissingData, UserError, printable
from ..utils.options import DATA_OPTIONS, add_options

if TYPE_CHECKING:
    from ..split import Dataset, Source


@click.group()
def data() -> None:
    """Check or download datasets."""


@data.command()
@click.argument("dataset", required=False)
@add_options(DATA_OPTIONS)
def check(dataset: str | None, data_root: str | None, allow_unverified: bool) -> None:
    """Read and describe one dataset, or all. The exit code is 2 if data are damaged or the named dataset is missing."""
    from ..registry import load, names
    from ..split import DataRoot

    root = DataRoot.find(data_root, allow_unverified)
    if dataset:
        print(_describe(_source(dataset).load(root)))
        return
    damaged = False
    for name in names("datasets"):
        if load("datasets", name).cls.paths:  # needs a folder from the user
            continue
        try:
            print(_describe(_source(name).load(root)))
        except MissingData:
            print(f"{name}: missing; 'bench data check {name}' explains how to get it")
        except UserError as error:
            damaged = True
            print(error)
    if damaged:
        sys.exit(2)


@data.command()
@click.argument("dataset")
@add_options(DATA_OPTIONS)
def download(dataset: str, data_root: str | None, allow_unverified: bool) -> None:
    """Download a dataset into the data root, if its licence allows, and check it."""
    from ..split import DataRoot

    source, root = _source(dataset), DataRoot.find(data_root, allow_unverified)
    source.download(root)
    print(_describe(source.load(root)))


def _source(text: str) -> Source:
    """The dataset plugin for `name` or `name:PATH`."""
    from ..registry import configure
    from ..training.plan import find_source

    plugin, values = find_source(text)
    source: Source = configure(plugin, values)
    return source


def _describe(dataset: Dataset) -> str:
    counts = dataset.train.counts.tolist()
    state = {True: "verified", False: "NOT verified", None: "no published checksum"}[dataset.verified]
    return printable(
        f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} test images, {len(counts)} classes "
        f"of {max(counts)} to {min(counts)} ({dataset.profile}), {state}, checksum {dataset.checksum[:12]}"
    )


COMMANDS = (data,)
