"""Steps on a GPU, recorded as one CUDA graph and replayed, so that the host launches one thing and not hundreds.

A graph is recorded once for each phase of a method: as long as whatever a step asks about the moment has the same
answers (`guards.py`). The first steps of a phase and a last batch of another size are taken plainly, and compute the
same. A graph is checked before it is used: its first step is taken twice, plainly and replayed, from the same state.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..data.augment import Parameters
from ..method import Batch, Now
from ..network import Classifier
from .active_stage import ActiveStage
from .guards import Conditions, GuardedNow

WARM_UP = 3  # steps before a phase is recorded, in which libraries choose their algorithms and allocate their memory
TOLERANCE = 0.1  # of what a step changes: sums on a GPU have no fixed order, while a wrong graph differs by all of it
SINCE = (2, 11)  # version of torch from which a recording that fails leaves nothing behind

Step = Callable[[ActiveStage, Batch, Now], Tensor]


class Recording(Protocol):
    """A step that was recorded."""

    def replay(self) -> Tensor:
        """Take the step with what its input tensors contain now; the loss."""


Recorder = Callable[[Callable[[], Tensor], Sequence[torch.Generator]], Recording]


class CudaGraph:
    """A step as a CUDA graph.

    Args:
        work: the step; it is recorded, not executed.
        generators: of random numbers that it draws, besides torch's own.
    """

    def __init__(self, work: Callable[[], Tensor], generators: Sequence[torch.Generator]) -> None:
        self.graph = torch.cuda.CUDAGraph()
        for random in generators:
            self.graph.register_generator_state(random)
        with torch.cuda.graph(self.graph):
            self.loss = work()

    def replay(self) -> Tensor:
        """See `Recording`."""
        self.graph.replay()
        return self.loss


class StepTaker(Protocol):
    """Takes the steps of a stage in another way than one by one."""

    def begin_epoch(self, now: Now) -> None:
        """An epoch begins; the method's `begin_epoch` has been called."""

    def step(self, index: Tensor, parameters: Parameters) -> Tensor:
        """One step on the images at `index` (B,) with the parameters of B images; the loss, without gradient."""


MakeStepTaker = Callable[[ActiveStage, Step], StepTaker | None]


def record_steps(active: ActiveStage, step: Step) -> StepTaker | None:
    """What records the steps of a stage; None where steps are taken one by one: on a CPU, or if the recipe is plain."""
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if active.split.labels.device.type != "cuda" or active.spec.recipe.plain or version < SINCE:
        return None
    return RecordedSteps(active, step, CudaGraph)


