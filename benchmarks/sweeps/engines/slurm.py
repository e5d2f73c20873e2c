"""The engine for Slurm: a script that submits what is missing as job arrays, shared trainings first.

Partition, time limit, account and the like come from the variables that sbatch reads itself (SBATCH_PARTITION,
SBATCH_TIMELIMIT, SBATCH_ACCOUNT). A job that is pre-empted, or reaches its time limit, finishes its epoch and is queued
again; after a hard loss the same sweep submits what is still missing.
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
from ..queue import FAILED, LOG, Queue, locked, missing, whole_command
from ..units import Unit

if TYPE_CHECKING:
    from ..runner import Choices

LARGEST_ARRAY = 1000  # Slurm's default is 1001
NOTICE = 120  # seconds between the request to stop and the end

_ARRAY = """
{name}=$(sbatch --parsable --job-name=ltbench --array=0-{last} --requeue --signal=B:INT@{notice} \\
    --output={output} --open-mode=append{options}{after} <<'JOB'
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
export OMP_NUM_THREADS=${{SLURM_CPUS_PER_TASK:-1}} COLUMNS=100
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


def script(units: Sequence[Unit], choices: Choices) -> str:
    """A bash script that submits the units without a record that nobody is at; run it where sbatch is."""
    results, runs = choices.results.resolve(), choices.runs.resolve()
    todo = [unit for unit in missing(units, results) if not locked(runs / unit.id)]
    gpu = any("cuda" in slot.options for slot in choices.slots)
    options = " --gres=gpu:1" if gpu else ""
    device = ["--device", "cuda" if gpu else "cpu"]
    bench = [sys.executable, "-m", "ltbench.bench"]
    lines = [
        "#!/bin/bash",
        "# Submits the missing runs of a sweep: bash FILE. Partition and time: SBATCH_PARTITION, SBATCH_TIMELIMIT.",
        "set -euo pipefail",
        f"cd {shlex.quote(str(Path.cwd()))}  # where relative paths of the suite lead to; jobs begin there, too",
        f"mkdir -p {shlex.quote(str(results))} {shlex.quote(str(runs / 'slurm'))}",
    ]
    names: list[str] = []
    leaders, others = _order(todo, choices)
    for group, after in ((leaders, False), (others, True)):
        waits = f" --dependency=afterany:{':'.join(f'${name}' for name in names)}" if after and names else ""
        made = []
        for k, part in enumerate(_parts(group)):
            commands = [[*bench, *whole_command(unit, results, runs), *device] for unit in part]
            name = f"{'second' if after else 'first'}_{k}"
            made.append(name)
            lines.append(
                _ARRAY.format(
                    name=name, last=len(part) - 1, notice=NOTICE, options=options, after=waits, count=len(part),
                    output=shlex.quote(str(runs / "slurm" / "%A_%a.txt")), interrupted=INTERRUPTED, log=LOG,
                    failed=FAILED, folders="\n".join(shlex.quote(str(runs / unit.id)) for unit in part),
                    commands="\n".join(shlex.quote(shlex.join(words)) for words in commands),
                )
            )  # fmt: skip
        names += made
    return "\n".join(lines) + ("" if todo else "\necho 'nothing is missing'\n")


def submit(text: str) -> None:
    """Run the script here.

    Raises:
        UserError: there is no sbatch on this machine, or it refuses.
    """
    if shutil.which("sbatch") is None:
        raise UserError(
            "There is no sbatch on this machine. `--emit sbatch > job.sh` makes the script to run elsewhere."
        )
    done = subprocess.run(["bash"], input=text, text=True, capture_output=True, check=False)
    print(done.stdout, end="")
    if done.returncode:
        raise UserError(f"sbatch refuses: {done.stderr.strip() or 'no reason given'}.")


def _order(units: Sequence[Unit], choices: Choices) -> tuple[list[Unit], list[Unit]]:
    """Units that may start at once, and those that wait for a training that one of the first makes."""
    queue = Queue(units, choices.results, choices.runs)
    leaders = []
    while unit := queue.take():
        leaders.append(unit)
    return leaders, queue.waiting


def _parts(units: Sequence[Unit]) -> Iterator[Sequence[Unit]]:
    for start in range(0, len(units), LARGEST_ARRAY):
        yield units[start : start + LARGEST_ARRAY]
