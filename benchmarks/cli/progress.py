"""Progress of a run: one live line on a terminal; elsewhere, a new line every few seconds."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..errors import printable
from ..training.callbacks import Callback
from ..training.history import History
from ..training.run_spec import RunSpec
from ..training.shared_start import shared_trainings
from ..utils.formatting import counted, duration

INTERVAL = float(os.environ.get("LTBENCH_EVERY", 15))  # seconds between plain lines; a sweep sets a shorter interval


class ProgressLine(Callback):
    """Shows dataset, method, seed, epoch, loss, images per second and time left. Never waits for the device.

    Within the context, the first Ctrl-C lets a training run finish its epoch; the second interrupts at once.

    Args:
        console: console to draw on; if it is not a terminal, plain lines are printed.
    """

    def __init__(self, console: Console) -> None:
        self.run: RunSpec | None = None
        self.counted: int | None = None  # images whose features have been computed; None during training
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

    def features(self, spec: RunSpec, done: int, total: int) -> None:
        """Show the progress of the computation of features."""
        if self.counted is None or done <= self.counted:  # another split
            self.begun = self.printed = time.perf_counter()
            self.first = done  # the first batch includes the time to start
        self.run, self.counted, self.count = spec, done, total
        if not self.console.is_terminal and (time.perf_counter() - self.printed > INTERVAL):
            self.printed = time.perf_counter()
            self.say(self._line().plain)
        if done == total:
            self.say(f"{self._label()} | features of {total:,} images")

    def start(self, spec: RunSpec, epochs: int, done: int) -> None:
        """Start the line for a run of `epochs` epochs, `done` of which have already been trained."""
        self.run, self.epochs, self.done, self.counted = spec, epochs, done, None
        self.training = True
        self.images, self.loss = 0, float("nan")
        self.begun = self.printed = time.perf_counter()
        if done and not self.console.is_terminal:
            shared = [each for each in shared_trainings(spec) if each.use == "prefix" and each.epochs == done]
            how = f"continues {_name(shared[0].spec)}" if shared else "resumes"
            self.say(f"{self._label()} | {how} after epoch {done}/{epochs}")

    def step(self, images: int) -> None:
        """Add the images of a step to the count."""
        self.images += images
        if not self.console.is_terminal and time.perf_counter() - self.printed > INTERVAL:
            self.printed = time.perf_counter()
            self.say(self._line().plain)

    def epoch(self, history: History) -> None:
        """Update the loss after an epoch has been saved; print a summary after the last epoch.

        Raises:
            KeyboardInterrupt: the user has asked to stop.
        """
        self.done, self.loss = history.epochs, history.losses[-1]
        if self.done == self.epochs:
            self.training = False
            time_taken, rate = duration(history.seconds), history.images_per_second
            how_long = f"{counted(self.epochs, 'epoch')} in {time_taken}"
            self.say(f"{self._label()} | {how_long} | loss {self.loss:.3f} | {rate:,.0f} img/s")
        if self.stopping:
            raise KeyboardInterrupt

    def say(self, text: str) -> None:
        """Print a line above the progress line."""
        self.console.print(Text(printable(text), "dim"), soft_wrap=True)

    def _label(self) -> str:
        assert self.run is not None
        return printable(f"{self.run.facts.dataset.label} | {self.run.name} | seed {self.run.seed}")

    def _line(self) -> Text:
        if self.run is None:
            return Text("loading")
        elapsed = max(time.perf_counter() - self.begun, 1e-9)
        if self.counted is not None:
            return self._features_line(self.counted, elapsed)
        left = len(self.run.dataset.train) * (self.epochs - self.done)
        words = [
            f"epoch {min(self.done + 1, self.epochs)}/{self.epochs}",
            f"loss {self.loss:.3f}" if self.loss == self.loss else "loss -",
            f"{self.images / elapsed:,.0f} img/s",
        ]
        if self.images:
            words.append(f"{duration(left * elapsed / self.images)} left")
        words.insert(0 if self.console.width >= 90 else len(words), self._label())  # a narrow terminal cuts off the end
        return Text(" | ".join(words), no_wrap=True, overflow="ellipsis")

    def _features_line(self, done: int, elapsed: float) -> Text:
        """Progress of the computation of features, `elapsed` seconds after its first batch."""
        words = [self._label(), f"features of {done:,}/{self.count:,} images"]
        if done > self.first:
            words.append(f"{duration((self.count - done) * elapsed / (done - self.first))} left")
        return Text(" | ".join(words), no_wrap=True, overflow="ellipsis")


def _name(spec: RunSpec) -> str:
    """Name of a run's method with its changed hyper-parameters, such as `LDAM-DRW defer=1.0`."""
    values = (f" {name}={value}" for name, value in spec.changed.items() if not name.startswith("recipe."))
    return printable(spec.name.upper() + "".join(values))