class RecordedSteps:
    """Takes the steps of a stage: the first ones of a phase plainly, the others by replaying a recording.

    Args:
        active: the stage. The learning rates of its optimiser become tensors, which a recording reads.
        step: takes a plain step.
        recorder: records a step.
    """

    def __init__(self, active: ActiveStage, step: Step, recorder: Recorder) -> None:
        self.active, self.plain_step, self.device = active, step, active.split.labels.device
        self.recorder: Recorder | None = recorder
        self.recording: Recording | None = None
        self.conditions, self.surroundings = Conditions(), self._surroundings()
        self.warm = 0  # steps of the phase that were taken before it is recorded
        optimiser = active.optimiser
        for group in optimiser.param_groups:
            group["lr"] = torch.tensor(float(group["lr"]), device=self.device)
        if self.device.type == "cuda":
            self.side_stream = torch.cuda.Stream(self.device)
            optimiser._warned_capturable_if_run_uncaptured = True
            for group in optimiser.param_groups:
                if "capturable" in group:  # Adam refuses to be recorded otherwise
                    group["capturable"] = True

    def begin_epoch(self, now: Now) -> None:
        """See `StepTaker`; a recording that does not hold at this moment is dropped."""
        self.now = now
        holds = self.conditions.hold_at(now) and self.surroundings == self._surroundings()
        if self.recording is None or not holds:
            self.recording, self.warm = None, 0

    def step(self, index: Tensor, parameters: Parameters) -> Tensor:
        """See `StepTaker`."""
        if self.recorder is None or len(index) != self.active.spec.recipe.batch_size:
            return self._take(index, parameters, self.now)
        if self.recording is None:
            self.warm += 1
            if self.warm <= WARM_UP:
                return self._take_aside(index, parameters, self.now)
            return self._record(self.recorder, index, parameters)
        for slot, value in zip((self.index, *self.parameters), (index, *parameters), strict=True):
            slot.copy_(value)
        return self.recording.replay()

    def _take(self, index: Tensor, parameters: Parameters, now: Now) -> Tensor:
        return self.plain_step(self.active, self.active.batch(index, parameters), now)

    def _take_aside(self, index: Tensor, parameters: Parameters, now: Now) -> Tensor:
        """A plain step on a stream of its own: its tensors must not tie the recording to the default stream."""
        if self.device.type != "cuda":
            return self._take(index, parameters, now)
        usual = torch.cuda.current_stream(self.device)
        self.side_stream.wait_stream(usual)
        with torch.cuda.stream(self.side_stream):
            loss = self._take(index, parameters, now)
        usual.wait_stream(self.side_stream)
        return loss

    def _surroundings(self) -> list[object]:
        """What a step may read besides `now` and the contents of tensors; a recording keeps it as it was."""
        attributes = [_identity(value) for _, value in sorted(vars(self.active.spec.method).items())]
        net = self.active.net
        tensors = [(tensor.data_ptr(), tensor.requires_grad) for tensor in (*net.parameters(), *net.buffers())]
        return [attributes, tensors, [module.training for module in net.modules()]]

    def _record(self, recorder: Recorder, index: Tensor, parameters: Parameters) -> Tensor:
        """Take a step plainly, undo it, record it and replay it; if both changed the same, keep the recording."""
        self.index, self.parameters = index.clone(), Parameters(*(part.clone() for part in parameters))
        self.conditions, self.surroundings = Conditions(), self._surroundings()
        now, problem = GuardedNow(self.now, self.conditions), ""
        state = StepState(self.active.net, self.active.optimiser, self.now.generator)
        before = state.copy()
        try:
            with no_waiting(self.device):  # a step that waits for the device cannot be recorded
                plain = self._take_aside(self.index, self.parameters, now)
            expected = [plain, *state.copy().tensors]
            state.restore(before)
            recording = recorder(lambda: self._take(self.index, self.parameters, now), [self.now.generator])
            loss = recording.replay()
            if not _close([loss, *state.compared], expected, [torch.zeros_like(loss), *before.tensors]):
                problem = "a recorded step does not compute what a plain one does"
        except Exception as error:  # whatever cannot be recorded can be taken plainly
            problem = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        if problem:
            self.recorder = None
            name = type(self.active.spec.method).__name__
            warnings.warn(f"{name}'s steps are taken one by one, not as a recorded graph ({problem}).", stacklevel=2)
            state.restore(before)
            return self._take(index, parameters, self.now)
        self.recording = recording
        return loss


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Within the block, an operation that makes the host wait for the device is an error."""
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
    """Something that stays equal as long as a step reads the same: a tensor's address, a plain value, or the object."""
    if isinstance(value, Tensor):
        return value.data_ptr()
    return value if isinstance(value, (bool, int, float, str, type(None))) else id(value)


@dataclass(frozen=True)
class StateCopy:
    """Copies of what a step changes."""

    tensors: list[Tensor]
    random: list[Tensor]


class StepState:
    """All that a step changes: weights, buffers, the optimiser's tensors, the states of random generators.

    Attributes:
        compared: tensors that a recorded step must change as a plain one does. Counters are not among them: a decision
            close to its threshold may fall either way.
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
        """A copy of everything."""
        return StateCopy([tensor.clone() for tensor in self.tensors], [random.get_state() for random in self.random])

    def restore(self, copy: StateCopy) -> None:
        """Bring everything back to what it was when it was copied."""
        for tensor, value in zip(self.tensors, copy.tensors, strict=True):
            tensor.copy_(value)
        for random, state in zip(self.random, copy.random, strict=True):
            random.set_state(state)


def _close(first: Sequence[Tensor], second: Sequence[Tensor], before: Sequence[Tensor]) -> bool:
    """Whether two steps from one state changed it alike, as far as float32 tells."""
    for a, b, start in zip(first, second, before, strict=False):  # the last ones of `second` are counters
        if not a.is_floating_point() or not a.numel():
            continue
        change = (a - start).abs().max()
        if not bool((a - b).abs().max() <= TOLERANCE * change + 1e-6 * (1e-6 + a.abs().max())):
            return False
    return True
