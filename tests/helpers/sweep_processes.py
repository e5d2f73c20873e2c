"""Small sweeps as processes of their own, and units that stand for runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ltbench.benchmarks.records.store import find_records, read_record
from ltbench.benchmarks.records.suites import read_suite
from ltbench.benchmarks.sweeps.queue import LOG
from ltbench.benchmarks.sweeps.units import Unit, make_units

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


def write(folder: Path, epochs: int = 40, more: str = "") -> list[Unit]:
    path = folder / "suite.toml"
    path.write_text(SUITE.format(epochs=epochs, more=more))
    return make_units(read_suite(str(path)))


def start(folder: Path, *options: str, **settings: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [*SWEEP, "--jobs", "2", *options], cwd=folder, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, **settings,
    )  # fmt: skip


def until(found: Callable[[], object], process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Wait for something to be there, while the sweep runs."""
    end = time.monotonic() + seconds
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def workers(folder: Path) -> list[int]:
    """Process ids of the runs that are at work on checkpoints below a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and os.getsid(int(entry.name)) == int(entry.name):
                files = {str(fd.readlink()) for fd in (entry / "fd").iterdir()}
                found += [int(entry.name)] * any(f.startswith(str(folder)) and f.endswith(LOG) for f in files)
        except OSError:
            continue  # it has ended
    return found


def records(folder: Path) -> dict[str, dict[str, object]]:
    return {path.name: without_timings(read_record(path)) for path in find_records(folder / "results")}


def fake(key: str, method: str = "drs", erm: str | None = "e", prefix: int = 8) -> Unit:
    return Unit(key, method, "digits-lt", "digits", key, Path(f"{key}.json"), (), erm, prefix, prefix, 10, 30)
