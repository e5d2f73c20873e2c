"""A valid record, damaged in hundreds of ways, is read exactly as the file states it or rejected in one sentence."""

from __future__ import annotations

import copy
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ltbench.bench
import pytest
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.recipe import Recipe
from ltbench.benchmarks.records.store import read_record
from ltbench.report.show import show
from rich.console import Console

RESULTS = Path(ltbench.bench.__file__).parent / "results"
RAW = "raw-text-instead-of-this-string"
VALUES = [
    None,
    True,
    False,
    0,
    1,
    -1,
    3,
    2.0,
    0.5,
    -0.5,
    1e300,
    2**53,
    2**100,
    "",
    "1",
    "é\n\x1b[31m",
    [],
    {},
    [[]],
    {"a": 1},
]
TEXTS = ["NaN", "-Infinity", "1e999", "9" * 5000, '"\\ud800"', "[" * 3000 + "]" * 3000, '{"a":' * 150 + "1" + "}" * 150]
NUMBERS = ("id", "method", "source", "seed", "hyperparameters", "final")  # fields that tables show


def sound(version: int) -> dict[str, Any]:
    """Contents of a valid, committed record of DRW with a changed recipe, in schema version 2 or 3."""
    path = next(RESULTS.glob("digits-lt-exp50/*/drw/recipe.precision*seed0.json"))
    values: dict[str, Any] = json.loads(path.read_text())
    if version == 3:
        environment = values["environment"]
        parts = [
            {"epochs": 100, "environment": environment},
            {"epochs": 20, "environment": environment | {"threads": 2}},
        ]
        values |= {"schema": 3, "trained": parts}
    return values


def nodes(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all members of a JSON value; only the first and the last item of each list."""
    keys = value if isinstance(value, dict) else {0, len(value) - 1} if isinstance(value, list) and value else ()
    for key in keys:
        yield (*at, key)
        yield from nodes(value[key], (*at, key))


def damaged(values: dict[str, Any], random_: random.Random) -> str:
    """JSON text of a record in which one member is removed, added, duplicated or replaced."""
    values = copy.deepcopy(values)
    *folder, key = random_.choice(list(nodes(values)))
    part = values
    for each in folder:
        part = part[each]
    kind, text = random_.choice(["remove", "add", "double", "replace", "replace", "replace", "text"]), "0"
    if kind == "remove":
        del part[key]
    elif kind == "add" and isinstance(part, dict):
        part[f"{key}_"] = part[key]
    elif kind == "double" and isinstance(part, list):
        part.insert(key, part[key])
    elif kind == "replace":
        part[key] = random_.choice(VALUES)
    else:
        part[key], text = RAW, random_.choice(TEXTS)
    return json.dumps(values).replace(f'"{RAW}"', text)


def bytes_damaged(content: bytes, random_: random.Random) -> bytes:
    """Copy of `content` that is truncated, has one byte changed or inserted, or begins with a byte-order mark."""
    at = random_.randrange(len(content))
    byte = bytes([random_.randrange(256)])
    return random_.choice(
        [
            content[:at] + byte + content[at + 1 :],
            content[:at],
            b"\xef\xbb\xbf" + content,
            content[:at] + byte + content[at:],
        ]
    )


def check(content: bytes, path: Path, original: dict[str, Any]) -> bool:
    """Whether a file is accepted as a record.

    If it is, check that it is read as written and that the fields that tables show have the original's values. If not,
    check that the error is one short sentence that names the file.
    """
    path.write_bytes(content)
    try:
        record = read_record(path)
    except UserError as error:
        text = str(error)
        assert text.startswith((str(path), f"Cannot read {path}"))
        assert len(text.splitlines()) == 1
        assert len(text) < len(str(path)) + 1000
        assert "remove" not in text.lower()
        assert "delete" not in text.lower()
        return False
    as_read = json.loads(record.to_json())
    assert as_read == json.loads(content)
    assert {name: as_read[name] for name in NUMBERS} == {name: original[name] for name in NUMBERS}
    assert Recipe(**as_read["recipe"]) == Recipe(**original["recipe"]), "a missing field has its default"
    assert as_read["changed"].items() <= original["changed"].items(), "`changed` has an invented entry"
    assert as_read["dataset"]["train_counts"] == original["dataset"]["train_counts"]
    Console(file=io.StringIO(), width=100).print(show(record))
    return True


@pytest.mark.parametrize("version", [2, 3])
def test_a_damaged_record_is_read_as_it_is_or_refused(version: int, tmp_path: Path) -> None:
    original, random_ = sound(version), random.Random(version)
    assert check(json.dumps(original).encode(), tmp_path / "sound.json", original)
    contents = [damaged(original, random_).encode() for _ in range(500)]
    whole = json.dumps(original).encode()
    contents += [bytes_damaged(whole, random_) for _ in range(200)]
    answers = [check(content, tmp_path / "record.json", original) for content in contents]
    assert 0.02 < sum(answers) / len(answers) < 0.5, (
        "most damage is noticed, except changes to a value that nothing else in the record determines"
    )
