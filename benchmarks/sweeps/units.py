"""Units of work: the runs of a suite, each with the command that executes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ..errors import printable
from ..records.suites import Block, Suite
from ..registry import names
from ..training.checkpoint import snapshot_path
from ..training.feature_store import FILE, feature_folders
from ..training.plan import RunRequest, make_plan
from ..training.run_spec import RunSpec
from ..training.shared_start import SharedTraining, shared_trainings
from ..utils.formatting import exact
from ..utils.options import escape_name


@dataclass(frozen=True)
class SharedSnapshot:
    """A snapshot of another run, or features of a frozen backbone: made once for all units that need it.

    Attributes:
        run_id: id of the run that the snapshot belongs to; for features, the name of their folder.
        method: name of that run's method; for features, "features".
        epochs: number of epochs after which the snapshot is saved; 0 for features.
        own: true if the unit continues from these epochs; false if it uses this network in addition to its own.
        path: path of the file, relative to the runs folder.
    """

    run_id: str
    method: str
    epochs: int
    own: bool
    path: Path

    def exists(self, runs: Path) -> bool:
        """Whether the file exists."""
        return (runs / self.path).exists()


@dataclass(frozen=True)
class Unit:
    """A run and the command that executes it.

    Attributes:
        id: id of the run and its record.
        method: name of the method.
        dataset: name of the dataset.
        recipe: name of the recipe.
        label: text with dataset, recipe, method and seed, shown to the user.
        record: path of the record, relative to the results folder.
        arguments: arguments of `bench`, without folders and device.
        shared: snapshots of other runs and features that the run needs.
        epochs: total number of epochs of all stages.
        images: number of training images.
    """

    id: str
    method: str
    dataset: str
    recipe: str
    label: str
    record: Path
    arguments: tuple[str, ...]
    shared: tuple[SharedSnapshot, ...]
    epochs: int
    images: int

    def command(self, results: Path, runs: Path) -> list[str]:
        """Arguments of `bench` that execute the run; the engine may add a device."""
        return [*self.arguments, "--results", str(results), "--runs", str(runs), "--quiet"]


def make_units(suite: Suite, data_root: str | None = None, allow_unverified: bool = False) -> list[Unit]:
    """All units of a suite, without duplicates, in the order of the file.

    Args:
        suite: contents of the suite file.
        data_root: folder of the datasets; None for the default.
        allow_unverified: whether to accept data files whose checksum differs.

    Raises:
        UserError: a name is unknown, a value is out of range, or data are missing or damaged.
    """
    root = str(Path(data_root).resolve()) if data_root else None  # a run may have a different working directory
    units: dict[str, Unit] = {}
    for block in suite.runs:
        methods = names("methods") if block.methods == ["*"] else block.methods
        for dataset, values in _settings(block):
            values |= {"data_root": root, "allow_unverified": allow_unverified}
            request = RunRequest(seeds=block.seeds, settings=block.set, **values)
            for run in make_plan(methods, [dataset], request):
                method = _as_typed(run.name, methods)
                chosen = ("--method", escape_name(method), "--dataset", escape_name(dataset), "--seed", str(run.seed))
                words = ["run", *chosen, *_options(values)]
                words += [word for text in _assignments(run.name, methods, block.set) for word in ("--set", text)]
                units.setdefault(run.id, _unit(run, words))
    return list(units.values())


def _settings(block: Block) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each dataset of a block with each combination of the options of `bench run` that the block sets."""
    for ratio, profile in product(block.imbalance or (None,), block.profile or (None,)):
        for dataset in block.datasets:
            yield dataset, {
                "imbalance": None if ratio is None else exact(ratio), "profile": profile, "recipe": block.recipe,
                "epochs": None if block.epochs is None else str(block.epochs), "augment": block.augment,
            }  # fmt: skip


def _options(values: dict[str, Any]) -> list[str]:
    """Format options for the command line; True becomes a flag, False and None are left out."""
    words: list[str] = []
    for name, value in values.items():
        if value not in (None, False):
            option = f"--{name.replace('_', '-')}"
            words += [option] if value is True else [option, str(value)]
    return words


def _as_typed(method: str, methods: Sequence[str]) -> str:
    """The path of a method's file if the suite refers to it by path, else its name."""
    return next((name for name in methods if name.endswith(".py") and _stem(name) == method), method)


def _assignments(method: str, methods: Sequence[str], texts: Sequence[str]) -> list[str]:
    """The settings of a block, "NAME=VALUE", that apply to a method."""
    others = {_stem(name) for name in methods} - {method}
    return [text for text in texts if text.partition("=")[0].rpartition(".")[0] not in others]


def _stem(path: str) -> str:
    return Path(path).stem.replace("_", "-")


def _unit(run: RunSpec, words: Sequence[str]) -> Unit:
    changes = ", ".join(f"{name}={value}" for name, value in sorted(run.changed.items()))
    method = f"{run.name} ({changes})" if changes else run.name
    return Unit(
        id=run.id,
        method=run.name,
        dataset=run.facts.dataset.name,
        recipe=run.recipe.name,
        label=printable(f"{run.facts.dataset.label} {run.recipe.name} | {method} | seed {run.seed}"),
        record=run.path(Path()),
        arguments=tuple(words),
        shared=(*map(_snapshot, shared_trainings(run)), *map(_features, feature_folders(run))),
        epochs=run.epochs,
        images=len(run.dataset.train),
    )


def _snapshot(training: SharedTraining) -> SharedSnapshot:
    run_id = training.spec.id
    path = snapshot_path(Path(run_id), training.epochs)
    return SharedSnapshot(run_id, training.spec.name, training.epochs, training.use == "prefix", path)


def _features(folder: str) -> SharedSnapshot:
    return SharedSnapshot(folder, "features", 0, False, Path(folder, FILE))
