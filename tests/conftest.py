"""Shared fixtures: the command line, called in the test process, and static shapes as on a GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.command import Answer
from ltbench import bench
from ltbench.benchmarks.precision import static_shapes

torch.set_num_threads(1)  # two test processes share two cores


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Answer]:
    """Function that calls the command line in an empty folder, as in `cli("run", "--method", "erm", ...)`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        code = 0
        try:
            bench.main()
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 0 if leave.code is None else 1
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return call


@pytest.fixture
def slots() -> Iterator[None]:
    """Use static shapes with empty slots, as on a GPU, where the host never reads a value."""
    with static_shapes():
        yield
