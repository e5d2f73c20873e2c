"""Training steps recorded as a CUDA graph and replayed: one launch per step instead of hundreds.

A graph is recorded once per phase of a method: it stays valid while every comparison that the step makes with epoch or
progress has the same result (`guards.py`). The first steps of a phase, and a last batch of a different size, run
eagerly. A graph is verified before use: its first step runs twice from the same state, eagerly and replayed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..data.loader import Picked
from ..method import Batch, Now
from ..network import Classifier
from .active_stage import ActiveStage
from .guards import Conditions, GuardedNow

WARM_UP = 3  # eager steps before recording, in which libraries choose algorithms and allocate memory
TOLERANCE = 0.1  # as a fraction of the step's change: GPU sums have no fixed order; a wrong graph is off by about 1
SINCE = (2, 11)  # first version of torch in which a failed recording leaves no state behind

Step = Callable[[ActiveStage, Batch, Now], Tensor]


class Recording(Protocol):
    """A recorded training step."""

    def replay(self) -> Tensor:
        """Execute the recorded step on the current contents of its input tensors; return the loss, a scalar."""


Recorder = Callable[[Callable[[], Tensor], Sequence[torch.Generator]], Recording]


class CudaGraph:
    """A training step recorded as a CUDA graph.

    Args:
        work: function that takes the step and returns the loss; its GPU operations are recorded, not executed.
        generators: random generators that the step uses besides torch's default one.
    """

    def __init__(self, work: Callable[[], Tensor], generators: Sequence[torch.Generator]) -> None:
        self.graph = torch.cuda.CUDAGraph()
        for random in generators:
            self.graph.register_generator_state(random)
        with torch.cuda.graph(self.graph):
            self.loss = work()

    def replay(self) -> Tensor:
        """Replay the graph; see `Recording`."""
        self.graph.replay()
        return self.loss


class StepTaker(Protocol):
    """Interface of an executor that replaces the eager steps of a stage, such as `RecordedSteps`."""

    def begin_epoch(self, now: Now) -> None:
        """Called at the start of an epoch, after the method's `begin_epoch`."""

    def step(self, picked: Picked) -> Tensor:
        """Take a step on the images of a batch; return the detached loss."""


MakeStepTaker = Callable[[ActiveStage, Step], StepTaker | None]


def record_steps(active: ActiveStage, step: Step) -> StepTaker | None:
    """Create the executor of a stage's steps.

    Returns:
        The executor; None if steps must run eagerly: on a CPU, with a plain recipe, or with a torch older than `SINCE`.
    """
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if active.split.labels.device.type != "cuda" or active.spec.recipe.plain or version < SINCE:
        return None
    return RecordedSteps(active, step, CudaGraph)


