"""Fixtures that call the command line in this process or set static shapes, and the scheduling of tests on workers."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.command import Answer
from ltbench import bench
from ltbench.benchmarks.precision import static_shapes

torch.set_num_threads(1)  # two test processes share two cores


def pytest_collection_finish() -> None:
    """Collect garbage less often and leave out imported modules, which saves a tenth of the suite's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return a scheduler for several workers (`-n 2`) that runs tests with common fixtures or caches on one worker.

    All tests of a file run on one worker, as do all contract tests of a method. The longest tests, in `contract/` and
    `e2e/`, come first.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            method = re.search(r"\[([a-z0-9-]+)\]$", test) if "/contract/" in file else None
            return f"contract[{method[1]}]" if method else file

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Answer]:
    """Function that runs a command in an empty folder and returns its `Answer`, as in `cli("list", "methods")`."""
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
