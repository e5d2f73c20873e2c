"""Engines, which run the units of a sweep. An engine is a class in its own file, registered in ENGINES."""

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
SCRIPTS = {"sbatch": "slurm"}  # script format for `--emit` -> engine that writes it


class Engine(Protocol):
    """Interface of an engine, which runs units. It is created first, so that it starts while the suite is read."""

    def __init__(self, request: SweepRequest) -> None:
        """Prepare for a sweep.

        Raises:
            UserError: the engine cannot run on this machine.
        """

    def run(self, units: Sequence[Unit]) -> Outcome | None:
        """Run the units that have no record.

        Returns:
            The outcome of all units; None if they were submitted and run later.

        Raises:
            UserError: the engine cannot run on this machine.
        """


def create_engine(name: str, request: SweepRequest) -> Engine:
    """Import and create the engine registered under `name` in ENGINES."""
    module, _, cls = ENGINES[name].partition(":")
    engine: Engine = getattr(importlib.import_module(module), cls)(request)
    return engine
