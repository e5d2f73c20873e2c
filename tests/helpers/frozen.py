"""Pretrained weights of a tiny backbone, and runs on a few digits with that backbone frozen."""

from __future__ import annotations

from pathlib import Path

import torch
from ltbench.benchmarks.nn.backbones import build_backbone
from ltbench.benchmarks.training.run_spec import RunSpec
from safetensors.torch import save_file

from .tiny import tiny_run

BACKBONE = "resnet8-narrow"
UNAUGMENTED = ("recipe.crop_padding=0", "recipe.flip=false")


def write_weights(path: Path, seed: int = 0) -> Path:
    """Random weights of BACKBONE, with running statistics of random images, in a safetensors file."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = build_backbone(BACKBONE).train()
        for _ in range(20):
            backbone(torch.randn(64, 3, 8, 8))
    save_file(backbone.state_dict(), path)
    return path


def frozen_run(
    weights: Path, method: str = "erm", cache: bool = True, settings: tuple[str, ...] = (), epochs: int = 3
) -> RunSpec:
    """Specification of a run on a few digits with a frozen backbone, on stored features or on images."""
    always = (f"recipe.weights={weights}", "recipe.frozen=true", f"recipe.cache={str(cache).lower()}", *UNAUGMENTED)
    return tiny_run(method, settings=(*always, *settings), epochs=epochs, n_max=16)
