"""The Slurm script, run with a stand-in for sbatch, and in a slow test by a real Slurm if one is running."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.sweep_processes import ENVIRONMENT, fake_snapshot, fake_unit, records, request, wait_until, write_suite
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.sweeps.engines import slurm
from ltbench.benchmarks.sweeps.status import FAILED
from ltbench.benchmarks.sweeps.workers import gpu_slots

# Runs the tasks of an array one after another. Appends its options to the file $NOTES, like SCONTROL.
SBATCH = r"""#!/bin/bash
echo "$*" >> "$NOTES"
script=$(mktemp); cat > "$script"
last=$(grep -o -- '--array=0-[0-9]*' <<< "$*" | cut -d- -f4)
job=$(wc -l < "$NOTES")
for task in $(seq 0 "$last"); do
    SLURM_ARRAY_JOB_ID=$job SLURM_ARRAY_TASK_ID=$task bash "$script" > /dev/null 2>&1
done
echo "$job"
"""
SCONTROL = '#!/bin/bash\necho "scontrol $*" >> "$NOTES"\n'


def stand_in(folder: Path) -> dict[str, str]:
    """Environment variables that put stand-ins for sbatch and scontrol on the path; they write to `notes`."""
    for name, text in (("sbatch", SBATCH), ("scontrol", SCONTROL)):
        path = folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (folder / "notes").touch()
    return {"PATH": f"{folder}/bin:{os.environ['PATH']}", "NOTES": f"{folder}/notes"}


@pytest.mark.slow
def test_the_emitted_script_runs_what_is_missing_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executes the script with stand-ins for Slurm's commands; the jobs train two runs, one after the other."""
    monkeypatch.chdir(tmp_path)
    units = write_suite(tmp_path, epochs=2, more=', "recipe.drops=[[0.5, 0.1]]"')[
        :2
    ]  # erm, and drs, which continues ERM's epochs
    text = slurm.script(units, request(Path()))
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    environment = ENVIRONMENT | stand_in(tmp_path)
    done = subprocess.run(["bash"], input=text, text=True, env=environment, capture_output=True, check=True, cwd="/")
    assert done.stdout.splitlines() == ["submitted 1 runs as job 1", "submitted 1 runs as job 2"]
    assert len(records(tmp_path)) == len(units) == 2
    first, second = (tmp_path / "notes").read_text().splitlines()
    assert "--array=0-0" in first
    assert "--requeue" in first
    assert "--dependency" not in first
    assert "--dependency=afterany:1" in second
    assert "nothing is missing" in slurm.script(units, request(Path()))


@pytest.mark.parametrize(("code", "expected"), [("130", "requeue"), ("2", "failed"), ("137", "left")])
def test_what_becomes_of_a_task_that_ends_early(code: str, expected: str, tmp_path: Path) -> None:
    """An interrupted task is requeued, an error is recorded for `bench status`, a killed task is left to Slurm."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/bash\necho 'Error: the loss became nan.'\nexit {code}\n")
    program.chmod(0o755)
    text = slurm.script([fake_unit("a")], request(tmp_path)).replace(sys.executable, str(program))
    subprocess.run(["bash"], input=text, text=True, env=ENVIRONMENT | stand_in(tmp_path), check=True)
    assert ("scontrol requeue 1_0" in (tmp_path / "notes").read_text()) == (expected == "requeue")
    assert (tmp_path / "runs" / "a" / FAILED).exists() == (expected == "failed")
    if expected == "failed":
        assert (tmp_path / "runs" / "a" / FAILED).read_text() == "Error: the loss became nan.\n"


def test_large_arrays_are_divided_and_gpus_requested(tmp_path: Path) -> None:
    shared = fake_snapshot("0")
    units = [*(fake_unit(str(k)) for k in range(5)), fake_unit("x", shared), fake_unit("y", shared)]
    text = slurm.script(units, request(tmp_path, slots=gpu_slots(["cuda:0"], 1)), largest=2)
    assert text.count("sbatch --parsable") == 4
    assert text.count("--gres=gpu:1") == 4
    assert "--dependency=afterany:$first_0:$first_1:$first_2 " in text
    assert text.count("--device cuda") == 7


def test_without_sbatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="no sbatch on this machine"):
        slurm.submit("")


def running() -> bool:
    """Whether a Slurm controller responds on this machine."""
    if shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo"], capture_output=True, timeout=20, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_on_a_real_slurm(tmp_path: Path) -> None:
    """All runs of a suite are submitted with sbatch; one of them is interrupted by a signal and requeued."""
    if not running():
        pytest.skip("no Slurm controller responds: start slurmctld and slurmd to run this test")
    write_suite(tmp_path, epochs=300)
    words = [sys.executable, "-m", "ltbench.bench", "sweep", "suite.toml", "--engine", "slurm"]
    subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, check=True)
    wait_until(lambda: list(tmp_path.glob("runs/*/checkpoint*")), seconds=120)
    jobs = subprocess.run(["squeue", "-h", "-o", "%A", "-t", "R"], capture_output=True, text=True, check=True)
    subprocess.run(["scancel", "--signal=INT", "--batch", jobs.stdout.split()[0]], check=True)
    wait_until(lambda: len(records(tmp_path)) >= 3, seconds=450)
    logs = "".join(path.read_text() for path in tmp_path.glob("runs/*/log.txt"))
    assert "Stopping after this epoch" in logs
