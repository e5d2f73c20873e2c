"""Sweeps that are killed, interrupted, started twice or run out of disk space end with the right records.

After the command is run again where needed, the records equal those of an undisturbed sweep. Methods that fail do not
stop the others.
"""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest
import torch
from helpers.sweep_processes import SUITE, records, start_sweep, wait_until, workers, write_suite
from ltbench.benchmarks.records.store import find_records
from ltbench.benchmarks.records.suites import read_suite
from ltbench.benchmarks.sweeps.runner import run_missing
from ltbench.benchmarks.sweeps.status import states
from ltbench.benchmarks.sweeps.units import Unit, make_units
from ltbench.benchmarks.training.callbacks import Callback
from ltbench.benchmarks.training.plan import RunRequest, make_plan


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Records of the suite's runs, trained one after another in this process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_suite(folder)
    (block,) = read_suite(str(folder / "suite.toml")).runs
    request = RunRequest(seeds=block.seeds, imbalance="5", epochs=str(block.epochs), settings=block.set)
    plan = make_plan(block.methods, block.datasets, request)
    run_missing(plan, torch.device("cpu"), folder / "results", folder / "runs", Callback(), lambda text: None)
    return records(folder)


def finish(folder: Path, undisturbed: dict[str, dict[str, object]]) -> None:
    """Run the same command again; check that it succeeds with the records of the undisturbed sweep."""
    process = start_sweep(folder)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert records(folder) == undisturbed
    assert workers(folder) == []


