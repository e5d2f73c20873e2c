"""Runs that are killed, run out of disk space or share a results folder lose nothing; the same command resumes them."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.tiny import without_timings
from ltbench.benchmarks.records.schema import Record
from ltbench.benchmarks.records.store import find_records, read_record
from ltbench.benchmarks.sweeps.runner import run_missing
from ltbench.benchmarks.training.callbacks import Callback
from ltbench.benchmarks.training.plan import RunRequest, make_plan

CHECKPOINT_EACH_EPOCH = (
    "from ltbench.benchmarks.sweeps import runner; runner.INTERVAL = 0; from ltbench.bench import main; main()"
)
RUN = [sys.executable, "-c", CHECKPOINT_EACH_EPOCH, "run", "--dataset", "digits-lt", "--imbalance", "10"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def start(folder: Path, *options: str, **settings: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [*RUN, *options],
        cwd=folder,
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **settings,
    )


def wait_for(sign: str, folder: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        if list(folder.rglob(sign)) or process.poll() is not None:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {sign} within 30 s")


def in_this_process(folder: Path, epochs: int) -> Record:
    """Start or resume the run of `start(folder, "--method", "drs", "--epochs", ...)` here; return its record."""
    (run,) = make_plan(["drs"], ["digits-lt"], RunRequest(imbalance="10", epochs=str(epochs)))
    (record,), _ = run_missing([run], torch.device("cpu"), folder / "results", folder / "runs", Callback())
    return record


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Record of an uninterrupted run."""
    return in_this_process(tmp_path_factory.mktemp("whole"), 50)


CTRL_C = pytest.param(signal.SIGINT, id="ctrl-c", marks=pytest.mark.slow)


@pytest.mark.parametrize("how", [pytest.param(signal.SIGKILL, id="kill"), CTRL_C])
def test_a_killed_run_resumes_to_the_same_record(tmp_path: Path, how: signal.Signals, whole: Record) -> None:
    process = start(tmp_path, "--method", "drs", "--epochs", "50")
    wait_for("checkpoint-b.pt", tmp_path, process)
    process.send_signal(how)
    _, err = process.communicate()
    assert process.returncode == (-how if how == signal.SIGKILL else 130)
    assert how == signal.SIGKILL or "Run the same command again to continue" in err
    assert not find_records(tmp_path / "results"), "the run must be killed before it ends"
    resumed = in_this_process(tmp_path, 50)
    assert without_timings(resumed) == without_timings(whole)
    assert (resumed.cost.resumed, whole.cost.resumed) == (1, 0)


@pytest.mark.slow
def test_two_processes_share_one_results_folder(tmp_path: Path) -> None:
    """The same command, started twice at once, trains each run once."""
    options = ("--method", "erm,drs,drw", "--epochs", "30")
    both = [start(tmp_path, *options) for _ in range(2)]
    answers = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    paths = find_records(tmp_path / "results")
    assert len(paths) == 3
    assert all(read_record(path).cost.resumed == 0 for path in paths)
    trained = [err.count("epochs in") for _, err in answers]
    assert sum(trained) == 3, f"every run was trained once, not twice: {trained}"


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def test_a_full_disk_is_one_sentence_and_the_run_resumes(tmp_path: Path) -> None:
    process = start(tmp_path, "--method", "drs", "--epochs", "5", preexec_fn=small_files)
    _, err = process.communicate()
    assert process.returncode == 2, err
    assert "Cannot write" in err
    assert "Traceback" not in err
    assert not find_records(tmp_path / "results")
    assert not list(tmp_path.rglob("*.tmp"))
    in_this_process(tmp_path, 5)
    assert len(find_records(tmp_path / "results")) == 1
