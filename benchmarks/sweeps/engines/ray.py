"""The engine for many machines: Ray tasks that carry out one command each.

Ray starts a task again when its worker or its node is lost. A run then resumes from its checkpoint where the nodes
share the runs folder, and begins anew where they do not. Records come back to the driver, which writes them where they
are not there already, so that a shared results folder is possible, but not needed.
"""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import INTERRUPTED, UserError
from ...split import DataRoot
from ...utils.atomic_write import write_atomically
from ..queue import LOG, last_line, whole_command
from ..scheduler import RETRIES, Ledger, Outcome, Watch
from ..units import Unit
from ..workers import die_with_parent

if TYPE_CHECKING:
    from ..runner import Choices


def sweep_with_ray(units: Sequence[Unit], choices: Choices, watch: Watch) -> Outcome:
    """Run what is missing on a Ray cluster.

    Args:
        units: of a suite.
        choices: `address` is that of a cluster (`auto`: the one this machine belongs to); without one, a cluster of as
            many CPUs as there are slots is started on this machine. GPUs are shared as the slots share them.
        watch: told how it goes.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise UserError("--engine ray needs Ray: pip install 'ltbench[ray]'.") from error
    own = {"num_cpus": len(choices.slots), "include_dashboard": False} if choices.address is None else {}
    try:
        ray.init(address=choices.address, log_to_driver=False, logging_level="error", ignore_reinit_error=True, **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"No Ray cluster at {choices.address or 'this machine'}: {error}.") from error
    try:
        return _Driver(ray, units, choices, watch).go()
    finally:
        ray.shutdown()


class _Driver:
    def __init__(self, ray: Any, units: Sequence[Unit], choices: Choices, watch: Watch) -> None:
        self.ray, self.fail_fast = ray, choices.fail_fast
        self.results, self.runs = choices.results.resolve(), choices.runs.resolve()
        self.ledger = Ledger(units, self.results, self.runs, watch)
        devices = {slot.environment.get("CUDA_VISIBLE_DEVICES", "") for slot in choices.slots}
        share = len(devices) / len(choices.slots) if devices != {""} else 0
        self.device = "cuda" if share else "cpu"
        self.task = ray.remote(num_cpus=1, num_gpus=share, max_retries=RETRIES, retry_exceptions=False)(carry_out)
        self.pending: dict[Any, Unit] = {}
        self.begun: dict[str, float] = {}

    def go(self) -> Outcome:
        queue, watch = self.ledger.queue, self.ledger.watch
        try:
            while queue.waiting or self.pending:
                while unit := queue.take():
                    self.pending[self._submit(unit)] = unit
                    self.begun[unit.id] = time.monotonic()
                    watch.started(unit, "ray")
                if not self.pending:  # another sweep is at all that is left
                    time.sleep(1)
                ready, _ = self.ray.wait(list(self.pending), timeout=0.5) if self.pending else ([], [])
                watch.tick({unit.id: self.begun[unit.id] for unit in self.pending.values()})
                self.ledger.take_up()
                for reference in ready:
                    self._end(reference)
        except KeyboardInterrupt:
            self.ledger.outcome.stopped = True
        return self.ledger.outcome

    def _submit(self, unit: Unit) -> Any:
        words = [*map(_absolute, whole_command(unit, self.results, self.runs)), "--device", self.device]
        data = str(DataRoot.find(None, False).path.resolve())
        return self.task.remote(words, str(self.results / unit.record), str(self.runs / unit.id / LOG), data)

    def _end(self, reference: Any) -> None:
        unit = self.pending.pop(reference)
        try:
            code, text, said = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            code, text, said = 1, None, f"lost {RETRIES + 1} times: {type(error).__name__}"
        path = self.results / unit.record
        if text is not None and not path.exists():
            write_atomically(path, text)
        if code == 0 and self.ledger.finished(unit):
            return
        if code == INTERRUPTED:
            self.ledger.outcome.stopped = True
            self.ledger.queue.ended(unit)
            self.ledger.watch.ended(unit, "stopped")
            return
        self.ledger.failed(unit, said.removeprefix("Error: ") or f"exit code {code}")
        if self.fail_fast:
            raise KeyboardInterrupt


def carry_out(words: list[str], record: str, log: str, data: str) -> tuple[int, str | None, str]:
    """On a node: run `bench` with some words, again if it dies: its exit code, the record's text, the log's end."""
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
        if 0 <= done.returncode <= INTERRUPTED:  # it ended by itself
            break
    text = Path(record).read_text("utf-8") if Path(record).exists() else None
    return done.returncode, text, last_line(path)


def _absolute(word: str) -> str:
    """Paths of a user's files, wherever the task will run."""
    name, colon, place = word.partition(":")
    if name == "folder" and colon:
        return f"folder:{Path(place).resolve()}"
    return str(Path(word).resolve()) if word.endswith((".py", ".toml")) and Path(word).exists() else word
