"""Arithmetic, operations and memory of a training step, counted without computing anything and without a GPU.

The step runs on fake tensors, which have shapes but no values. Operations that would read a value back from the device
(`.item()`, boolean indexing, `nonzero`) raise an error that names them. The counts are equal on all machines.
"""

from __future__ import annotations

import copy
import dataclasses
import weakref
from dataclasses import dataclass
from typing import Any, cast

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
from torch.utils.flop_counter import conv_flop_count, flop_registry

from ..data.loader import Picked
from ..errors import UserError
from ..method import Batch, Now
from ..training.active_stage import ActiveStage, begin_stages, find_epoch
from ..training.feature_store import stand_in
from ..training.loop import step
from ..training.optimiser import make_optimiser
from ..training.run_spec import RunSpec, build_network
from ..training.shared_start import attach_source


@dataclass(frozen=True)
class Counts:
    """Cost of one training step of a method.

    Attributes:
        flops: floating-point operations of the step's matrix products and convolutions.
        forward: floating-point operations of one forward pass of the method's initial network over the drawn batch.
        operations: number of tensor operations, not counting views and allocations.
        peak_bytes: peak memory of all tensors, such as weights, optimiser state, gradients and activations, but without
            the training split.
    """

    flops: int
    forward: int
    operations: int
    peak_bytes: int

    @property
    def passes(self) -> float:
        """Arithmetic in units of a forward pass: about 3 for ERM, whose backward pass costs two."""
        return self.flops / self.forward


def bring_to(spec: RunSpec, progress: float, device: torch.device) -> tuple[ActiveStage, Now]:
    """Set up an untrained run for the epoch at a fraction `progress` of its length, in [0, 1].

    A network that the method requires (`needs().network`) has initial weights, too.
    """
    net = build_network(spec)
    attach_source(spec, net)
    number, epoch = find_epoch(spec, progress)
    train = spec.dataset.train.to(device)
    train = stand_in(train, cast(int, net.backbone.width)) if spec.recipe.cache else train
    active = begin_stages(spec, net.to(device), train, number)
    return active, active.begin_epoch(epoch)


def first_picked(active: ActiveStage, now: Now) -> Picked:
    """The images of the first batch of an epoch."""
    return next(iter(active.draw(now)))


def count_step(spec: RunSpec, progress: float) -> Counts:
    """Count the cost of a method's step at a fraction `progress` of its run; see `bring_to`.

    Raises:
        UserError: the step reads a value back from the device or has data-dependent shapes.
    """
    active, now = bring_to(spec, progress, torch.device("cpu"))
    picked, shape = first_picked(active, now), active.split.images.shape[1:]
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with FakeCopyMode(mode):
        net, plain = copy.deepcopy(active.net), copy.deepcopy(build_network(spec))
    with mode:
        optimiser = make_optimiser(net, spec.recipe, active.stage)
        channels_last = spec.recipe.channels_last and not spec.recipe.cache
        layout = torch.channels_last if channels_last else torch.contiguous_format
        batch = _empty_batch(picked, shape, layout)
        with Tally() as forward, torch.no_grad():
            plain(batch.images)
        del plain
        with Tally([net.state_dict(), optimiser.state_dict(), batch.images]) as tally:
            _fake_step(dataclasses.replace(active, net=net, optimiser=optimiser), batch, now)
    return Counts(tally.flops, forward.flops, tally.operations, tally.peak)


def _empty_batch(picked: Picked, shape: torch.Size, layout: torch.memory_format) -> Batch:
    """A batch with uninitialised images and labels.

    Args:
        picked: images of the batch, whose number is used but not their pixels.
        shape: shape of an image, (3, H, W), or of its features, (width,).
        layout: memory format.
    """
    size = len(picked.index)
    images = torch.empty(size, *shape).contiguous(memory_format=layout)
    further = tuple(_empty_batch(each, shape, layout) for each in picked.further)
    return Batch(images, torch.empty(size, dtype=torch.int64), further=further)


def _fake_step(active: ActiveStage, batch: Batch, now: Now) -> None:
    """Take one step on fake tensors; `fresh` returns uninitialised images."""
    now = dataclasses.replace(now, fresh=lambda index: torch.empty(len(index), *batch.images.shape[1:]))
    try:
        step(active, batch, now)
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise UserError(
            f"A step of {active.spec.name} reads a value back from the device ({error}), as .item(), boolean indexing "
            "and nonzero do. On a GPU, every step would wait for it. Use masks of a fixed shape instead."
        ) from error


def _convolution_backward(grad: Tensor, images: Tensor, weight: Tensor, *others: Any, out_val: Any = None) -> int:
    """Floating-point operations of a convolution's backward pass: those of the forward pass for each gradient needed.

    torch's own formula ignores that a weight of a grouped convolution is applied only to the channels of its group.
    """
    transposed, (for_images, for_weight, _) = others[4], others[7]
    once = conv_flop_count(list(images.shape), list(weight.shape), list(grad.shape), transposed=transposed)
    return int(once) * int(for_images + for_weight)


FORMULAS = {**flop_registry, torch.ops.aten.convolution_backward: _convolution_backward}
_ALLOCATIONS = (torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.empty_strided)


class Tally(TorchDispatchMode):
    """Mode that counts tensor operations, floating-point operations, and the bytes of live tensor storages.

    Args:
        held: nested containers of existing tensors, whose memory is counted from the start.

    Attributes:
        flops: floating-point operations of matrix products and convolutions.
        operations: number of operations, not counting views and allocations.
        peak: peak memory in bytes.
    """

    def __init__(self, held: Any = ()) -> None:
        TorchDispatchMode.__init__(self)
        self.flops = self.operations = self.bytes = self.peak = 0
        self.storages: set[int] = set()
        self._hold(held)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations += func.namespace == "aten" and not func.is_view and func.overloadpacket not in _ALLOCATIONS
        formula = FORMULAS.get(func.overloadpacket)
        self.flops += formula(*args, **(kwargs or {}), out_val=out) if formula else 0
        self._hold(out)
        return out

    def _hold(self, values: Any) -> None:
        for value in tree_leaves(values):
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.storages:
                    self.storages.add(key)
                    self.bytes += size
                    self.peak = max(self.peak, self.bytes)
                    weakref.finalize(storage, self._release, key, size).atexit = False

    def _release(self, key: int, size: int) -> None:
        self.storages.discard(key)
        self.bytes -= size
