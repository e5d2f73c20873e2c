"""`bench clean` deletes old temporary files and snapshots that no missing run needs, and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from helpers.command import Answer

Cli = Callable[..., Answer]
SUITE = """
[[runs]]
methods = ["drw"]
datasets = ["digits-lt"]
imbalance = [5]
epochs = 5
set = ["dataset.n_max=20"]
"""
RUN = (
    "run",
    "-m",
    "drw",
    "-d",
    "digits-lt",
    "--epochs",
    "5",
    "--imbalance",
    "5",
    "--set",
    "dataset.n_max=20",
    "--quiet",
)


def aged(path: Path, hours: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - 3600 * hours,) * 2)
    return path


def test_old_temporary_files_are_listed_then_deleted(cli: Cli) -> None:
    old = aged(Path("runs/abc/.checkpoint-a.pt.x1.tmp"), 2), aged(Path("results/d/r/m/.x.json.y2.tmp"), 30)
    kept = (
        aged(Path("runs/abc/.log.txt.z3.tmp"), 0.1),
        aged(Path("runs/abc/checkpoint-a.pt"), 90),
        aged(Path("a.tmp"), 9),
    )
    listed = cli("clean")
    assert all(str(path) in listed.out for path in old)
    assert "2 files, 0.0 MB. Nothing was deleted; add --yes to delete them." in listed.out
    assert all(path.exists() for path in (*old, *kept))
    assert "Deleted 2 files" in cli("clean", "--yes").out
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in kept)
    assert "0 files, 0.0 MB. Nothing was deleted." in cli("clean").out


def test_snapshots_go_when_their_suite_is_finished(cli: Cli) -> None:
    Path("mine.toml").write_text(SUITE)
    assert cli(*RUN).code == 0
    (snapshot,) = Path("runs").glob("*/epoch-*.pt")
    record = next(Path("results").rglob("*.json"))
    record.rename("away")
    assert "mine.toml has 1 missing run; its snapshots and features are kept." in cli("clean", "mine.toml", "--yes").out
    assert snapshot.exists()
    Path("away").rename(record)
    with FileLock(snapshot.parent / "run.lock"):
        assert "0 files" in cli("clean", "mine.toml", "--yes").out
    assert "Deleted 1 file," in cli("clean", "mine.toml", "--yes").out
    assert not snapshot.exists()
    assert list(Path("runs").glob("*/network.pt")), "the finished network is kept"
    assert "already finished" in cli(*RUN).err
