"""Sweeps: in which order, what a dry run and the status say, places, logs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from helpers.command import Answer
from helpers.sweep_processes import fake, write
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.sweeps.queue import LOG, Queue, last_line
from ltbench.benchmarks.sweeps.status import anything_running, states
from ltbench.benchmarks.sweeps.workers import cpu_slots, gpu_slots

Cli = Callable[..., Answer]


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
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    slots = gpu_slots(["cuda:0", "cuda:2"], 2)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "2", "0", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")  # what a scheduler has lent
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in gpu_slots(["cuda:1"], 1)] == ["7"]
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
    path.write_text("$ bench run x\nError: Cannot write.\n$ bench run x\n")
    assert last_line(path) == ""  # of the latest attempt
    path.write_text("$ bench run x\nError: Cannot write.\n$ bench run x\nepoch 7\n")
    assert last_line(path) == "epoch 7"


def test_without_cuda_one_sentence_says_so(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    write(tmp_path)
    answer = cli("sweep", "suite.toml", "--devices", "cuda:0")
    assert answer.code == 2
    assert answer.err.count("finds no CUDA device") == 1
    assert not (tmp_path / "results").exists()


def test_folders_that_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "taken").write_text("a file")
    for option in ("results", "runs"):
        answer = cli("sweep", "suite.toml", f"--{option}", "taken")
        assert answer.code == 2
        assert "Cannot write taken" in answer.err
