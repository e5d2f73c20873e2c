"""Engine for many machines: one Ray task per run.

Ray restarts a task when its worker or node is lost. The run then resumes from its checkpoint if the nodes share the
runs folder, and starts from the beginning if not. Tasks return their records to the driver, which writes those that
are missing; a shared results folder is possible but not required.
"""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import INTERRUPTED, UserError
from ...split import DataRoot
from ...utils.atomic_write import write_atomically
from ..dashboard import open_dashboard
from ..fork_server import die_with_parent
from ..request import SweepRequest
from ..scheduler import RETRIES, Outcome, Scheduler, SweepListener
from ..status import LOG, last_line

if TYPE_CHECKING:
    from ..units import Unit


class RayEngine:
    """Runs units as tasks on a Ray cluster: the one at `address`, or a new one on this machine.

    A new cluster has one CPU per slot. Each task gets the fraction of a GPU that a slot has.
    """

    def __init__(self, request: SweepRequest) -> None:
        self.request = request

    def run(self, units: Sequence[Unit]) -> Outcome:
        """Run the missing units as Ray tasks; see `Engine`.

        Raises:
            UserError: Ray is not installed, or there is no cluster at the address.
        """
        with open_dashboard(units, self.request) as dashboard, _cluster(self.request) as ray:
            return _Driver(ray, units, self.request, dashboard).run()


@contextmanager
def _cluster(request: SweepRequest) -> Iterator[Any]:
    """Connect to a cluster and yield the package `ray`; disconnect at the end."""
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise UserError("--engine ray needs Ray: pip install 'ltbench[ray]'.") from error
    own = {"num_cpus": len(request.slots), "include_dashboard": False} if request.address is None else {}
    try:
        ray.init(address=request.address, log_to_driver=False, logging_level="error", ignore_reinit_error=True, **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"No Ray cluster at {request.address or 'this machine'}: {error}.") from error
    try:
        yield ray
    finally:
        ray.shutdown()


class _Driver:
    """Submits tasks and handles their results."""

    def __init__(self, ray: Any, units: Sequence[Unit], request: SweepRequest, listener: SweepListener) -> None:
        self.ray, self.fail_fast = ray, request.fail_fast
        self.results, self.runs = request.results.resolve(), request.runs.resolve()
        self.scheduler = Scheduler(units, self.results, self.runs, listener)
        gpus = gpus_per_task(request)
        self.device = "cuda" if gpus else "cpu"
        self.task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES, retry_exceptions=False)(carry_out)
        self.pending: dict[Any, Unit] = {}
        self.begun: dict[str, float] = {}

    def run(self) -> Outcome:
        try:
            while self.scheduler.waiting or self.pending:
                while unit := self.scheduler.take():
                    self.pending[self._submit(unit)] = unit
                    self.begun[unit.id] = time.monotonic()
                    self.scheduler.listener.started(unit, "ray")
                if not self.pending:  # another sweep is running all remaining units
                    time.sleep(1)
                ready, _ = self.ray.wait(list(self.pending), timeout=0.5) if self.pending else ([], [])
                self.scheduler.listener.tick({unit.id: self.begun[unit.id] for unit in self.pending.values()})
                for reference in ready:
                    self._end(reference)
        except KeyboardInterrupt:
            self.scheduler.outcome.stopped = True
        return self.scheduler.outcome

    def _submit(self, unit: Unit) -> Any:
        words = [*map(_absolute, unit.command(self.results, self.runs)), "--device", self.device]
        data = str(DataRoot.find(None, False).path.resolve())
        return self.task.remote(words, str(self.results / unit.record), str(self.runs / unit.id / LOG), data)

    def _end(self, reference: Any) -> None:
        unit = self.pending.pop(reference)
        try:
            code, record, line = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            code, record, line = 1, None, f"lost {RETRIES + 1} times: {type(error).__name__}"
        path = self.results / unit.record
        if record is not None and not path.exists():
            write_atomically(path, record)
        if code == 0 and self.scheduler.finished(unit):
            return
        if code == INTERRUPTED:
            self.scheduler.outcome.stopped = True
            self.scheduler.stopped(unit, requeue=False)
            return
        self.scheduler.failed(unit, line.removeprefix("Error: ") or f"exit code {code}")
        if self.fail_fast:
            raise KeyboardInterrupt


def gpus_per_task(request: SweepRequest) -> float:
    """Fraction of a GPU per task, in (0, 1]; 0 for slots on the CPU."""
    gpus = {slot.gpu for slot in request.slots}
    return 0 if None in gpus else len(gpus) / len(request.slots)


def carry_out(words: list[str], record: str, log: str, data: str) -> tuple[int, str | None, str]:
    """Run a `bench` command on a node; retry if the process dies.

    Args:
        words: arguments of `bench`.
        record: path of the record that the run writes.
        log: path of the run's log.
        data: folder of the datasets, used unless LTBENCH_DATA is set on the node.

    Returns:
        The exit code, the text of the record (None if there is none), and the last line of the log.
    """
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = {"OMP_NUM_THREADS": "1", "LTBENCH_DATA": data} | dict(os.environ) | {"COLUMNS": "100"}
    for _ in range(RETRIES + 1):
        with path.open("a") as file:
            print(f"$ bench {shlex.join(words)}", file=file, flush=True)
            done = subprocess.run(
                [sys.executable, "-m", "ltbench.bench", *words], stdout=file, stderr=file, stdin=subprocess.DEVNULL,
                env=environment, preexec_fn=die_with_parent, check=False,
            )  # fmt: skip
        if 0 <= done.returncode <= INTERRUPTED:  # it exited by itself
            break
    text = Path(record).read_text("utf-8") if Path(record).exists() else None
    return done.returncode, text, last_line(path)


def _absolute(word: str) -> str:
    """Make the path of a user's file or folder absolute, so that it is valid in any task; keep other words."""
    name, colon, folder = word.partition(":")
    if name == "folder" and colon:
        return f"folder:{Path(folder).resolve()}"
    return str(Path(word).resolve()) if word.endswith((".py", ".toml")) and Path(word).exists() else word
