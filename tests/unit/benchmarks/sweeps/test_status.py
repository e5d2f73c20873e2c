"""Last line of a run's log, which `bench status` shows."""

from __future__ import annotations

from pathlib import Path

from ltbench.benchmarks.sweeps.status import last_line


def test_last_line_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    assert last_line(path) == ""
    path.write_text("$ bench run\nepoch 1\n\n")
    assert last_line(path) == "epoch 1"
    path.write_text("Error: old.\nepoch 1\nError: The loss\nbecame nan.\n")
    assert last_line(path) == "Error: The loss became nan."
    path.write_text("$ bench run x\nError: Cannot write.\n$ bench run x\n")
    assert last_line(path) == ""  # only the latest attempt counts
    path.write_text("$ bench run x\nError: Cannot write.\n$ bench run x\nepoch 7\n")
    assert last_line(path) == "epoch 7"
