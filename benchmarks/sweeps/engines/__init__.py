"""Engines: where the units of a sweep run. An engine is a class in a file of its own and a line in ENGINES."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..request import SweepRequest

if TYPE_CHECKING:
    from ..scheduler import Outcome
    from ..units import Unit

ENGINES = {
    "local": f"{__name__}.local:LocalEngine",
    "ray": f"{__name__}.ray:RayEngine",
    "slurm": f"{__name__}.slurm:SlurmEngine",
}
SCRIPTS = {"sbatch": "slurm"}  # kinds of scripts for `--emit`, and the engine that writes them


class Engine(Protocol):
    """Runs units somewhere. It is created before the suite is read, so that it can prepare what it needs meanwhile."""

    def __init__(self, request: SweepRequest) -> None:
        """Prepare for a sweep.

        Raises:
            UserError: the engine cannot run here.
        """

    def run(self, units: Sequence[Unit]) -> Outcome | None:
        """Run the units of a suite that have no record.

        Returns:
            What has become of all of them; None if they were submitted and run later.

        Raises:
            UserError: the engine cannot run here.
        """


def create_engine(name: str, request: SweepRequest) -> Engine:
    """The engine of that name in ENGINES; its module is imported now."""
    module, _, cls = ENGINES[name].partition(":")
    engine: Engine = getattr(importlib.import_module(module), cls)(request)
    return engine