@pytest.mark.slow
def test_a_killed_worker_is_started_again(tmp_path: Path, undisturbed: dict[str, dict[str, object]]) -> None:
    """A run that is killed by a signal is retried and ends with the record of an undisturbed run."""
    write_suite(tmp_path)
    process = start_sweep(tmp_path)
    wait_until(lambda: list(tmp_path.glob("runs/*/checkpoint*")) and workers(tmp_path), process)
    os.kill(workers(tmp_path)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "died (killed by signal 9), will be retried" in err
    assert "3 of 3 runs are done." in err
    assert records(tmp_path) == undisturbed


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_nothing_outlives_a_killed_parent(how: signal.Signals, tmp_path: Path) -> None:
    """Runs that would take hours, and the fork server, end within seconds after the sweep."""
    write_suite(tmp_path, epochs=100_000, more=', "recipe.evaluate_every=100000"')
    process = start_sweep(tmp_path)
    wait_until(lambda: list(tmp_path.glob("runs/*/checkpoint*")) and len(workers(tmp_path)) == 2, process)
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert children
    process.send_signal(how)
    process.communicate()
    wait_until(lambda: not workers(tmp_path) and not any(Path(f"/proc/{pid}").exists() for pid in children), seconds=5)


@pytest.mark.slow
def test_a_killed_sweep_resumes(tmp_path: Path, undisturbed: dict[str, dict[str, object]]) -> None:
    """Existing records are not changed, and the others are those of an undisturbed sweep."""
    write_suite(tmp_path)
    process = start_sweep(tmp_path)
    wait_until(lambda: list(tmp_path.glob("runs/*/checkpoint*")), process)
    process.kill()
    process.communicate()
    before = {path: path.read_bytes() for path in find_records(tmp_path / "results")}
    finish(tmp_path, undisturbed)
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.slow
def test_a_killed_fork_server_is_started_again(tmp_path: Path, undisturbed: dict[str, dict[str, object]]) -> None:
    """The runs that the server has forked die with it and are restarted from a new server."""
    write_suite(tmp_path)
    process = start_sweep(tmp_path)
    wait_until(lambda: list(tmp_path.glob("runs/*/checkpoint*")), process)
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(int(pid), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "will be retried" in err
    assert "Traceback" not in err
    assert records(tmp_path) == undisturbed


def test_ctrl_c_finishes_the_epoch_and_the_same_command_resumes(
    tmp_path: Path, undisturbed: dict[str, dict[str, object]]
) -> None:
    write_suite(tmp_path)
    process = start_sweep(tmp_path)
    wait_until(lambda: list(tmp_path.glob("runs/*/checkpoint*")), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Interrupted. Run the same command again to continue" in err
    logs = [path.read_text() for path in tmp_path.glob("runs/*/log.txt")]
    assert any("Stopping after this epoch" in text for text in logs)
    assert not any("Traceback" in text for text in logs)
    finish(tmp_path, undisturbed)
    assert "resumes after epoch" in "".join(path.read_text() for path in tmp_path.glob("runs/*/log.txt"))


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    """Runs that would take hours end within seconds."""
    write_suite(tmp_path, epochs=100_000, more=', "recipe.evaluate_every=100000"')
    process = start_sweep(tmp_path)
    wait_until(lambda: list(tmp_path.glob("runs/*/checkpoint*")), process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert workers(tmp_path) == []


@pytest.mark.slow
def test_two_sweeps_at_once_share_the_work(tmp_path: Path, undisturbed: dict[str, dict[str, object]]) -> None:
    """Both sweeps succeed, and the records are those of an undisturbed sweep."""
    write_suite(tmp_path)
    pair = [start_sweep(tmp_path), start_sweep(tmp_path)]
    errors = [process.communicate(timeout=180)[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], errors
    assert records(tmp_path) == undisturbed
    assert sum(text.count("finished: ") for text in errors) >= 3


@pytest.mark.slow
def test_a_full_disk_in_mid_sweep(tmp_path: Path, undisturbed: dict[str, dict[str, object]]) -> None:
    """Files are limited to 20 kB, so that logs can be written but checkpoints cannot."""
    write_suite(tmp_path)
    limits = (20_000, 20_000)
    process = start_sweep(tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Traceback" not in err
    assert err.count("Cannot write") >= 3
    assert not list((tmp_path / "results").rglob("*.json"))
    finish(tmp_path, undisturbed)


BAD = '''"""Bad."""
from ltbench.benchmarks.method import Method
class Bad(Method):
    def loss(self, net, batch, now):
        {line}
'''


def bad_suite(folder: Path) -> list[Unit]:
    """Units of two working methods and, between them, one with a non-finite loss and one with a programming error."""
    (folder / "nan.py").write_text(BAD.format(line="return super().loss(net, batch, now) * float('nan')"))
    (folder / "fault.py").write_text(BAD.format(line="raise ValueError('no such shape')"))
    text = SUITE.format(epochs=2, more="").replace('"drs"', f'"{folder}/nan.py", "{folder}/fault.py"')
    (folder / "suite.toml").write_text(text)
    return make_units(read_suite(f"{folder}/suite.toml"))


def test_failing_methods_stop_nobody_and_are_not_tried_again(tmp_path: Path) -> None:
    units = bad_suite(tmp_path)
    process = start_sweep(tmp_path)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "2 of 4 runs are done." in err
    assert "2 runs failed" in err
    assert "retried" not in err
    assert "| nan (recipe.epochs=2) | seed 0: nan on digits-lt" in err
    assert "ValueError: no such shape" in err
    states_of = {s.unit.method: s for s in states(units, tmp_path / "results", tmp_path / "runs")}
    assert {name: state.name for name, state in states_of.items()} == {
        "nan": "failed", "fault": "failed", "erm": "done", "focal": "done",
    }  # fmt: skip
    assert "The loss became" in states_of["nan"].message


@pytest.mark.slow
def test_fail_fast_stops_at_the_first_failure(tmp_path: Path) -> None:
    """Runs are executed one at a time, and a failing method follows ERM, so focal never starts."""
    bad_suite(tmp_path)
    process = start_sweep(tmp_path, "--fail-fast", "--jobs", "1")
    process.communicate(timeout=120)
    assert process.returncode == 2
    assert len(find_records(tmp_path / "results")) == 1
