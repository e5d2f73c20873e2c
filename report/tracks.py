"""Tracks of a report, never ranked together: training from scratch, and training from pretrained weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

SCRATCH, FROZEN, FINE_TUNED = "from scratch", "pretrained, frozen backbone", "pretrained, fine-tuned"
TRACKS = (SCRATCH, FROZEN, FINE_TUNED)  # in the order of the report
BASELINE, NEAREST_MEAN = "erm", "ncm"
# sha256 of the weights: a file of a user may have their name
_LITE0 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_PARTS = {  # part of the tag of timm's weights -> images that they were trained on
    "in1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
    "openai": "OpenAI's pairs of images and texts",
    "laion2b": "LAION-2B",
    "laion400m": "LAION-400M",
    "lvd142m": "LVD-142M",
}


def track(recipe: Mapping[str, Any]) -> str:
    """The track of runs with a recipe, one of TRACKS."""
    if not recipe.get("weights"):
        return SCRATCH
    return FROZEN if recipe.get("frozen") else FINE_TUNED


def baseline(recipe: Mapping[str, Any], labels: Collection[str]) -> str:
    """Row label of the default baseline.

    It is ERM, except with a frozen backbone, where it is the nearest class mean of the network's features if that has
    records: what the network can do before anything is trained.
    """
    return NEAREST_MEAN if track(recipe) == FROZEN and NEAREST_MEAN in labels else BASELINE


def pretrained_on(recipe: Mapping[str, Any]) -> str:
    """Images that the weights of a recipe were trained on, as far as their name tells it; "" if it does not."""
    name = str(recipe.get("weights", ""))
    if name == "lite0" and recipe.get("weights_sha256") == _LITE0:
        return "ImageNet-1k"
    if not name.startswith("timm:"):
        return ""
    parts = name.removeprefix("timm:").lower().replace("-", "_").replace(".", "_").split("_")
    return ", ".join(dict.fromkeys(_PARTS[part] for part in parts if part in _PARTS))


def title(recipe: Mapping[str, Any]) -> str:
    """Words for the title of a pretrained setting, such as `lite0 weights (ImageNet-1k), frozen`; "" from scratch."""
    if track(recipe) == SCRATCH:
        return ""
    images = pretrained_on(recipe)
    kind = "frozen" if track(recipe) == FROZEN else "fine-tuned"
    return f"{recipe['weights']} weights{f' ({images})' if images else ''}, {kind}"


def caution(recipe: Mapping[str, Any]) -> list[str]:
    """Sentence on what pretrained numbers mean; none for training from scratch."""
    if track(recipe) == SCRATCH:
        return []
    images = pretrained_on(recipe)
    before = f"was trained on {images} before" if images else "was trained before, on images that are not known"
    return [
        f"Pretrained: the network {before} (weights {recipe['weights']}). It may have learnt classes of this dataset "
        "there, so rare ones need not be rare for it. Not comparable with training from scratch."
    ]
