"""Steps of training; on a GPU recorded as one graph and replayed, so that the host launches one thing, not hundreds.

A graph is recorded once for each phase of a method: as long as what a step asks about the moment has the same answers
(`watched.py`). The first steps of a phase and a last batch of another size are taken without it, and compute the same.
A graph is tried before it is used: its first step is taken twice, recorded and plainly, from the same state.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from ..data.augment import Augment, Parameters
from ..data.loader import batch_of
from ..method import Method, Now
from ..network import Classifier
from ..recipe import Recipe
from ..split import Split
from .guards import Answers, WatchedNow
from .step import step

WARM = 3  # steps before a phase is recorded: libraries choose their algorithms and take their memory
CLOSE = 0.1  # of what a step changes; addition on a GPU has no fixed order, and a wrong graph is off by all of it
SINCE = (2, 11)  # version of torch from which a recording that fails is known to leave nothing behind

Work = Callable[[], Tensor]


class Recorded(Protocol):
    """A step that was recorded."""

    def replay(self) -> Tensor:
        """Carry it out on what now stands in the tensors it was recorded with; the loss."""


class CudaGraph:
    """A step as a CUDA graph.

    Args:
        work: the step; it is recorded, not carried out.
        generators: of random numbers that it draws, besides torch's own.
    """

    def __init__(self, work: Work, generators: Sequence[torch.Generator]) -> None:
        self.graph = torch.cuda.CUDAGraph()
        for random in generators:
            self.graph.register_generator_state(random)
        with torch.cuda.graph(self.graph):
            self.loss = work()

    def replay(self) -> Tensor:
        """See `Recorded`."""
        self.graph.replay()
        return self.loss


Recorder = Callable[[Work, Sequence[torch.Generator]], Recorded]


def recorder_for(device: torch.device, recipe: Recipe) -> Recorder | None:
    """What records a step on a device; None where steps are taken plainly."""
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return CudaGraph if device.type == "cuda" and not recipe.plain and version >= SINCE else None


class Steps:
    """Takes the steps of one stage.

    Args:
        method: the plugin.
        net: the network.
        split: the training split.
        augment: its augmentation.
        optimiser: over the network; where steps are recorded, its learning rates become tensors.
        recipe: all that is equal between methods.
    """

    def __init__(
        self,
        method: Method,
        net: Classifier,
        split: Split,
        augment: Augment,
        optimiser: torch.optim.Optimizer,
        recipe: Recipe,
    ) -> None:
        self.method, self.net, self.split, self.augment = method, net, split, augment
        self.optimiser, self.recipe, self.device = optimiser, recipe, split.labels.device
        self.record = recorder_for(self.device, recipe)
        self.recorded: Recorded | None = None
        self.answers, self.surroundings = Answers(), self._surroundings()
        self.taken = 0
        if self.record:
            self.aside = torch.cuda.Stream(self.device)
            optimiser._warned_capturable_if_run_uncaptured = True
            for group in optimiser.param_groups:
                group["lr"] = torch.tensor(float(group["lr"]), device=self.device)
                if "capturable" in group:  # Adam refuses to be recorded otherwise
                    group["capturable"] = True

    def begin(self, now: Now, rate: float) -> None:
        """An epoch begins, after the method's `begin_epoch`: its moment, its learning rate.

        Args:
            now: the moment.
            rate: of groups without a factor of their own.
        """
        self.now = now
        for group in self.optimiser.param_groups:
            own = group.get("factor", 1.0) * rate
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(own)
            else:
                group["lr"] = own
        same = self.answers.hold(now) and self.surroundings == self._surroundings()
        if self.recorded is None or not same:
            self.recorded, self.taken = None, 0

    def __call__(self, index: Tensor, parameters: Parameters) -> Tensor:
        """One step on the images at `index` (B,) with the parameters of B images; the loss, without gradient."""
        if self.record is None or len(index) != self.recipe.batch_size:
            return self._plainly(index, parameters, self.now)
        if self.recorded is None:
            self.taken += 1
            return self._warm(index, parameters, self.now) if self.taken <= WARM else self._first(index, parameters)
        for held, new in zip((self.index, *self.parameters), (index, *parameters), strict=True):
            held.copy_(new)
        return self.recorded.replay()

    def _plainly(self, index: Tensor, parameters: Parameters, now: Now) -> Tensor:
        batch = batch_of(self.split, self.augment, index, parameters)
        return step(self.method, self.net, batch, self.optimiser, self.recipe, now)

    def _surroundings(self) -> list[object]:
        """What a step may read besides `now` and the contents of tensors; a graph keeps it as it was."""
        own = [_frozen(value) for _, value in sorted(vars(self.method).items())]
        held = [(tensor.data_ptr(), tensor.requires_grad) for tensor in (*self.net.parameters(), *self.net.buffers())]
        return [own, held, [module.training for module in self.net.modules()]]

    def _warm(self, index: Tensor, parameters: Parameters, now: Now) -> Tensor:
        """A plain step on a stream of its own: what it leaves must not tie the recording to the default stream."""
        if self.device.type != "cuda":
            return self._plainly(index, parameters, now)
        usual = torch.cuda.current_stream(self.device)
        self.aside.wait_stream(usual)
        with torch.cuda.stream(self.aside):
            loss = self._plainly(index, parameters, now)
        usual.wait_stream(self.aside)
        return loss

    def _first(self, index: Tensor, parameters: Parameters) -> Tensor:
        """Take the step plainly, take it back, record it, and take it as recorded: both must change as much."""
        assert self.record is not None
        self.index, self.parameters = index.clone(), Parameters(*(part.clone() for part in parameters))
        self.answers, self.surroundings = Answers(), self._surroundings()
        watched, why = WatchedNow(self.now, self.answers), ""
        state = _State(self.net, self.optimiser, self.now.generator)
        before = state.copies()
        try:
            with no_waiting(self.device):  # a step that waits for the host cannot be recorded
                plain = self._warm(self.index, self.parameters, watched)
            expected = [plain, *state.copies().tensors]
            state.restore(before)
            recorded = self.record(lambda: self._plainly(self.index, self.parameters, watched), [self.now.generator])
            loss = recorded.replay()
            if not _close([loss, *state.judged], expected, [torch.zeros_like(loss), *before.tensors]):
                why = "a recorded step does not compute what a plain one does"
        except Exception as error:  # whatever cannot be recorded can be taken plainly
            why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        if why:
            self.record = None
            self._say(why)
            state.restore(before)
            return self._plainly(index, parameters, self.now)
        self.recorded = recorded
        return loss

    def _say(self, why: str) -> None:
        name = type(self.method).__name__
        warnings.warn(f"{name}'s steps are taken one by one, not as a recorded graph ({why}).", stacklevel=2)


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Within the block, an operation that makes the host wait for a GPU is an error."""
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


