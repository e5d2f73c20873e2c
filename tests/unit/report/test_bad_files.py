"""Bad files in the results folder: every command names them, leaves them out and continues with valid records."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import ltbench.bench
import pytest
from helpers.command import Answer
from ltbench.benchmarks.records.store import read_all

DIGITS = Path(ltbench.bench.__file__).parent / "results" / "digits-lt-exp50" / "digits"
BAD = {
    "empty": b"",
    "half": b'{"schema": 3, "id"',
    "digits": b'{"schema": 2, "seed": ' + b"9" * 6000 + b"}",
    "nested": b"[" * 100_000,
    "beyond": b'{"schema": 2, "cost": {"seconds": 1e999}}',
    "unicode": b'{"method": "\\ud800"}',
    "bytes": b"\xff\xfe\x00{",
    "list": b"[1]",
    "number": b"7",
    "wide": "{}".encode("utf-16"),
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results folder with valid records of two methods, bad files, a folder, a named pipe and a broken link."""
    for method in ("erm", "drw"):
        for path in DIGITS.glob(f"{method}/default*seed[01].json"):
            home = tmp_path / "results" / "digits-lt-exp50" / "digits" / method / path.name
            home.parent.mkdir(parents=True, exist_ok=True)
            home.write_bytes(path.read_bytes())
    for name, content in BAD.items():
        (tmp_path / "results" / f"{name}.json").write_bytes(content)
    (tmp_path / "results" / "folder.json").mkdir()
    os.mkfifo(tmp_path / "results" / "pipe.json")
    (tmp_path / "results" / "gone.json").symlink_to("nowhere")
    return tmp_path / "results"


NAMES = [*BAD, "pipe", "gone"]


def test_each_bad_file_is_named_once(results: Path) -> None:
    records, problems = read_all(results)
    assert len(records) == 4
    assert sorted(name for name in NAMES for problem in problems if f"/{name}.json" in problem) == sorted(NAMES)
    assert len(problems) == len(NAMES)
    assert all(len(problem) < 1000 and len(problem.splitlines()) == 1 for problem in problems)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("report", "--figures", "none"), 0),
        (("compare", "drw", "erm"), 0),
        (("compare", "bf16", "fp32", "--across", "precision"), 2),
        (("show", "fceb589b"), 0),
        (("check-records", "results"), 2),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_commands_name_bad_files_and_go_on(
    words: tuple[str, ...], code: int, results: Path, cli: Callable[..., Answer]
) -> None:
    answer = cli(*words)
    assert answer.code == code
    if "--across" in words:
        assert "no two runs with the same seed that differ only in recipe.precision" in answer.err, "valid records only"
        return
    for name in NAMES:
        assert answer.err.count(f"results/{name}.json") == 1, name


@pytest.mark.parametrize(
    "words", [("sweep", "mine.toml", "--dry-run"), ("status", "mine.toml")], ids=["sweep", "status"]
)
def test_sweeps_count_the_good_ones(words: tuple[str, ...], results: Path, cli: Callable[..., Answer]) -> None:
    Path("mine.toml").write_text(
        '[[runs]]\nmethods = ["erm", "drw"]\ndatasets = ["digits-lt"]\nimbalance = [50]\nseeds = "0..2"\n'
    )
    (bad,) = results.glob("*/*/drw/*seed1.json")
    bad.write_bytes(BAD["digits"])
    answer = cli(*words)
    assert answer.code == 0
    counted = answer.out.replace(",", "").split()
    if words[0] == "sweep":
        assert "3 done 0 running 1 failed 2 missing" in " ".join(counted)
        assert "about" in answer.out, "estimated from the valid records"
        assert all(f"results/{name}.json" in answer.out for name in NAMES)
    else:
        assert "in all 3 0 1 2" in " ".join(counted)
        assert f"{bad.relative_to(results.parent)} is damaged" in " ".join(answer.out.split()).replace("- ", "-")
    assert json.loads((results / "number.json").read_text()) == 7, "bad files are not changed"
