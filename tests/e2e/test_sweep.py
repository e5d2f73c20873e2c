"""Output of `bench sweep --dry-run` and `bench status`, and errors that stop a sweep before it starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from helpers.command import Answer
from helpers.sweep_processes import write_suite
from ltbench.benchmarks.sweeps.status import LOG, states

Cli = Callable[..., Answer]


def test_status_shows_the_four_states(cli: Cli, tmp_path: Path) -> None:
    units = write_suite(tmp_path, epochs=2)
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


def test_dry_run_prints_the_order_and_runs_nothing(cli: Cli, tmp_path: Path) -> None:
    write_suite(tmp_path, epochs=10)
    answer = cli("sweep", "suite.toml", "--dry-run", "--jobs", "2")
    assert answer.code == 0
    order = [line.split(" | ")[1].split()[0] for line in answer.out.splitlines() if "| seed" in line]
    assert order == ["erm", "drs", "focal"]
    assert "continues ERM after epoch 8" in answer.out
    assert "3 runs: 0 done, 0 running, 0 failed, 3 missing." in answer.out
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "runs").exists()


def test_without_cuda_one_sentence_says_so(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    write_suite(tmp_path)
    answer = cli("sweep", "suite.toml", "--devices", "cuda:0")
    assert answer.code == 2
    assert answer.err.count("finds no CUDA device") == 1
    assert not (tmp_path / "results").exists()


def test_folders_that_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    write_suite(tmp_path)
    (tmp_path / "taken").write_text("a file")
    for option in ("results", "runs"):
        answer = cli("sweep", "suite.toml", f"--{option}", "taken")
        assert answer.code == 2
        assert "Cannot write taken" in answer.err
