"""DAR-BN in distributed training with two processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ltbench.benchmarks.nn.dar_batch_norm import NoiseAware, convert_batchnorm
from torch import Tensor, nn

CASES = [("full", True), ("stop", True), ("stop", False)]  # noise_grad, sync


def _rank(rank: int, folder: str) -> None:
    """Process `rank` of two: run models with routed layers on half of a batch, with and without a mask."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    rows = slice(0, 4) if rank == 0 else slice(4, 8)
    for mode, sync in CASES:
        x, mask, net = _batch()
        model: Any = convert_batchnorm(net, noise_grad=mode, sync=sync)  # type: ignore[arg-type]
        wrapped = nn.parallel.DistributedDataParallel(NoiseAware(model))
        for noise in (mask[rows], None):
            out = wrapped(x[rows], noise)
            (out**3).mean().backward()
        state = {"out": out.detach(), "state": net.state_dict(), "grad": [p.grad for p in net.parameters()]}
        torch.save(state, Path(folder) / f"{mode}-{sync}-{rank}.pt")
    torch.distributed.destroy_process_group()


def _batch() -> tuple[Tensor, Tensor, nn.Sequential]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2))
    mask = torch.tensor([True, False, True, False, False, False, False, False])  # no noise in the second half
    return torch.rand(8, 3, 6, 6, dtype=torch.float64), mask, net.double()


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a file for each case and process: its output, network state and gradients."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(_rank, (str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize(("mode", "sync"), CASES)
def test_two_processes(mode: Any, sync: bool, states: Path) -> None:
    """DistributedDataParallel with two ranks, one of them without noise rows.

    With synchronisation, results equal those of one process with all rows. Without it, each rank has the results of its
    half of the rows, and gradients are the mean of both. Each rank must keep its own mask although
    DistributedDataParallel broadcasts buffers.
    """
    ranks = [torch.load(states / f"{mode}-{sync}-{rank}.pt") for rank in (0, 1)]
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
