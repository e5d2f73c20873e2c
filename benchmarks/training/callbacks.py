"""The interface through which others follow a run."""

from __future__ import annotations

from .history import History
from .run_spec import RunSpec


class Callback:
    """Is called while a run trains; does nothing by itself. The progress line is one."""

    def start(self, spec: RunSpec, epochs: int, done: int) -> None:
        """A run of `epochs` epochs over all stages begins, or resumes after `done` of them."""

    def step(self, images: int) -> None:
        """A step on so many images was taken; must not wait for the device."""

    def epoch(self, history: History) -> None:
        """An epoch ended and was saved."""
