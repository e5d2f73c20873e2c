"""Record files: paths, writing and reading."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ... import __version__
from ..errors import RunFailed, UserError
from ..utils.atomic_write import write_atomically
from .schema import OLDEST, VERSION, Record, RunFacts

MIGRATED = 1  # schema version that `migrate` converts
WAY_OUT = "Move it away and run its command again to recreate it."
CIRCUMSTANCES = {"version", "cost", "environment", "trained", "inactive"}  # may differ between records of one id


def record_path(results: Path, facts: RunFacts) -> Path:
    """Path of a record, `results/<dataset>/<recipe>/<method>/<variant>-seed<k>.json`.

    The variant lists the settings that differ from the defaults and ends in 8 digits of the setting's hash.
    """
    words = "_".join(f"{k}={v}" for k, v in sorted(facts.changed.items())) or "default"
    variant = f"{_slug(words)[:60]}-{facts.setting_id[:8]}"
    folder = results / _slug(facts.dataset.label) / _slug(str(facts.recipe["name"])) / _slug(facts.method)
    return folder / f"{variant}-seed{facts.seed}.json"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9=._-]+", "-", text).strip("-.")


def write_record(record: Record, path: Path) -> None:
    """Write a record atomically.

    Raises:
        UserError: the folder is not writable or the disk is full.
    """
    write_atomically(path, record.to_json())


class NewerRecord(RunFailed):
    """Error for a record that was written by a newer version of ltbench."""


@dataclass(frozen=True)
class Folder:
    """Result of reading all record files below a folder.

    Attributes:
        records: usable records, by path.
        problems: one message for each unusable file, unreadable folder or group of contradictory records.
        newer: one message for each record that was written by a newer version of ltbench.
    """

    records: dict[Path, Record]
    problems: list[str]
    newer: list[str]


def read_record(path: Path) -> Record:
    """Read and validate one record.

    Raises:
        NewerRecord: the record was written by a newer version of ltbench.
        RunFailed: the file cannot be read, is not JSON or is not a valid record; the message names file and field.
    """
    try:
        if path.exists() and not path.is_file():  # reading a named pipe would block forever
            raise RunFailed(f"{path} is not a regular file and cannot be read as a record.")
        content = path.read_bytes()
    except OSError as error:
        raise RunFailed(f"Cannot read {path}: {(error.strerror or str(error)).lower()}.") from error
    try:
        return Record.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise _refused(path, content, error) from error


def _refused(path: Path, content: bytes, error: ValidationError) -> RunFailed:
    """Error for a file that is not a valid record of this version: damaged, invalid or of another version."""
    first = error.errors()[0]
    message = _clipped(first["msg"].removeprefix("Value error, "))
    if first["type"] == "json_invalid":
        return RunFailed(f"{path} is damaged: not JSON ({message.removeprefix('Invalid JSON: ')}). {WAY_OUT}")
    values = json.loads(content)
    version = values.get("schema") if isinstance(values, dict) else None
    if type(version) is int and not OLDEST <= version <= VERSION:
        return _other_version(path, version)
    if type(version) is int and _newer_program(values):
        return NewerRecord(f"{path} is left out: it was written by a newer ltbench. Update ltbench to read it.")
    field = _clipped(".".join(str(part) for part in first["loc"])) or "record"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return RunFailed(f"{path} is not a valid record: {field}: {message}{more}. {WAY_OUT}")


def _clipped(text: str) -> str:
    """The text on a single line, shortened to 300 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:300]}…"


def _other_version(path: Path, version: int) -> RunFailed:
    if version > VERSION:
        return NewerRecord(
            f"{path} is left out: it was written by a newer ltbench (schema {version}; this version of ltbench reads "
            f"schema {OLDEST} to {VERSION}). Update ltbench to read it."
        )
    if version == MIGRATED:
        return RunFailed(
            f"{path} was written by an earlier version of ltbench (schema {version}). Migrate its folder with "
            "'python -m ltbench.benchmarks.records.migrate RESULTS RUNS'."
        )
    return RunFailed(f"{path} has schema {version}; this version of ltbench reads schema {OLDEST} to {VERSION}.")


def _newer_program(values: dict[str, Any]) -> bool:
    """Whether the environment of a record names a newer version of ltbench than this one."""
    environment = values.get("environment")
    version = environment.get("ltbench") if isinstance(environment, dict) else None
    return isinstance(version, str) and _numbers(version) > _numbers(__version__)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d{1,9}", version)[:3]]


def find_records(results: Path) -> list[Path]:
    """Sorted paths of all record files below a folder; hidden files, which are temporary, are ignored."""
    return _find(results)[0]


def _find(results: Path) -> tuple[list[Path], list[str]]:
    """Sorted paths of all record files below a folder, and one message for each folder that cannot be read."""
    problems: list[str] = []

    def note(error: OSError) -> None:
        problems.append(f"Cannot read {error.filename}: {(error.strerror or str(error)).lower()}.")

    paths = [
        Path(folder, name)
        for folder, _, names in os.walk(results, onerror=note)
        for name in names
        if name.endswith(".json") and not name.startswith(".")
    ]
    return sorted(paths), problems


def read_folder(results: Path) -> Folder:
    """Read all records below a folder; records that contradict one another are all left out."""
    records: dict[Path, Record] = {}
    paths, problems = _find(results)
    newer: list[str] = []
    for path in paths:
        try:
            records[path] = read_record(path)
        except NewerRecord as error:
            newer.append(str(error))
        except UserError as error:
            problems.append(str(error))
    return Folder(records, problems + _take_contradictions(records), newer)


def _take_contradictions(records: dict[Path, Record]) -> list[str]:
    """Remove records that have the same id but different contents; return one message for each id."""
    by_id: dict[str, list[Path]] = defaultdict(list)
    for path, record in records.items():
        by_id[record.id].append(path)
    problems = []
    for name, paths in ((name, paths) for name, paths in by_id.items() if len(paths) > 1):
        contents = [records[path].model_dump(exclude=CIRCUMSTANCES) for path in paths]
        differing = [part for part in contents[0] if any(each[part] != contents[0][part] for each in contents)]
        if differing:
            problems.append(
                f"{' and '.join(map(str, paths))} contradict one another: they have the same id {name}, but differ in "
                f"{', '.join(differing)}. None of them is used; move away all but the correct one."
            )
            for path in paths:
                del records[path]
    return problems


def read_all(results: Path) -> tuple[list[Record], list[str]]:
    """All usable records below a folder, and one message for each problem; see `Folder`."""
    folder = read_folder(results)
    return list(folder.records.values()), folder.problems + folder.newer


def misplaced(folder: Folder) -> list[str]:
    """One message for each valid record at another path than its run uses, such as a copy or a renamed file."""
    problems = []
    for path, record in folder.records.items():
        home = record_path(Path(), record.facts)
        if path.parts[-len(home.parts) :] != home.parts:
            problems.append(f"{path} is misplaced: its run expects it at {home} below the results folder.")
    return problems