def _frozen(value: object) -> object:
    """Something equal as long as a step would find the same: a tensor's place, a plain value, else the object."""
    if isinstance(value, Tensor):
        return value.data_ptr()
    return value if isinstance(value, (bool, int, float, str, type(None))) else id(value)


@dataclasses.dataclass(frozen=True)
class Copies:
    """What training changes, set aside."""

    tensors: list[Tensor]
    random: list[Tensor]


class _State:
    """All that a step changes: weights, buffers, the optimiser's tensors, the places of random generators."""

    def __init__(self, net: Classifier, optimiser: torch.optim.Optimizer, random: torch.Generator) -> None:
        held = [v for values in optimiser.state.values() for v in values.values() if isinstance(v, Tensor)]
        saved = net.state_dict()
        counters = [buffer for name, buffer in net.named_buffers() if name not in saved]
        self.judged = [*saved.values(), *held]  # not counters: a decision on the brink of a threshold falls either way
        self.tensors = [*self.judged, *counters]
        cuda = random.device.type == "cuda"
        own = torch.cuda.default_generators[random.device.index or 0] if cuda else torch.default_generator
        self.random = [random, own]

    def copies(self) -> Copies:
        """Everything, set aside."""
        return Copies([tensor.clone() for tensor in self.tensors], [random.get_state() for random in self.random])

    def restore(self, copies: Copies) -> None:
        """Bring everything back."""
        for tensor, copy in zip(self.tensors, copies.tensors, strict=True):
            tensor.copy_(copy)
        for random, place in zip(self.random, copies.random, strict=True):
            random.set_state(place)


def _close(one: Sequence[Tensor], other: Sequence[Tensor], before: Sequence[Tensor]) -> bool:
    """Whether two steps from one state changed it alike, as far as float32 tells."""
    for a, b, start in zip(one, other, before, strict=False):  # the last ones of `other` are counters
        if not a.is_floating_point() or not a.numel():
            continue
        change = (a - start).abs().max()
        if not bool((a - b).abs().max() <= CLOSE * change + 1e-6 * (1e-6 + a.abs().max())):
            return False
    return True
