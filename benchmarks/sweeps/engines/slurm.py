"""Engine for Slurm: a script that submits the missing units as job arrays, shared trainings first.

Set partition, time limit, account and so on through the environment variables that sbatch reads (SBATCH_PARTITION,
SBATCH_TIMELIMIT, SBATCH_ACCOUNT). A job that is pre-empted or reaches its time limit finishes its epoch and is
requeued. If jobs are lost, run the sweep again to submit the missing units.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import INTERRUPTED, UserError
from ..request import SweepRequest
from ..scheduler import Queue
from ..status import FAILED, LOG, locked, missing

if TYPE_CHECKING:
    from ..units import Unit

LARGEST_ARRAY = 1000  # most jobs in an array; Slurm's default limit is 1001
NOTICE = 120  # seconds before the time limit at which Slurm sends SIGINT

_HEAD = """#!/bin/bash
# Submits the missing runs of a sweep: bash FILE. Partition and time: SBATCH_PARTITION, SBATCH_TIMELIMIT.
set -euo pipefail
cd {folder}  # relative paths in the suite refer to this folder; jobs start here
mkdir -p {results} {output}
"""
_ARRAY = """
{name}=$(sbatch --parsable --job-name=ltbench --array=0-{last} --requeue --signal=B:INT@{notice} \\
    --output={output} --open-mode=append{options} <<'JOB'
#!/bin/bash
folders=(
{folders}
)
commands=(
{commands}
)
folder=${{folders[$SLURM_ARRAY_TASK_ID]}}
mkdir -p "$folder" && rm -f "$folder/{failed}"
echo "$ bench (job $SLURM_ARRAY_JOB_ID, task $SLURM_ARRAY_TASK_ID)" >> "$folder/{log}"
export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-${{SLURM_CPUS_PER_TASK:-1}}}} COLUMNS=100
eval "exec ${{commands[$SLURM_ARRAY_TASK_ID]}}" >> "$folder/{log}" 2>&1 &
child=$!
trap 'kill -INT $child' INT TERM
wait $child; code=$?
while kill -0 $child 2> /dev/null; do wait $child; code=$?; done
if [ $code -eq {interrupted} ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
elif [ $code -ne 0 ] && [ $code -lt 128 ]; then
    tail -n 1 "$folder/{log}" > "$folder/{failed}"
fi
exit $code
JOB
)
echo "submitted {count} runs as job ${name}"
"""


class SlurmEngine:
    """Submits units to Slurm, or prints the submission script."""

    def __init__(self, request: SweepRequest) -> None:
        self.request = request

    def run(self, units: Sequence[Unit]) -> None:
        """Submit the missing units, or print the script that would; see `Engine`.

        Raises:
            UserError: sbatch is not available on this machine, or fails.
        """
        text = script(units, self.request)
        if self.request.script_only:
            print(text, end="")
        else:
            submit(text)


def script(units: Sequence[Unit], request: SweepRequest, largest: int = LARGEST_ARRAY) -> str:
    """Bash script that submits the units that have no record and are not running; run it where sbatch is available.

    Args:
        units: units of a suite.
        request: options of the sweep; with GPU slots, each job requests one GPU.
        largest: largest number of jobs in an array.
    """
    results, runs = request.results.resolve(), request.runs.resolve()
    todo = [unit for unit in missing(units, results) if not locked(runs / unit.id)]
    leaders, others = _by_dependency(todo, results, runs)
    first = {f"first_{k}": part for k, part in enumerate(_parts(leaders, largest))}
    second = {f"second_{k}": part for k, part in enumerate(_parts(others, largest))}
    after = f" --dependency=afterany:{':'.join(f'${name}' for name in first)}"
    head = _HEAD.format(
        folder=shlex.quote(str(Path.cwd())), results=shlex.quote(str(results)), output=shlex.quote(str(runs / "slurm"))
    )
    arrays = [_array(name, part, request) for name, part in first.items()]
    arrays += [_array(name, part, request, after) for name, part in second.items()]
    return head + "".join(arrays) + ("" if todo else "\necho 'nothing is missing'\n")


def submit(text: str) -> None:
    """Run a submission script on this machine and print its output.

    Raises:
        UserError: sbatch is not available on this machine, or fails.
    """
    if shutil.which("sbatch") is None:
        raise UserError(
            "There is no sbatch on this machine. `--emit sbatch > job.sh` writes the script to run elsewhere."
        )
    done = subprocess.run(["bash"], input=text, text=True, capture_output=True, check=False)
    print(done.stdout, end="")
    if done.returncode:
        raise UserError(f"sbatch failed: {done.stderr.strip() or 'no reason given'}.")


def _array(name: str, units: Sequence[Unit], request: SweepRequest, after: str = "") -> str:
    """Part of the script that submits units as one job array and stores its job id in the variable `name`."""
    results, runs = request.results.resolve(), request.runs.resolve()
    gpu = request.slots[0].gpu is not None
    device = ["--device", "cuda" if gpu else "cpu"]
    commands = [[sys.executable, "-m", "ltbench.bench", *unit.command(results, runs), *device] for unit in units]
    return _ARRAY.format(
        name=name,
        last=len(units) - 1,
        count=len(units),
        notice=NOTICE,
        output=shlex.quote(str(runs / "slurm" / "%A_%a.txt")),
        options=(" --gres=gpu:1" if gpu else "") + after,
        folders="\n".join(shlex.quote(str(runs / unit.id)) for unit in units),
        commands="\n".join(shlex.quote(shlex.join(words)) for words in commands),
        log=LOG,
        failed=FAILED,
        interrupted=INTERRUPTED,
    )


def _by_dependency(units: Sequence[Unit], results: Path, runs: Path) -> tuple[list[Unit], list[Unit]]:
    """Units that can start at once, and units that must wait because they need a snapshot from one of the former."""
    queue = Queue(units, results, runs)
    leaders = []
    while unit := queue.take():
        leaders.append(unit)
    return leaders, queue.waiting


def _parts(units: Sequence[Unit], largest: int) -> Iterator[Sequence[Unit]]:
    for start in range(0, len(units), largest):
        yield units[start : start + largest]