class RecordedSteps:
    """Executes the steps of a stage: the first ones of a phase eagerly, the others by replaying a recording.

    Args:
        active: stage in progress. The learning rates of its optimiser are converted to tensors, so that a recording
            reads their current values.
        step: function that takes a step eagerly.
        recorder: function that records a step.
    """

    def __init__(self, active: ActiveStage, step: Step, recorder: Recorder) -> None:
        self.active, self.plain_step, self.device = active, step, active.split.labels.device
        self.recorder: Recorder | None = recorder
        self.recording: Recording | None = None
        self.conditions, self.surroundings = Conditions(), self._surroundings()
        self.warm = 0  # eager warm-up steps taken in this phase
        optimiser = active.optimiser
        for group in optimiser.param_groups:
            group["lr"] = torch.tensor(float(group["lr"]), device=self.device)
        if self.device.type == "cuda":
            self.side_stream = torch.cuda.Stream(self.device)
            optimiser._warned_capturable_if_run_uncaptured = True
            for group in optimiser.param_groups:
                if "capturable" in group:  # required to record Adam
                    group["capturable"] = True

    def begin_epoch(self, now: Now) -> None:
        """Drop the recording if it is not valid in this epoch; see `StepTaker`."""
        self.now = now
        holds = self.conditions.hold_at(now) and self.surroundings == self._surroundings()
        if self.recording is None or not holds:
            self.recording, self.warm = None, 0

    def step(self, picked: Picked) -> Tensor:
        """Take a step: eagerly, by recording it, or by replaying the recording; see `StepTaker`."""
        if self.recorder is None or len(picked.index) != self.active.spec.recipe.batch_size:
            return self._take(picked, self.now)
        if self.recording is None:
            self.warm += 1
            if self.warm <= WARM_UP:
                return self._take_aside(picked, self.now)
            return self._record(self.recorder, picked)
        for slot, value in zip(self.picked.tensors, picked.tensors, strict=True):
            slot.copy_(value)
        return self.recording.replay()

    def _take(self, picked: Picked, now: Now) -> Tensor:
        return self.plain_step(self.active, self.active.batch(picked), now)

    def _take_aside(self, picked: Picked, now: Now) -> Tensor:
        """Take a step eagerly on a side stream: its tensors must not tie the recording to the default stream."""
        if self.device.type != "cuda":
            return self._take(picked, now)
        usual = torch.cuda.current_stream(self.device)
        self.side_stream.wait_stream(usual)
        with torch.cuda.stream(self.side_stream):
            loss = self._take(picked, now)
        usual.wait_stream(self.side_stream)
        return loss

    def _surroundings(self) -> list[object]:
        """State that a step may read besides `now` and tensor values; if it changes, the recording is invalid."""
        attributes = [_identity(value) for _, value in sorted(vars(self.active.spec.method).items())]
        net = self.active.net
        tensors = [(tensor.data_ptr(), tensor.requires_grad) for tensor in (*net.parameters(), *net.buffers())]
        return [attributes, tensors, [module.training for module in net.modules()]]

    def _record(self, recorder: Recorder, picked: Picked) -> Tensor:
        """Take a step eagerly, undo it, record and replay it; keep the recording if both had the same effect."""
        self.picked = picked.clone()
        self.conditions, self.surroundings = Conditions(), self._surroundings()
        now, problem = GuardedNow(self.now, self.conditions), ""
        state = StepState(self.active.net, self.active.optimiser, self.now.generator)
        before = state.copy()
        try:
            with no_waiting(self.device):  # a step that waits for the device cannot be recorded
                plain = self._take_aside(self.picked, now)
            expected = [plain, *state.copy().tensors]
            state.restore(before)
            recording = recorder(lambda: self._take(self.picked, now), [self.now.generator])
            loss = recording.replay()
            if not _close([loss, *state.compared], expected, [torch.zeros_like(loss), *before.tensors]):
                problem = "a replayed step differs from an eager one"
        except Exception as error:  # a step that cannot be recorded can still run eagerly
            problem = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        if problem:
            self.recorder = None
            name = type(self.active.spec.method).__name__
            warnings.warn(f"The steps of {name} run eagerly, not as a CUDA graph ({problem}).", stacklevel=2)
            state.restore(before)
            return self._take(picked, self.now)
        self.recording = recording
        return loss


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Within the block, raise an error if an operation makes the host wait for the device."""
    if device.type != "cuda":
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode")
        try:
            torch.cuda.set_sync_debug_mode("error")
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


def _identity(value: object) -> object:
    """A key that is equal while a step reads the same value: a tensor's address, a plain value or an object's id."""
    if isinstance(value, Tensor):
        return value.data_ptr()
    return value if isinstance(value, (bool, int, float, str, type(None))) else id(value)


@dataclass(frozen=True)
class StateCopy:
    """Copy of a `StepState`.

    Attributes:
        tensors: copies of its tensors.
        random: states of its random generators.
    """

    tensors: list[Tensor]
    random: list[Tensor]


class StepState:
    """Everything that a step changes: weights, buffers, optimiser state, states of random generators.

    Attributes:
        compared: tensors that a replayed step must change as an eager step does. Non-persistent buffers, which hold
            counters, are excluded: rounding may flip a decision close to its threshold.
    """

    def __init__(self, net: Classifier, optimiser: torch.optim.Optimizer, random: torch.Generator) -> None:
        moments = [v for values in optimiser.state.values() for v in values.values() if isinstance(v, Tensor)]
        saved = net.state_dict()
        counters = [buffer for name, buffer in net.named_buffers() if name not in saved]
        self.compared = [*saved.values(), *moments]
        self.tensors = [*self.compared, *counters]
        cuda = random.device.type == "cuda"
        own = torch.cuda.default_generators[random.device.index or 0] if cuda else torch.default_generator
        self.random = [random, own]

    def copy(self) -> StateCopy:
        """Copy all tensors and generator states."""
        return StateCopy([tensor.clone() for tensor in self.tensors], [random.get_state() for random in self.random])

    def restore(self, copy: StateCopy) -> None:
        """Restore all tensors and generator states from a copy."""
        for tensor, value in zip(self.tensors, copy.tensors, strict=True):
            tensor.copy_(value)
        for random, state in zip(self.random, copy.random, strict=True):
            random.set_state(state)


def _close(first: Sequence[Tensor], second: Sequence[Tensor], before: Sequence[Tensor]) -> bool:
    """Whether two steps from the same state had the same effect, within tolerance."""
    for a, b, start in zip(first, second, before, strict=False):  # the counters at the end of `second` are ignored
        if not a.is_floating_point() or not a.numel():
            continue
        change = (a - start).abs().max()
        if not bool((a - b).abs().max() <= TOLERANCE * change + 1e-6 * (1e-6 + a.abs().max())):
            return False
    return True
