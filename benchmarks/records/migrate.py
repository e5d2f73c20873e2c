"""Migrate records from schema 1 to schema 2: `python -m ltbench.benchmarks.records.migrate RESULTS [RUNS]`.

Schema 2 combines all changes that alter ids:

- A recipe's warm-up is now a number of epochs instead of a fraction; conversion keeps its meaning.
- The field `criterion` of rsg and m2m is now `base`, the name of a method, with its field values in `base_values`.
- `attack` of m2m and blt now names a precision. In schema 1, "bf16" meant whichever precision was timed to be faster
  on the machine, so the precision used is unknown and the record is invalid.
- m2m takes its source network from the run of another seed (`source`).
- The recipe cifar-short now has the five warm-up epochs of cifar; its old records are invalid.

A valid record is written under its new id and path, its folder in RUNS is renamed, and the old file is removed. Invalid
records are moved to the folder `RESULTS-schema-1`. `schema_2_ids.csv` next to this file lists the records that come
with the suite.
"""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..recipe import load_recipe, recipe_names
from ..utils.atomic_write import write_atomically
from .schema import DatasetFacts, Record, RunFacts
from .store import find_records, record_path

TABLE = Path(__file__).with_name("schema_2_ids.csv")
_WEIGHTS = {"weighting": "effective", "beta": 0.9999}
_MARGIN = _WEIGHTS | {"defer": 0.8, "scale": 30.0}
BASES: dict[str, dict[str, Any]] = {  # `criterion` in schema 1 -> field values of the base in schema 2
    "erm": {}, "cb-rw": _WEIGHTS, "drw": _WEIGHTS | {"defer": 0.8}, "focal": {"gamma": 1.0},
    "cb-focal": _WEIGHTS | {"gamma": 1.0, "inside": False}, "m-drw": _MARGIN | {"margin": 0.35},
    "ldam-drw": _MARGIN | {"max_margin": 0.5},
}  # fmt: skip
COLUMNS = ("old id", "new id", "old path", "new path, or why the record is invalid")


def migrate(results: Path, runs: Path | None = None) -> list[tuple[str, str, str, str]]:
    """Migrate all records of schema 1 below a folder.

    Args:
        results: folder of the records.
        runs: folder that contains one folder per run, named by id; None to rename no folders.

    Returns:
        One row per record of schema 1, with the columns `COLUMNS`.

    Raises:
        UserError: a folder is missing, or a record of schema 1 is damaged. Nothing has been changed in this case.
    """
    for folder in (results, runs):
        if folder and not folder.is_dir():
            raise UserError(f"There is no folder {folder}.")
    results = results.resolve()
    old = {path: values for path in find_records(results) if (values := _read(path)).get("schema") == 1}
    for path, values in old.items():
        if id_of(values) != values["id"]:
            raise UserError(f"{path} was modified after the run: its id does not match its contents.")
    rows = []
    for path, values in old.items():
        reason = invalid(values)
        if reason:
            aside = results.with_name(f"{results.name}-schema-1") / path.relative_to(results)
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.rename(aside)
            rows.append((values["id"], "", str(path.relative_to(results)), f"invalid: {reason}"))
        else:
            new = converted(values)
            record = Record.model_validate(new)
            home = record_path(results, record.facts)
            write_atomically(home, json.dumps(new, sort_keys=True, indent=1, allow_nan=False) + "\n")
            if home != path:
                path.unlink()
            if runs and (runs / values["id"]).is_dir():
                (runs / values["id"]).rename(runs / record.id)
            rows.append((values["id"], record.id, str(path.relative_to(results)), str(home.relative_to(results))))
    _remove_empty({path.parent for path in old}, results)
    return rows


def _remove_empty(folders: set[Path], results: Path) -> None:
    for folder in sorted(folders, reverse=True):
        while folder != results and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent


def invalid(values: dict[str, Any]) -> str:
    """Reason why a record of schema 1 is no longer valid; empty if it is valid."""
    if values["recipe"]["name"] == "cifar-short":
        return "the warm-up of cifar-short was one epoch"
    if values["hyperparameters"].get("attack") == "bf16":
        return "the arithmetic of the attack is not known"
    return ""


def converted(values: dict[str, Any]) -> dict[str, Any]:
    """Convert a record from schema 1 to schema 2."""
    new = copy.deepcopy(values)
    new["schema"] = 2
    if values["method"] in ("rsg", "m2m"):
        _set_base(new["hyperparameters"], new["changed"], values["method"])
    if "attack" in new["hyperparameters"]:
        new["changed"].pop("attack", None)  # fp32 has become the default
    new["recipe"] = _converted_recipe(values["recipe"])
    new["changed"] |= _changed_warmup(new["recipe"], new["changed"])
    if new["changed"].get("recipe.warmup", 0) is None:
        del new["changed"]["recipe.warmup"]
    for prerequisite in new["cost"].get("prerequisites", []):
        if prerequisite["id"] == id_of(_erm(values)):
            prerequisite["id"] = id_of(_erm(new))
    new["id"] = id_of(new)
    return new


def _set_base(fields: dict[str, Any], changed: dict[str, Any], method: str) -> None:
    """Replace `criterion` with `base` and `base_values`. m2m used its own `start` as the deferral of its loss."""
    name = fields.pop("criterion")
    fields["base"] = "ldam-drw" if name == "ldam" else name
    fields["base_values"] = dict(BASES[fields["base"]])
    if changed.pop("criterion", None):
        changed["base"] = fields["base"]
    if method == "m2m":
        fields["source"] = changed["source"] = "own_seed"
        if "defer" in fields["base_values"]:
            fields["base_values"]["defer"] = 1.0 if name == "ldam" else fields["start"]
        if name == "ldam":
            changed["base.defer"] = 1.0


def _converted_recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    return recipe | {"warmup": round(recipe.get("warmup", 0) * recipe["epochs"])}


def _changed_warmup(recipe: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """Entry for the warm-up in `changed`; its value is None, or it is missing, if the warm-up is the default."""
    if recipe["name"] in recipe_names():
        own = load_recipe(recipe["name"])[0].warmup
        return {"recipe.warmup": recipe["warmup"] if recipe["warmup"] != own else None}
    return {"recipe.warmup": recipe["warmup"]} if "recipe.warmup" in changed else {}


def _erm(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"method": "erm", "source": None, "hyperparameters": {}}


def id_of(values: dict[str, Any]) -> str:
    """The id that a record of schema 2 with these values has."""
    parts = {field.name: values[field.name] for field in dataclasses.fields(RunFacts)}
    return RunFacts(**parts | {"dataset": DatasetFacts.model_validate(values["dataset"])}).id


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        raise UserError(f"Cannot read {path} ({error}). Nothing was changed.") from error
    return values if isinstance(values, dict) else {}


def main() -> None:
    """Migrate the folders named on the command line and print the outcome for each record as CSV."""
    if not 2 <= len(sys.argv) <= 3:
        sys.exit("Usage: python -m ltbench.benchmarks.records.migrate RESULTS [RUNS]")
    try:
        rows = migrate(*map(Path, sys.argv[1:]))
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(COLUMNS)
    out.writerows(rows)


if __name__ == "__main__":
    main()
