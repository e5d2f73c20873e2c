"""The environment of a run: versions, device, state of the checkout."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ... import __version__
from .parts import Environment

ROOT = Path(__file__).parents[__name__.count(".") - 1]  # root of the package, independent of this module's depth
CODE = ("benchmarks", "datasets", "methods", "bench.py")  # paths of the code that affects results


def environment(device: torch.device) -> Environment:
    """Describe this process: software versions, CPU, device, torch's number of threads, state of the checkout."""
    commit, dirty = checkout()
    return Environment(
        ltbench=__version__,
        commit=commit,
        dirty=dirty,
        python=platform.python_version(),
        torch=torch.__version__,
        torchvision=_version("torchvision"),
        timm=_version("timm"),
        numpy=_version("numpy"),
        cpu=processor(),
        platform=f"{platform.system()} {platform.machine()}",
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor(description: Path = Path("/proc/cpuinfo")) -> str | None:
    """Model name of the CPU, from `description` or the platform; None if neither names one."""
    try:
        lines = description.read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def checkout(root: Path = ROOT) -> tuple[str | None, bool | None]:
    """Commit of a checkout, and whether its code has uncommitted changes; (None, None) without a checkout or git."""
    if not (root / ".git").exists():
        return None, None
    words = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch", "--", *CODE]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None, None
    lines = answer.stdout.splitlines()
    commit = next(line.split()[-1] for line in lines if line.startswith("# branch.oid"))
    return commit, any(not line.startswith("#") for line in lines)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Set torch's number of threads within the block; 0 leaves it unchanged."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_of_process() -> int:
    """Peak resident memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux reports KiB
