"""Engines: creation by name, the number of GPUs per task, and scripts that are only printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.sweep_processes import request
from ltbench.benchmarks.sweeps.engines import ENGINES, SCRIPTS, create_engine
from ltbench.benchmarks.sweeps.engines.ray import gpus_per_task
from ltbench.benchmarks.sweeps.engines.slurm import SlurmEngine
from ltbench.benchmarks.sweeps.workers import cpu_slots, gpu_slots


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_of_the_table_can_be_created(name: str, tmp_path: Path) -> None:
    assert callable(create_engine(name, request(tmp_path)).run)


def test_scripts_are_written_by_engines_of_the_table() -> None:
    assert set(SCRIPTS.values()) <= set(ENGINES)


def test_tasks_divide_gpus_as_the_slots_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for slots, fraction in (
        (cpu_slots(4), 0),
        (gpu_slots(["cuda:0"], 1), 1),
        (gpu_slots(["cuda:0", "cuda:1"], 3), 1 / 3),
    ):
        assert gpus_per_task(request(tmp_path, slots=slots)) == fraction


def test_a_script_is_printed_and_nothing_submitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert SlurmEngine(request(tmp_path, script_only=True)).run([]) is None  # type: ignore[func-returns-value]
    out = capsys.readouterr().out
    assert out.startswith("#!/bin/bash\n")
    assert "nothing is missing" in out
    assert not (tmp_path / "results").exists()
