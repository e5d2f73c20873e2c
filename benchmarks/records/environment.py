"""Where a run takes place: versions, device, the state of the checkout."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ... import __version__
from ..precision import fast_bf16
from .schema import Environment

CODE = ("benchmarks", "datasets", "methods", "bench.py")  # what decides the numbers


def environment(device: torch.device, threads: int) -> Environment:
    """Versions, device and the state of the checkout, for the record."""
    cuda = device.type == "cuda"
    head = commit()
    return Environment(
        ltbench=__version__,
        commit=head,
        dirty=bool(_git("status", "--porcelain", "--", *CODE)) if head else None,
        python=platform.python_version(),
        torch=torch.__version__,
        platform=f"{platform.system()} {platform.machine()}",
        device=torch.cuda.get_device_name(device) if cuda else "cpu",
        threads=threads,
        bf16=fast_bf16(device.type),
    )


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads; 0 leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def commit() -> str | None:
    """The commit of the suite's checkout; None outside of one."""
    return _git("rev-parse", "HEAD")


def _git(*arguments: str) -> str | None:
    """Output of git in the suite's checkout; None where there is no git or no checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    answer = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None


def peak_of_process() -> int:
    """Peak resident memory in bytes; Linux counts kibibytes, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
