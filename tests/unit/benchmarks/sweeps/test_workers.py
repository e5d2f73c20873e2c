"""Slots, and the fork server that starts workers."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.sweeps.fork_server import PRELOAD
from ltbench.benchmarks.sweeps.workers import cpu_slots, gpu_slots


def test_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the user's setting takes precedence
    assert [slot.environment["OMP_NUM_THREADS"] for slot in cpu_slots(3)] == ["1"] * 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [slot.environment["OMP_NUM_THREADS"] for slot in cpu_slots(3)] == ["2"] * 3
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    slots = gpu_slots(["cuda:0", "cuda:2"], 2)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "2", "0", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")  # GPUs assigned by a cluster scheduler
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in gpu_slots(["cuda:1"], 1)] == ["7"]
    for wrong in ("gpu0", "cuda", "cuda:x"):
        with pytest.raises(UserError, match=f"'{wrong}' is not a GPU"):
            gpu_slots([wrong], 1)


IN_CHILD = "import sys; print(*sys.modules)"
IN_PARENT = f"""
import sys
from ltbench.benchmarks.sweeps.engines import local
from ltbench.benchmarks.sweeps.fork_server import start_fork_server

assert "torch" not in sys.modules, "the server must be started before this process imports torch"
child = start_fork_server("1").Process(target=exec, args=({IN_CHILD!r},))
child.start()
child.join()
sys.exit(child.exitcode)
"""


def test_children_of_the_fork_server_have_all_it_preloads() -> None:
    """The server silently ignores modules that it cannot import, and importing them would delay each run by seconds."""
    done = subprocess.run([sys.executable, "-c", IN_PARENT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = done.stdout.split()
    assert "torch" in modules
    assert not set(PRELOAD) - set(modules)
