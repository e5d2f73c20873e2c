"""Suite files: methods x datasets x ratios x seeds as TOML. The suites of ltbench lie beside this module."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import UserError, unknown

FOLDER = Path(__file__).parent
Names = Annotated[list[str], Field(min_length=1)]


class Block(BaseModel):
    """Runs that differ in method, dataset, ratio, profile and seed; the fields are the options of `bench run`.

    Attributes:
        methods: names, or paths of .py files; "*" for all methods of the suite and of installed packages.
        datasets: names.
        imbalance: ratios; none for each dataset's own.
        profile: exp, step or both; none for each dataset's own.
        seeds: such as "0..2".
        recipe: a name or a .toml file; else each dataset's own.
        epochs: instead of the recipe's.
        augment: instead of the recipe's.
        set: NAME=VALUE; METHOD.NAME counts for that method alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

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
    """Blocks of runs; a run that is in two blocks is carried out once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: Annotated[list[Block], Field(min_length=1)]


def suite_files() -> dict[str, Path]:
    """Suites that come with ltbench: name to file."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def read_suite(name: str) -> Suite:
    """A suite by name or file.

    Raises:
        UserError: it does not exist or is not valid; the message names file, line and field.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if path.is_fifo():  # reading it would wait for ever
        raise UserError(f"The suite {path} is a named pipe; write it to a file first.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        return Suite.model_validate(tomllib.loads(text))
    except OSError as error:
        if name.endswith(".toml"):
            raise UserError(f"Cannot read the suite {path}: {(error.strerror or str(error)).lower()}.") from error
        raise unknown("suite", name, suite_files()) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is no TOML file: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        surplus = f"no suite has this; known: {_field_names(first)}"
        message = first["msg"].replace("Extra inputs are not permitted", surplus)
        raise UserError(f"{path}, line {_line(text, first['loc'])}: {field}: {message}.") from error


def _field_names(error: Any) -> str:
    return ", ".join(Block.model_fields if len(error["loc"]) > 1 else Suite.model_fields)


def _line(text: str, location: tuple[int | str, ...]) -> int:
    """Number of the line of a field, at its location in the parsed file; of its block, or 1, where it is missing."""
    lines = text.splitlines()
    block = next((part for part in location if isinstance(part, int)), 0)
    heads = [k for k, line in enumerate(lines) if re.match(r"\s*\[\[\s*runs\s*\]\]", line)]
    start = heads[block] if block < len(heads) else 0
    stop = heads[block + 1] if block + 1 < len(heads) else len(lines)
    keys = [part for part in location if isinstance(part, str) and part != "runs"]
    pattern = re.compile(rf"\s*\[*\s*[\"']?{re.escape(keys[0])}[\"']?\s*[=\]]") if keys else None
    candidates = range(start if len(location) > 1 else 0, stop)
    return next((k for k in candidates if pattern and pattern.match(lines[k])), start) + 1
