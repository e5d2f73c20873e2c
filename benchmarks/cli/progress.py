"""What is seen of a run while it trains: one rich line on a terminal, a plain line every so often elsewhere."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..training.callbacks import Callback
from ..training.history import History
from ..training.run_spec import RunSpec
from ..utils.formatting import clock

EVERY = float(os.environ.get("LTBENCH_EVERY", 15))  # seconds between plain lines; a sweep, which shows them, wants more


class ProgressLine(Callback):
    """Dataset, method, seed, epoch, loss, images per second and time left. Nothing in here waits for the device.

    While it is entered, Ctrl-C lets the epoch of a run in training finish; a second one interrupts at once.

    Args:
        console: where to draw; a plain line is printed instead where it is no terminal.
    """

    def __init__(self, console: Console) -> None:
        self.run: RunSpec | None = None
        self.console = console
        self.training = self.stopping = False
        self.live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._line)

    def __enter__(self) -> ProgressLine:
        if self.console.is_terminal:
            self.live.start()
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self.before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.stopping or not self.training:
            raise KeyboardInterrupt
        self.stopping = True
        self.say("Stopping after this epoch. Ctrl-C again stops at once and loses the epoch.")

    def start(self, spec: RunSpec, epochs: int, done: int) -> None:
        """Begin a run; `done` of its epochs lie behind it."""
        self.run, self.epochs, self.done = spec, epochs, done
        self.training = True
        self.images, self.loss = 0, float("nan")
        self.begun = self.said = time.perf_counter()
        if done and not self.console.is_terminal:
            needs = spec.method.needs(spec.recipe.epochs)
            shared = done == needs.prefix
            how = f"starts from epoch {done} of {needs.prefix_of}" if shared else f"resumes after epoch {done}/{epochs}"
            self.say(f"{self._who()} | {how}")

    def step(self, images: int) -> None:
        """Count images."""
        self.images += images
        if not self.console.is_terminal and time.perf_counter() - self.said > EVERY:
            self.said = time.perf_counter()
            self.say(self._line().plain)

    def epoch(self, history: History) -> None:
        """Note the loss of the epoch that ended and was saved; say when the run is through.

        Raises:
            KeyboardInterrupt: the user has asked for it.
        """
        self.done, self.loss = history.epochs, history.losses[-1]
        if self.done == self.epochs:
            self.training = False
            seconds, rate = history.seconds, history.images_per_second
            self.say(
                f"{self._who()} | {self.epochs} epochs in {clock(seconds)} | loss {self.loss:.3f} | {rate:,.0f} img/s"
            )
        if self.stopping:
            raise KeyboardInterrupt

    def say(self, text: str) -> None:
        """Print a line above the progress line."""
        self.console.print(text, style="dim", highlight=False, soft_wrap=True)

    def _who(self) -> str:
        assert self.run is not None
        return f"{self.run.facts.dataset.label} | {self.run.name} | seed {self.run.seed}"

    def _line(self) -> Text:
        if self.run is None:
            return Text("loading")
        elapsed = max(time.perf_counter() - self.begun, 1e-9)
        whole = len(self.run.dataset.train) * self.epochs
        behind = len(self.run.dataset.train) * self.done
        left = (whole - behind) * elapsed / self.images if self.images else float("nan")
        loss = f"{self.loss:.3f}" if self.loss == self.loss else "-"
        words = [
            f"epoch {min(self.done + 1, self.epochs)}/{self.epochs}",
            f"loss {loss}",
            f"{self.images / elapsed:,.0f} img/s",
            f"{clock(left)} left" if left == left else "",
        ]
        words.insert(0 if self.console.width >= 90 else len(words), self._who())  # a narrow terminal cuts the end off
        return Text(" | ".join(word for word in words if word), no_wrap=True, overflow="ellipsis")
