"""A step stays on its device. No GPU is needed: fake CUDA tensors fail if an operation mixes two devices.

Autograd needs a CUDA driver, so gradients of images are faked and no backward pass is run. `begin_stage` runs on the
CPU and its results are moved, so a constant that it leaves on the CPU is not detected.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from helpers.tiny import tiny_run
from ltbench.benchmarks import registry
from ltbench.benchmarks.data.augment import Augment, Parameters
from ltbench.benchmarks.data.loader import Picked, batch_of
from ltbench.benchmarks.method import Batch
from ltbench.benchmarks.speed.op_counter import bring_to, first_picked
from ltbench.benchmarks.training.run_spec import RunSpec
from ltbench.methods.erm import ERM
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
CHAINS = ({"augment": "simclr", "cutout": 4}, {"augment": "autoaugment", "keep_base": True})


def to_gpu(value: Any) -> Any:
    """Replace all tensors in a value by empty ones on the fake GPU; change modules and objects of ltbench in place."""
    if isinstance(value, nn.Parameter):
        moved = nn.Parameter(torch.empty_like(value, device=GPU), value.requires_grad)
        vars(moved).update(vars(value))
        return moved
    if isinstance(value, Tensor):
        return torch.empty_like(value, device=GPU)
    if isinstance(value, dict):
        return value | {key: to_gpu(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(map(to_gpu, value))
    if isinstance(value, nn.Module) or type(value).__module__.startswith("ltbench"):
        for name, part in list(getattr(value, "__dict__", {}).items()):
            object.__setattr__(value, name, to_gpu(part))
    return value


def take_step(spec: RunSpec, progress: float, changes: dict[str, Any]) -> Tensor:
    """Run one training step on fake CUDA tensors, without the backward pass, and return the loss."""
    active, now = bring_to(spec, progress, CPU)
    method, net, picked = spec.method, active.net, first_picked(active, now)
    size = len(picked.index)
    augment = Augment(spec.dataset.train.images, spec.recipe.model_copy(update=changes))
    drawn = augment.draw(size, lambda purpose: torch.Generator().manual_seed(0))
    with FakeTensorMode(allow_non_fake_inputs=True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, "grad", lambda outputs, inputs: (torch.empty_like(inputs),))
        for each in (net, method, augment):
            to_gpu(each)
        split, drawn = spec.dataset.train.to(GPU), drawn.to(GPU)

        def fresh(index: Tensor) -> Tensor:
            return augment(index, Parameters(*(part[: len(index)] for part in drawn)))

        now = dataclasses.replace(now, generator=None, fresh=fresh)
        index = torch.arange(size, device=GPU)
        further = tuple(Picked(index, drawn) for _ in picked.further)
        batch = batch_of(split, augment, Picked(index, drawn, further))
        batch = method.transform(batch, net, now)
        loss = method.loss(net, batch, now)
        method.after_step(net, now)
    assert all(tensor.device == GPU for tensor in (*net.parameters(), *net.buffers(), batch.images, batch.labels))
    return loss


@pytest.mark.parametrize("name", registry.names("methods"))
def test_step_keeps_to_its_device(name: str) -> None:
    """The step is taken near the end of training, when every part of a method is active."""
    assert take_step(tiny_run(name, epochs=20), 0.99, {}).device == GPU


@pytest.mark.parametrize("changes", CHAINS)
def test_augmentation_keeps_to_its_device(changes: dict[str, Any]) -> None:
    assert take_step(tiny_run(), 0, changes).device == GPU


def test_a_constant_of_the_cpu_is_found() -> None:
    class Careless(ERM):
        def loss(self, net: Any, batch: Batch, now: Any) -> Tensor:
            return (super().loss(net, batch, now) * torch.ones(len(batch.labels))).mean()

    careless = dataclasses.replace(tiny_run(), method=Careless())
    with pytest.raises(RuntimeError, match="devices"):
        take_step(careless, 0, {})
