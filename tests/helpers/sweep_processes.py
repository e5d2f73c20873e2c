"""Small sweeps in separate processes, and fake units of a sweep."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ltbench.benchmarks.records.store import find_records, read_record
from ltbench.benchmarks.records.suites import read_suite
from ltbench.benchmarks.sweeps.request import SweepRequest
from ltbench.benchmarks.sweeps.status import LOG
from ltbench.benchmarks.sweeps.units import SharedSnapshot, Unit, make_units
from ltbench.benchmarks.sweeps.workers import cpu_slots

from helpers.tiny import without_timings

SWEEP = [sys.executable, "-m", "ltbench.bench", "sweep", "suite.toml"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"}
SUITE = """
[[runs]]
methods = ["erm", "drs", "focal"]
datasets = ["digits-lt"]
imbalance = [5]
epochs = {epochs}
seeds = "0"
set = ["dataset.n_max=60"{more}]
"""


def write_suite(folder: Path, epochs: int = 40, more: str = "") -> list[Unit]:
    """Write a `suite.toml` with three runs on a few digits to a folder, and return its units."""
    path = folder / "suite.toml"
    path.write_text(SUITE.format(epochs=epochs, more=more))
    return make_units(read_suite(str(path)))


def start_sweep(folder: Path, *options: str, **settings: Any) -> subprocess.Popen[str]:
    """Start `bench sweep suite.toml` in a folder, with two jobs unless the options set another number.

    `settings` are passed to Popen.
    """
    jobs = () if "--jobs" in options else ("--jobs", "2")
    process: subprocess.Popen[str] = subprocess.Popen(
        [*SWEEP, *jobs, *options], cwd=folder, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, **settings,
    )  # fmt: skip
    return process


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen[str] | None = None, seconds: float = 60
) -> None:
    """Wait until a condition holds while a process is running.

    Raises:
        AssertionError: the process has ended, or the time limit has passed.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"condition not met within {seconds} s"
        time.sleep(0.02)


def workers(folder: Path) -> list[int]:
    """Process ids of the runs that have their logs open in a folder; each run leads its own session."""
    pids = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and os.getsid(int(entry.name)) == int(entry.name):
                files = [str(fd.readlink()) for fd in (entry / "fd").iterdir()]
                if any(file.startswith(str(folder)) and file.endswith(LOG) for file in files):
                    pids.append(int(entry.name))
        except OSError:
            continue  # the process has ended
    return pids


def records(folder: Path) -> dict[str, dict[str, object]]:
    """Records in the `results` of a folder by file name, without fields that differ between identical runs."""
    return {path.name: without_timings(read_record(path)) for path in find_records(folder / "results")}


def fake_snapshot(run_id: str = "e", epochs: int = 8, own: bool = True) -> SharedSnapshot:
    return SharedSnapshot(run_id, "erm", epochs, own, Path(run_id, f"epoch-{epochs:05d}.pt"))


def fake_unit(key: str, *shared: SharedSnapshot, method: str = "drs") -> Unit:
    """A unit that cannot be run; `key` is both its id and its label."""
    return Unit(key, method, "digits-lt", "digits", key, Path(f"{key}.json"), (), shared, epochs=10, images=30)


def request(folder: Path, **changes: Any) -> SweepRequest:
    """A sweep request with one CPU slot and a command that trains nothing."""
    options = {"slots": cpu_slots(1), "command": print} | changes
    return SweepRequest(folder / "results", folder / "runs", **options)
