"""Cost of a training step of each method in counted operations and bytes, without a clock or a GPU.

Arithmetic is counted in forward passes of a batch and compared with the method's description. The number of operations
(kernel launches on a GPU) and the peak memory have upper bounds. Host reads fail because fake tensors have no values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from ltbench.benchmarks import registry
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import Batch, Method, Now
from ltbench.benchmarks.network import Classifier
from ltbench.benchmarks.speed.op_counter import Counts, Tally, bring_to, count_step
from ltbench.benchmarks.speed.synthetic import synthetic_specs
from ltbench.benchmarks.training.active_stage import ActiveStage
from ltbench.benchmarks.training.run_spec import RunSpec
from ltbench.methods._shared.rows import capacity

CPU = torch.device("cpu")
BATCH = 128
PASSES = 0.02  # relative tolerance
# Largest number of operations of a late step on ResNet-32. If a change needs more, give the reason here.
OPERATIONS = {"open": 1760, "blt": 5200, "m2m": 4700, "rsg": 990, "bbn": 670}  # bbn: two passes
OTHERS = 320


@cache
def specs() -> dict[str, RunSpec]:
    return {spec.name: spec for spec in synthetic_specs(registry.names("methods"))}


@cache
def counts(name: str, progress: float) -> Counts:
    return count_step(specs()[name], progress)


def trained(rows: float) -> float:
    """Cost of training on `rows` rows, in forward passes of a batch; the first layer's input needs no gradient."""
    first = 2 * 27 * 16 * 32**2 * BATCH / counts("erm", 0).forward
    return (3 - first) * rows / BATCH


def m2m(spec: RunSpec) -> float:
    """Forward passes of M2m: ten attack steps on two networks (gradients of images only), g once more, training."""
    slots = capacity(BATCH, late_stage(spec).spec.method.probability_)  # type: ignore[attr-defined]
    assert slots < BATCH, "rows that the coin toss excludes are not attacked"
    return 10 * 2 * 2 * slots / BATCH + slots / BATCH + trained(BATCH)


def blt(spec: RunSpec) -> float:
    """Forward passes of BLT: 15 ascent steps on a quarter of the tail images, training on the extended batch."""
    method: Any = late_stage(spec).spec.method
    slots = capacity(BATCH, method.tail_probability_, method.p)
    return 15 * 2 * slots / BATCH + trained(BATCH + slots)


def rsg(spec: RunSpec) -> float:
    """Forward passes of RSG: twice the rows in layers after the cut, the transform, the frozen contrastive module."""
    active = late_stage(spec)
    cut, forward = active.spec.method.cut_, counts("erm", 0).forward  # type: ignore[attr-defined]
    lower = sum(conv_flops(active.net.backbone[:cut]))
    maps, width = 16 * 16, 32
    transform = 2 * (2 * BATCH * maps * 9 * width**2)
    contrast = 2 * (2 * BATCH * maps * 2 * width * 256 + 2 * BATCH * 9 * 256 * 256)
    return trained(BATCH) + 3 * (1 - lower * BATCH / forward) + (transform + contrast) / forward


def frozen(spec: RunSpec) -> float:
    """Forward passes of a step that trains the head alone; the cost of the head's backward pass is negligible."""
    return 1


def bbn(spec: RunSpec) -> float:
    """Cost of BBN in forward passes of its final, two-branch network: training on two batches, one per branch."""
    return 2 * trained(BATCH) * counts("erm", 0).forward / counts("bbn", 0).forward


def conv_flops(layers: torch.nn.Module) -> list[int]:
    """Floating-point operations of each convolution for one image of 32x32 pixels."""
    flops: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda layer, _, out: flops.append(2 * layer.weight[0].numel() * out[0].numel()))
        for layer in layers.modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    with torch.no_grad():
        layers(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return flops


def late_stage(spec: RunSpec) -> ActiveStage:
    return bring_to(spec, 0.99, CPU)[0]


EXPECTED: dict[str, Callable[[RunSpec], float]] = {
    "m2m": m2m, "blt": blt, "rsg": rsg, "crt": frozen, "lws": frozen, "weight-balancing": frozen,
    "mislas": frozen, "bbn": bbn,
}  # fmt: skip


@pytest.mark.parametrize("name", registry.names("methods"))
def test_late_step_has_the_passes_of_its_description(name: str) -> None:
    """A method without an entry in EXPECTED costs as much as ERM: about three forward passes."""
    expected = EXPECTED.get(name, lambda spec: trained(BATCH))(specs()[name])
    assert counts(name, 0.99).passes == pytest.approx(expected, rel=PASSES)


@pytest.mark.parametrize("name", [n for n in registry.names("methods") if n not in ("rsg", "bbn")])
def test_early_step_has_the_passes_of_erm(name: str) -> None:
    assert counts(name, 0).passes == pytest.approx(trained(BATCH), rel=PASSES)


def test_every_step_of_bbn_has_two_passes() -> None:
    assert counts("bbn", 0).passes == pytest.approx(bbn(specs()["bbn"]), rel=PASSES)


def test_early_step_of_rsg_adds_the_contrastive_module() -> None:
    pairs, maps, width = BATCH // 2, 16 * 16, 32
    first, second = 2 * pairs * maps * 2 * width * 256, 2 * pairs * 9 * 256 * 256
    added = (2 * first + 3 * second) / counts("erm", 0).forward
    assert counts("rsg", 0).passes == pytest.approx(trained(BATCH) + added, rel=PASSES)


@pytest.mark.parametrize("name", registry.names("methods"))
def test_late_step_keeps_to_its_budget_of_operations(name: str) -> None:
    assert counts(name, 0.99).operations <= OPERATIONS.get(name, OTHERS)


@pytest.mark.parametrize("name", registry.names("methods"))
def test_memory_beside_erm(name: str) -> None:
    """Peak memory relative to ERM: RSG forms no tensor of rows x centres, and attacks compute no weight gradients."""
    most = {"bbn": 2, "rsg": 1.45, "blt": 1.15, "m2m": 1.03}.get(name, 1.02)
    assert counts(name, 0.99).peak_bytes <= most * counts("erm", 0.99).peak_bytes


def test_flops_of_the_network_are_those_of_its_layers() -> None:
    """ResNet-32 needs 0.1377 GFLOP per image, and 0.4123 GFLOP with the backward pass."""
    erm = counts("erm", 0)
    assert erm.forward / BATCH == pytest.approx(0.1377e9, rel=1e-3)
    assert erm.flops / BATCH == pytest.approx(0.4123e9, rel=1e-3)


class Reads(Method):
    """A method that reads the value of its loss on the host within the step, as most published code does."""

    def loss(self, net: Classifier, batch: Batch, now: Now) -> torch.Tensor:
        loss = super().loss(net, batch, now)
        self.last = loss.item()
        return loss


class Selects(Method):
    """A method that selects rows with a boolean mask."""

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        chosen = batch.labels > 3
        return Batch(batch.images[chosen], batch.labels[chosen])


@pytest.mark.parametrize(("method", "name"), [(Reads(), "_local_scalar_dense"), (Selects(), "nonzero")])
def test_a_step_that_reads_back_fails_by_name(method: Method, name: str) -> None:
    with pytest.raises(UserError, match=name):
        count_step(dataclasses.replace(specs()["erm"], method=method), 0.5)


def test_memory_is_freed_when_a_tensor_ends() -> None:
    with Tally() as tally:
        for _ in range(3):
            kept = torch.zeros(1000) + 1  # at the peak: zeros, their sum, and the sum of the previous iteration
        del kept
    assert tally.peak == 12000
    assert tally.bytes == 0
