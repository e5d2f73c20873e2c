"""Sweeps: order, retries, kills, interruptions, full disks, two at once; the records are as if nothing had happened."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Answer
from filelock import FileLock
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.queue import LOG, Queue, last_line
from ltbench.benchmarks.record import find_records, read_record
from ltbench.benchmarks.slots import cpu_slots, gpu_slots
from ltbench.benchmarks.status import anything_running, states
from ltbench.benchmarks.suite import Unit, make_units, read_suite
from tiny import without_timings

Cli = Callable[..., Answer]
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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    write(folder)
    process = start(folder)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "3 of 3 runs are done." in err
    return records(folder)


def finish(folder: Path, undisturbed: dict[str, dict[str, object]]) -> str:
    """The same command again: it succeeds, and the records are those of the undisturbed sweep. What it said."""
    process = start(folder)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert records(folder) == undisturbed
    assert workers(folder) == []
    return err


def test_a_killed_worker_is_started_again(tmp_path: Path, undisturbed: dict[str, dict[str, object]]) -> None:
    write(tmp_path)
    process = start(tmp_path)
    until(lambda: list(tmp_path.glob("runs/*/checkpoint*")) and workers(tmp_path), process)
    os.kill(workers(tmp_path)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "died (killed by signal 9), will be tried again" in err
    assert records(tmp_path) == undisturbed


def test_nothing_outlives_a_killed_parent(tmp_path: Path, undisturbed: dict[str, dict[str, object]]) -> None:
    write(tmp_path)
    process = start(tmp_path)
    until(lambda: list(tmp_path.glob("runs/*/checkpoint*")) and len(workers(tmp_path)) == 2, process)
    process.kill()
    process.communicate()
    end = time.monotonic() + 10
    while workers(tmp_path):
        assert time.monotonic() < end
        time.sleep(0.05)
    before = {path: path.read_bytes() for path in find_records(tmp_path / "results")}
    finish(tmp_path, undisturbed)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_ctrl_c_finishes_the_epoch_and_the_same_command_goes_on(
    tmp_path: Path, undisturbed: dict[str, dict[str, object]]
) -> None:
    write(tmp_path)
    process = start(tmp_path)
    until(lambda: list(tmp_path.glob("runs/*/checkpoint*")), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Interrupted. The same command goes on" in err
    logs = [path.read_text() for path in tmp_path.glob("runs/*/log.txt")]
    assert any("Stopping after this epoch" in text for text in logs)
    assert not any("Traceback" in text for text in logs)
    assert "resumes after epoch" in "".join(_logs(tmp_path, finish(tmp_path, undisturbed)))


def _logs(folder: Path, _: str) -> list[str]:
    return [path.read_text() for path in folder.glob("runs/*/log.txt")]


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    write(tmp_path, epochs=100_000, more=', "recipe.evaluate_every=100000"')
    process = start(tmp_path)
    until(lambda: list(tmp_path.glob("runs/*/checkpoint*")), process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert workers(tmp_path) == []


def test_two_sweeps_at_once_share_the_work(tmp_path: Path, undisturbed: dict[str, dict[str, object]]) -> None:
    write(tmp_path)
    pair = [start(tmp_path), start(tmp_path)]
    said = [process.communicate(timeout=180)[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said
    assert records(tmp_path) == undisturbed
    assert sum(text.count("finished: ") for text in said) >= 3


def test_a_full_disk_in_mid_sweep(tmp_path: Path, undisturbed: dict[str, dict[str, object]]) -> None:
    """Files cannot grow past 20 kB: logs and folders can be written, checkpoints and records cannot."""
    write(tmp_path)
    limits = (20_000, 20_000)
    process = start(tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Traceback" not in err
    assert err.count("Cannot write") >= 3
    assert not list((tmp_path / "results").rglob("*.json"))
    finish(tmp_path, undisturbed)


def test_a_failing_method_stops_nobody_but_with_fail_fast(tmp_path: Path) -> None:
    text = '"""Bad."""\nfrom ltbench.benchmarks.method import Method\nclass Bad(Method):\n'
    text += "    def loss(self, net, batch, now):\n        return super().loss(net, batch, now) * float('nan')\n"
    (tmp_path / "bad.py").write_text(text)
    suite = SUITE.format(epochs=2, more="").replace('["erm"', f'["{tmp_path}/bad.py", "erm"')
    (tmp_path / "suite.toml").write_text(suite)
    process = start(tmp_path)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "3 of 4 runs are done." in err
    assert "1 failed" in err
    assert "bad | seed 0: bad on digits-lt" in err.replace(" (recipe.epochs=2)", "")
    assert "The loss became" in err
    (failed,) = [
        s
        for s in states(make_units(read_suite(f"{tmp_path}/suite.toml")), tmp_path / "results", tmp_path / "runs")
        if s.name == "failed"
    ]
    assert "The loss became" in failed.words
    for path in find_records(tmp_path / "results"):
        path.unlink()
    process = start(tmp_path, "--fail-fast", "--jobs", "1")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert len(find_records(tmp_path / "results")) < 3


def fake(key: str, method: str = "drs", erm: str | None = "e", prefix: int = 8) -> Unit:
    return Unit(key, method, "digits-lt", "digits", key, Path(f"{key}.json"), (), key, erm, prefix, 10, 30)


def test_shared_trainings_come_first_and_hold_the_others_back(tmp_path: Path) -> None:
    queue = Queue([fake("a"), fake("b"), fake("e", "erm", "e", 0), fake("c", erm=None, prefix=0)], tmp_path, tmp_path)
    erm = queue.take()
    assert erm is not None
    assert erm.id == "e"
    free = queue.take()
    assert free is not None
    assert free.id == "c"  # a and b wait for the epochs that e trains
    assert queue.take() is None
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "epoch-00008.pt").touch()
    assert [unit.id for unit in (queue.take(), queue.take()) if unit] == ["a", "b"]  # they are there, e may go on


def test_without_an_erm_run_one_unit_leads(tmp_path: Path) -> None:
    queue = Queue([fake("a"), fake("b"), fake("z", erm="other")], tmp_path, tmp_path)
    first, second = queue.take(), queue.take()
    assert first is not None
    assert second is not None
    assert (first.id, second.id) == ("a", "z")
    assert queue.take() is None
    queue.ended(first)  # it failed: the next one leads
    again = queue.take()
    assert again is not None
    assert again.id == "b"


def test_what_another_process_is_at_is_left_alone(tmp_path: Path) -> None:
    queue = Queue([fake("a", erm=None), fake("b", erm=None)], tmp_path, tmp_path)
    (tmp_path / "a").mkdir()
    with FileLock(tmp_path / "a" / "run.lock"):
        unit = queue.take()
        assert unit is not None
        assert unit.id == "b"
        assert queue.take() is None
        assert anything_running(tmp_path) == ["a: no log"]
    unit = queue.take()
    assert unit is not None
    assert unit.id == "a"


def test_status_tells_the_four_states(cli: Cli, tmp_path: Path) -> None:
    units = write(tmp_path, epochs=2)
    assert cli(*units[0].arguments, "--quiet").code == 0
    (tmp_path / "runs" / units[1].id).mkdir(parents=True)
    (tmp_path / "runs" / units[1].id / "failed.txt").write_text("The loss became nan.\n")
    (tmp_path / "runs" / units[2].id).mkdir(parents=True)
    (tmp_path / "runs" / units[2].id / LOG).write_text("$ bench run\nepoch 1/2 | loss 1.0\n")
    with FileLock(tmp_path / "runs" / units[2].id / "run.lock"):
        answer = cli("status", "suite.toml")
        running = cli("status")
    assert answer.code == 0
    assert [s.name for s in states(units, tmp_path / "results", tmp_path / "runs")] == [
        "done", "failed", "missing",
    ]  # fmt: skip
    assert "epoch 1/2 | loss 1.0" in answer.out
    assert "The loss became nan." in answer.out
    assert answer.out.split("3 in all")[1].split()[:4] == ["1", "1", "1", "0"]
    assert units[2].id in running.out


def test_dry_run_tells_the_order_and_runs_nothing(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path, epochs=10)
    answer = cli("sweep", "suite.toml", "--dry-run", "--jobs", "2")
    assert answer.code == 0
    order = [line.split(" | ")[1].split()[0] for line in answer.out.splitlines() if "| seed" in line]
    assert order == ["erm", "drs", "focal"]
    assert "continues ERM after epoch 8" in answer.out
    assert "3 runs: 0 done, 0 running, 0 failed, 3 missing." in answer.out
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "runs").exists()


def test_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert [slot.environment["OMP_NUM_THREADS"] for slot in cpu_slots(3)] == ["2"] * 3
    slots = gpu_slots(["cuda:0", "cuda:2"], 2)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "2", "0", "2"]
    for wrong in ("gpu0", "cuda", "cuda:x"):
        with pytest.raises(UserError, match=f"'{wrong}' is no GPU"):
            gpu_slots([wrong], 1)


def test_last_line_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    assert last_line(path) == ""
    path.write_text("$ bench run\nepoch 1\n\n")
    assert last_line(path) == "epoch 1"
    path.write_text("Error: old.\nepoch 1\nError: The loss\nbecame nan.\n")
    assert last_line(path) == "Error: The loss became nan."
