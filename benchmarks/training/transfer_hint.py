"""Hint for users who train a network from scratch on a folder of their own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.util import find_spec

import torch

from ..network import Normalise
from ..nn.backbones import build_backbone
from ..nn.weights import LITE0_PACKAGE
from ..recipe import load_recipe
from ..utils.formatting import duration
from .run_spec import RunSpec

RECIPE = "transfer"
IMAGES = 8  # per timed forward pass


def transfer_hint(plan: Sequence[RunSpec], recipe: str | None, device: torch.device) -> str:
    """Sentence on what `--recipe transfer` would do and how long it would take; "" if there is nothing to say.

    It is for folders of a user, if no recipe was chosen and the pretrained weights are installed.

    Args:
        plan: runs of the command.
        recipe: recipe that the user chose; None for the dataset's default.
        device: device to train on.
    """
    folders = {run.dataset.name: run for run in plan if run.dataset.name.startswith("folder-")}
    if recipe or not folders or any(run.weights for run in plan) or find_spec(LITE0_PACKAGE) is None:
        return ""
    images = sum(len(run.dataset.train) + len(run.dataset.test) for run in folders.values())
    return (
        f"A network that is trained on {len(next(iter(folders.values())).dataset.train):,} images from scratch learns "
        f"little. With --recipe {RECIPE}, a pretrained one stays frozen: the features of {images:,} images take about "
        f"{duration(images * seconds_per_image(device))} once, and every method then trains in seconds. 'bench advise' "
        "compares methods that way."
    )


@torch.no_grad()
def seconds_per_image(device: torch.device) -> float:
    """Time of the recipe's backbone for one image, measured on a batch of random images."""
    recipe, _ = load_recipe(RECIPE)
    backbone = build_backbone(recipe.backbone).eval().to(device)
    resize = Normalise(recipe.size, recipe.interpolation).to(device)
    images = torch.rand(IMAGES, 3, recipe.size, recipe.size, device=device)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        float(backbone(resize(images)).sum())  # waits for the device
        seconds.append(time.perf_counter() - started)
    return min(seconds) / IMAGES
