"""Record files: paths, writing and reading."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pydantic import ValidationError

from ..errors import UserError
from ..utils.atomic_write import write_atomically
from .schema import VERSION, Record, RunFacts


def record_path(results: Path, facts: RunFacts) -> Path:
    """Path `results/<dataset>/<recipe>/<method>/<variant>-seed<k>.json`; the variant lists non-default settings."""
    words = "_".join(f"{k}={v}" for k, v in sorted(facts.changed.items())) or "default"
    variant = f"{_slug(words)[:60]}-{facts.setting_id[:8]}"
    folder = results / _slug(facts.dataset.label) / _slug(str(facts.recipe["name"])) / _slug(facts.method)
    return folder / f"{variant}-seed{facts.seed}.json"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9=._-]+", "-", text).strip("-.")


def write_record(record: Record, path: Path) -> None:
    """Write a record atomically."""
    write_atomically(path, record.to_json())


def read_record(path: Path) -> Record:
    """Read and validate one record.

    Raises:
        UserError: the file cannot be read, is not JSON, or is not a valid record; the message names file and field.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(values, dict) and values.get("schema", VERSION) != VERSION:
            raise UserError(_other_version(path, values["schema"]))
        return Record.model_validate(values)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {(error.strerror or str(error)).lower()}.") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is damaged: not JSON ({error}). Remove it and run its command again.") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "record"
        message = first["msg"].removeprefix("Value error, ")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise UserError(
            f"{path} is not a valid record: {field}: {message}{more}. Remove it and run its command again."
        ) from error


def _other_version(path: Path, version: object) -> str:
    if version == VERSION - 1:
        return (
            f"{path} was written by an earlier version (schema {version}). Migrate its folder with "
            "'python -m ltbench.benchmarks.records.migrate RESULTS RUNS'."
        )
    return f"{path} has schema {version}; this version of ltbench reads schema {VERSION}."


def find_records(results: Path) -> list[Path]:
    """Paths of all record files below a folder, sorted. Hidden (temporary) files are skipped."""
    return sorted(path for path in results.rglob("*.json") if not path.name.startswith("."))


def read_all(results: Path) -> tuple[list[Record], list[str]]:
    """All valid records below a folder, and one message for each invalid file."""
    records, problems = [], []
    for path in find_records(results):
        try:
            records.append(read_record(path))
        except UserError as error:
            problems.append(str(error))
    return records, problems


def misplaced(results: Path) -> list[str]:
    """One message for each valid record that its run would not find, such as a copied or renamed file."""
    problems = []
    for path in find_records(results):
        try:
            home = record_path(Path(), read_record(path).facts)
        except UserError:
            continue  # `read_all` reports it
        if path.parts[-len(home.parts) :] != home.parts:
            problems.append(f"{path} is misplaced: its run expects it at {home} below the results folder.")
    return problems
