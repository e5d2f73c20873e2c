"""What a training step costs in arithmetic, launches and memory, counted without a clock, a GPU or any computation.

The step runs on fake tensors, which have shapes and no values: whatever would wait for the device to read one back
(`.item()`, boolean indexing, `nonzero`) fails by name. The counts are the same on every machine, but for the casts of
an attack that follows the machine's bfloat16.
"""

from __future__ import annotations

import copy
import dataclasses
import weakref
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ..data.augment import make_augment
from ..data.loader import draw, generator
from ..errors import UserError
from ..method import Batch, Now, Stage
from ..network import Classifier
from ..training.loop import frozen_but, make_optimiser
from ..training.run_spec import RunSpec, build_network
from ..training.step import step
from ..training.trainer import attach_source


@dataclass(frozen=True)
class Counts:
    """One step of a method.

    Attributes:
        flops: of its matrix products and convolutions.
        forward: of one forward pass of the plain network over the drawn images.
        operations: tensor operations that do work; views are none.
        peak_bytes: most memory of tensors at once: weights, optimiser, activations; the training images apart.
    """

    flops: int
    forward: int
    operations: int
    peak_bytes: int

    @property
    def passes(self) -> float:
        """Arithmetic in forward passes over the drawn images: 3 for ERM, whose backward pass is worth two."""
        return self.flops / self.forward


@dataclass
class Ready:
    """A run brought to one of its epochs without training: what a step needs.

    Attributes:
        run: what would be trained.
        net: with initial weights, on its device.
        stage: of the epoch.
        now: the epoch.
        index: positions of one batch in the training split, drawn as the method does.
    """

    run: RunSpec
    net: Classifier
    stage: Stage
    now: Now
    index: Tensor


def make_ready(run: RunSpec, progress: float, device: torch.device) -> Ready:
    """Bring a run to the epoch at a share of its last stage, `progress` in [0, 1]; nothing is trained.

    A network that the method needs (`needs().network`) has initial weights.
    """
    split = run.dataset.train.to(device)
    net = build_network(run)
    attach_source(run, net)
    net = net.to(device)
    stages = run.method.stages(run.recipe.epochs)
    stage = stages[0] if progress == 0 else stages[-1]
    for each in stages[: stages.index(stage) + 1]:
        run.method.begin_stage(each, net, split)
    net.to(device)
    epoch = min(int(progress * stage.epochs), stage.epochs - 1)
    augment = make_augment(split.images, run.recipe)
    fresh = partial(augment.fresh, random=generator(run.seed, "fresh"))
    now = Now(stage.name, epoch, stage.epochs, generator(run.seed, "method", device=device), fresh)
    run.method.begin_epoch(net, split, now)
    index = draw(split, run.method.sampling(split.counts, now), generator(run.seed, "draw"))
    return Ready(run, net, stage, now, index[: run.recipe.batch_size].to(device))


def count_step(run: RunSpec, progress: float) -> Counts:
    """What a step of a method costs at a share of its last stage; see `make_ready`.

    Raises:
        UserError: the step reads a value back from the device, or needs values for another reason.
    """
    ready = make_ready(run, progress, torch.device("cpu"))
    size, shape = len(ready.index), run.dataset.train.images.shape[1:]
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with FakeCopyMode(mode):
        net, plain = copy.deepcopy(ready.net), copy.deepcopy(build_network(run))
    with mode, frozen_but(net, ready.stage.trained):
        optimiser = make_optimiser(net, run.recipe, ready.stage.slower)
        layout = torch.channels_last if run.recipe.channels_last else torch.contiguous_format
        images = torch.empty(size, *shape).contiguous(memory_format=layout)
        batch = Batch(images, torch.empty(size, dtype=torch.int64))
        with Tally() as forward, torch.no_grad():
            plain(images)
        del plain
        with Tally([net.state_dict(), optimiser.state_dict(), images]) as tally:
            _step(run, net, batch, optimiser, ready.now)
    return Counts(tally.flops, forward.flops, tally.operations, tally.peak)


def _step(run: RunSpec, net: Classifier, batch: Batch, optimiser: torch.optim.Optimizer, now: Now) -> None:
    """One step on fake tensors, whose `fresh` images are any."""
    fresh = dataclasses.replace(now, fresh=lambda index: torch.empty(len(index), *batch.images.shape[1:]))
    try:
        step(run.method, net, batch, optimiser, run.recipe, fresh)
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise UserError(
            f"A step of {run.name} reads a value back from the device ({error}), as .item(), boolean indexing and "
            "nonzero do; a GPU would wait for it at every step. Write it with masks of a fixed shape."
        ) from error


_IDLE = (torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.empty_strided)  # memory, no work


class Tally(TorchDispatchMode):
    """Counts operations and their arithmetic, and the bytes of storages from their first appearance to their end.

    Attributes:
        flops: of matrix products and convolutions.
        operations: that do work; views are none.
        peak: most bytes at once.
    """

    def __init__(self, held: Any = ()) -> None:
        super().__init__()
        self.flops = self.operations = self.bytes = self.peak = 0
        self.known: set[int] = set()
        self._hold(held)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations += func.namespace == "aten" and not func.is_view and func.overloadpacket not in _IDLE
        formula = flop_registry.get(func.overloadpacket)
        self.flops += formula(*args, **(kwargs or {}), out_val=out) if formula else 0
        self._hold(out)
        return out

    def _hold(self, values: Any) -> None:
        for value in tree_leaves(values):
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.known:
                    self.known.add(key)
                    self.bytes += size
                    self.peak = max(self.peak, self.bytes)
                    weakref.finalize(storage, self._release, key, size).atexit = False

    def _release(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.bytes -= size
