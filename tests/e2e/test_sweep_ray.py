"""A sweep on a real Ray cluster of two nodes on this machine. Needs the extra `ray`; slow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.sweep_processes import ENVIRONMENT, records, wait_until, workers, write_suite

pytest.importorskip("ray", reason="no Ray: pip install 'ltbench[ray]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # warnings of Ray itself
]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A Ray cluster whose head node has no CPUs, so that the nodes that the test adds can be lost."""
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes its tokens to the home folder
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def start(folder: Path, address: str) -> subprocess.Popen[str]:
    words = ["sweep", "suite.toml", "--engine", "ray", "--address", address]
    return subprocess.Popen(
        [sys.executable, "-m", "ltbench.bench", *words], cwd=folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=ENVIRONMENT | {k: os.environ[k] for k in ("HOME", "RAY_AUTH_MODE")},
    )  # fmt: skip


@pytest.mark.timeout(600)
def test_a_node_is_lost_in_mid_sweep(cluster: object, tmp_path: Path) -> None:
    """All records are written and equal those of the local engine, and no process is left."""
    undisturbed = tmp_path / "undisturbed"
    folder = tmp_path / "ray"
    for each in (undisturbed, folder):
        each.mkdir()
        write_suite(each, epochs=150)
    local = [sys.executable, "-m", "ltbench.bench", "sweep", "suite.toml", "--jobs", "2"]
    assert subprocess.run(local, cwd=undisturbed, env=ENVIRONMENT, check=False, capture_output=True).returncode == 0
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]  # type: ignore[attr-defined]
    process = start(folder, cluster.address)  # type: ignore[attr-defined]
    wait_until(lambda: len(list(folder.glob("runs/*/checkpoint*"))) >= 2, process, seconds=120)
    cluster.remove_node(nodes[0], allow_graceful=False)  # type: ignore[attr-defined]
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "3 of 3 runs are done." in err
    assert records(folder) == records(undisturbed)
    assert workers(folder) == []


def test_no_cluster_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    write_suite(tmp_path)
    process = start(tmp_path, "auto")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Error: No Ray cluster at auto" in err
    assert "Traceback" not in err
