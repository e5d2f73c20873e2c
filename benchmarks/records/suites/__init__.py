"""Suite files: TOML descriptions of runs. The built-in suites are in this folder."""

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
    """All combinations of methods, datasets, ratios, profiles and seeds; the fields are the options of `bench run`.

    Attributes:
        methods: method names or paths of .py files; "*" for all methods, those of installed packages included.
        datasets: dataset names, such as "digits-lt" or "folder:PATH".
        imbalance: imbalance ratios; empty for each dataset's default.
        profile: imbalance profiles, exp or step; empty for each dataset's default.
        seeds: seeds as a string, such as "0..2" for 0, 1 and 2.
        recipe: recipe name or path of a .toml file; None for each dataset's default.
        epochs: number of epochs; None for the recipe's.
        augment: augmentation; None for the recipe's.
        set: settings "NAME=VALUE" for all methods, or "METHOD.NAME=VALUE" for one.
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
    """Contents of a suite file: blocks of runs. A run that occurs in two blocks is trained once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: Annotated[list[Block], Field(min_length=1)]


def suite_files() -> dict[str, Path]:
    """Paths of the built-in suites, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def read_suite(name: str) -> Suite:
    """Read a built-in suite by name, or a suite file by path.

    Raises:
        UserError: the suite does not exist or is invalid; the message names the file, and for a field also its line.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if path.is_fifo():  # reading it would block forever
        raise UserError(f"The suite {path} is a named pipe; write it to a file first.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        return Suite.model_validate(tomllib.loads(text))
    except OSError as error:
        if name.endswith(".toml"):
            raise UserError(f"Cannot read suite {path}: {(error.strerror or str(error)).lower()}.") from error
        raise unknown("suite", name, suite_files()) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is not a TOML file: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        surplus = f"unknown field; known: {_field_names(first)}"
        message = first["msg"].replace("Extra inputs are not permitted", surplus)
        raise UserError(f"{path}, line {_line(text, first['loc'])}: {field}: {message}.") from error


def _field_names(error: Any) -> str:
    return ", ".join(Block.model_fields if len(error["loc"]) > 1 else Suite.model_fields)


def _line(text: str, location: tuple[int | str, ...]) -> int:
    """Line number of a field in a suite file; if the file lacks the field, that of its block, or 1.

    Args:
        text: content of the file.
        location: keys and indices that lead to the field, as in a pydantic error.
    """
    lines = text.splitlines()
    block = next((part for part in location if isinstance(part, int)), 0)
    heads = [k for k, line in enumerate(lines) if re.match(r"\s*\[\[\s*runs\s*\]\]", line)]
    start = heads[block] if block < len(heads) else 0
    stop = heads[block + 1] if block + 1 < len(heads) else len(lines)
    keys = [part for part in location if isinstance(part, str) and part != "runs"]
    pattern = re.compile(rf"\s*\[*\s*[\"']?{re.escape(keys[0])}[\"']?\s*[=\]]") if keys else None
    candidates = range(start if len(location) > 1 else 0, stop)
    return next((k for k in candidates if pattern and pattern.match(lines[k])), start) + 1
