"""Suites: methods x datasets x ratios x seeds as a TOML file, and the units of work that follow from one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import UserError, unknown
from .registry import names
from .training.plan import make_plan
from .training.shared_start import erm_of
from .training.trainer import Run
from .utils.formatting import exact

FOLDER = Path(__file__).parent / "suites"
Names = Annotated[list[str], Field(min_length=1)]


class Block(BaseModel):
    """Runs that differ in method, dataset, ratio, profile and seed; the fields are the options of `bench run`.

    Attributes:
        methods: names, or paths of .py files; "*" for all that are found.
        datasets: names.
        imbalance: ratios; none for each dataset's own.
        profile: exp, step or both; none for each dataset's own.
        seeds: such as "0..2".
        recipe: a name or a .toml file; else each dataset's own.
        epochs: instead of the recipe's.
        augment: instead of the recipe's.
        set: NAME=VALUE; METHOD.NAME counts for that method alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    methods: Names
    datasets: Names
    imbalance: list[float] = []
    profile: list[Literal["exp", "step"]] = []
    seeds: str = "0"
    recipe: str | None = None
    epochs: int | None = None
    augment: str | None = None
    set: list[str] = []


class Suite(BaseModel):
    """A suite's file: blocks of runs; what two blocks have in common runs once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: Annotated[list[Block], Field(min_length=1)]


@dataclass(frozen=True)
class Unit:
    """One unit of work: a run, and the command that carries it out.

    Attributes:
        id: of the run and its record.
        method: its name.
        dataset: its name.
        recipe: its name.
        label: of dataset, method and seed, for people.
        record: path of the record below the results folder.
        arguments: of `bench`; results, runs and device are left to the engine.
        erm: id of the ERM run that it shares epochs with; None where it shares none.
        prefix: epochs that must have been trained there before it begins.
        shared: those of its own epochs that are among them.
        epochs: of all stages.
        images: training images.
    """

    id: str
    method: str
    dataset: str
    recipe: str
    label: str
    record: Path
    arguments: tuple[str, ...]
    erm: str | None
    prefix: int
    shared: int
    epochs: int
    images: int


def suite_files() -> dict[str, Path]:
    """Suites that come with ltbench: name to file."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def read_suite(name: str) -> Suite:
    """A suite by name or file.

    Raises:
        UserError: there is none, or it holds what no suite holds; the message names file, line and field.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        text = path.read_text(encoding="utf-8")
        return Suite.model_validate(tomllib.loads(text))
    except OSError as error:
        if name.endswith(".toml"):
            raise UserError(f"Cannot read the suite {path}: {(error.strerror or str(error)).lower()}.") from error
        raise unknown("suite", name, suite_files()) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is no TOML file: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].replace("Extra inputs are not permitted", f"no suite has this; known: {_known(first)}")
        raise UserError(f"{path}, line {_line(text, first['loc'])}: {place}: {message}.") from error


def _known(error: Any) -> str:
    fields = Block.model_fields if len(error["loc"]) > 1 else Suite.model_fields
    return ", ".join(fields)


def _line(text: str, place: tuple[int | str, ...]) -> int:
    """The line that a field of the n-th block stands in; the block's own, or 1, where it is missing."""
    lines = text.splitlines()
    block = next((part for part in place if isinstance(part, int)), 0)
    heads = [k for k, line in enumerate(lines) if re.match(r"\s*\[\[\s*runs\s*\]\]", line)]
    start = heads[block] if block < len(heads) else 0
    stop = heads[block + 1] if block + 1 < len(heads) else len(lines)
    keys = [part for part in place if isinstance(part, str) and part != "runs"]
    pattern = re.compile(rf"\s*\[*\s*[\"']?{re.escape(keys[0])}[\"']?\s*[=\]]") if keys else None
    found = (k for k in range(start if len(place) > 1 else 0, stop) if pattern and pattern.match(lines[k]))
    return next(found, start) + 1


def make_units(suite: Suite, data_root: str | None = None, allow_unverified: bool = False) -> list[Unit]:
    """All units of a suite, each run once, in the order of the file. Everything is checked before the first runs.

    Raises:
        UserError: an unknown name, a value out of range, or data that are missing or damaged.
    """
    root = str(Path(data_root).resolve()) if data_root else None  # a run may have another working directory
    given: dict[str, Any] = {"data_root": root, "allow_unverified": allow_unverified}
    units: dict[str, Unit] = {}
    for block in suite.runs:
        methods = names("methods") if block.methods == ["*"] else block.methods
        for ratio, profile in product(block.imbalance or (None,), block.profile or (None,)):
            values: dict[str, Any] = {
                "imbalance": None if ratio is None else exact(ratio), "profile": profile, "recipe": block.recipe,
                "epochs": None if block.epochs is None else str(block.epochs), "augment": block.augment,
            }  # fmt: skip
            for dataset in block.datasets:
                plan = make_plan(methods, [dataset], seeds=block.seeds, settings=block.set, **values, **given)
                for run in plan:
                    units.setdefault(run.id, _unit(run, dataset, methods, block.set, values | given))
    return list(units.values())


def _unit(run: Run, dataset: str, methods: Sequence[str], settings: Sequence[str], values: dict[str, Any]) -> Unit:
    method = next((name for name in methods if name.endswith(".py") and _stem(name) == run.name), run.name)
    words = ["run", "--method", method, "--dataset", dataset, "--seed", str(run.seed)]
    for name, value in values.items():
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value not in (None, False):
            words += [f"--{name.replace('_', '-')}", str(value)]
    for text in _settings(run.name, settings, methods):
        words += ["--set", text]
    needs = run.method.needs(run.recipe.epochs)
    shares = bool(needs.prefix or needs.network or run.name == "erm")
    changes = ", ".join(f"{k}={v}" for k, v in sorted(run.changed.items()))
    return Unit(
        id=run.id,
        method=run.name,
        dataset=run.facts.name,
        recipe=run.recipe.name,
        label=f"{run.facts.label} {run.recipe.name} | {run.name}{f' ({changes})' if changes else ''} | seed {run.seed}",
        record=run.path(Path()),
        arguments=tuple(words),
        erm=erm_of(run).id if shares else None,
        prefix=run.recipe.epochs if needs.network else needs.prefix,
        shared=needs.prefix,
        epochs=sum(stage.epochs for stage in run.method.stages(run.recipe.epochs)),
        images=len(run.dataset.train),
    )


def _stem(path: str) -> str:
    return Path(path).stem.replace("_", "-")


def _settings(method: str, texts: Sequence[str], methods: Iterable[str]) -> list[str]:
    """Those NAME=VALUE texts that count for a method."""
    others = {_stem(name) for name in methods} - {method}
    return [text for text in texts if text.partition("=")[0].rpartition(".")[0] not in others]
