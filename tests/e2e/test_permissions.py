"""Files that the user may not access give one sentence and exit code 2.

If the tests run as root, commands first drop root's right to access all files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.sweeps import status

DROP = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search", "--"] if os.getuid() == 0 else []
RUN = ("run", "-m", "erm", "-d", "digits-lt", "--imbalance", "5", "--epochs", "1", "--set", "dataset.n_max=20")


def bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder without root's right to access all files."""
    if DROP and (not shutil.which("setpriv") or subprocess.run([*DROP, "true"], check=False).returncode):
        pytest.skip("root cannot give up its rights here")
    command = [*DROP, sys.executable, "-m", "ltbench.bench", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_lock_of_another_user(tmp_path: Path) -> None:
    """The error message for a lock file that this user may not write is one sentence that names the file."""
    assert bench(tmp_path, *RUN, "--quiet").returncode == 0
    shutil.rmtree(tmp_path / "results")
    (folder,) = (tmp_path / "runs").iterdir()
    (folder / "run.lock").touch()
    (folder / "run.lock").chmod(0o444)
    answer = bench(tmp_path, *RUN)
    assert answer.returncode == 2
    assert "run.lock: permission denied" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_class_folder_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("train/ant", "train/bee", "test/ant", "test/bee"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "train/bee").chmod(0)
    answer = bench(tmp_path, "data", "check", "folder:.")
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
    assert "folder: cannot read train/bee: permission denied" in answer.stderr


def test_a_run_that_cannot_be_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(folder: Path) -> bool:
        if folder.name == "a":
            raise UserError("Cannot read a/run.lock: permission denied.")
        return True

    monkeypatch.setattr(status, "locked", locked)
    for name in "ab":
        (tmp_path / name).mkdir()
    assert status.running_now(tmp_path) == ["a: Cannot read a/run.lock: permission denied.", "b: no log"]
