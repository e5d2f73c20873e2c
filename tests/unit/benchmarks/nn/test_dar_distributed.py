"""DAR-BN in distributed training with two processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ltbench.benchmarks.nn.dar_batch_norm import NoiseAware, convert_batchnorm
from torch import Tensor, nn


def _rank(rank: int, folder: str, mode: str, sync: bool) -> None:
    """Run a model with routed layers on half of a batch in process `rank` of two, with and without a mask."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    x, mask, net = _batch()
    rows = slice(0, 4) if rank == 0 else slice(4, 8)
    model: Any = convert_batchnorm(net, noise_grad=mode, sync=sync)  # type: ignore[arg-type]
    wrapped = nn.parallel.DistributedDataParallel(NoiseAware(model))
    for noise in (mask[rows], None):
        out = wrapped(x[rows], noise)
        (out**3).mean().backward()
    state = {"out": out.detach(), "state": net.state_dict(), "grad": [p.grad for p in net.parameters()]}
    torch.save(state, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def _batch() -> tuple[Tensor, Tensor, nn.Sequential]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2))
    mask = torch.tensor([True, False, True, False, False, False, False, False])  # no noise in the second half
    return torch.rand(8, 3, 6, 6, dtype=torch.float64), mask, net.double()


@pytest.mark.parametrize(("mode", "sync"), [("full", True), ("stop", True), ("stop", False)])
def test_two_processes(mode: Any, sync: bool, tmp_path: Path) -> None:
    """DistributedDataParallel, where one rank has no noise rows.

    With synchronisation, results equal those of one process with all rows, otherwise those of each half of the rows.
    Each rank must keep its own mask although DistributedDataParallel broadcasts buffers.
    """
    torch.multiprocessing.spawn(_rank, (str(tmp_path), mode, sync), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    gradients, exact = [], {"atol": 1e-12, "rtol": 1e-9}
    parts = [slice(0, 8)] if sync else [slice(0, 4), slice(4, 8)]
    for number, rows in enumerate(parts):
        x, mask, net = _batch()
        aware = NoiseAware(convert_batchnorm(net, noise_grad=mode))
        for noise in (mask[rows], None):
            out = aware(x[rows], noise)
            (out**3).mean().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
        actual = torch.cat([rank["out"] for rank in ranks]) if sync else ranks[number]["out"]
        torch.testing.assert_close(actual, out.detach(), **exact)
        if sync or number == 0:  # buffers are broadcast from rank 0 at the next forward pass
            torch.testing.assert_close(ranks[number]["state"], dict(net.state_dict()), **exact)
    for rank in ranks:
        for actual, *terms in zip(rank["grad"], *gradients, strict=True):
            torch.testing.assert_close(actual, sum(terms) / len(terms), **exact)
