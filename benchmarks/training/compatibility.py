"""Checks that method, recipe, pretrained weights and images of a run fit one another."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import UserError
from ..method import Method, overridden_hooks
from ..network import Normalise
from ..nn.backbones import build_backbone, check_backbone
from ..nn.weights import Weights, find_weights
from ..recipe import Recipe
from ..registry import Plugin
from ..split import Dataset


def find_pretrained(recipe: Recipe, changes: dict[str, Any]) -> tuple[Recipe, dict[str, Any], Weights | None]:
    """Check a recipe's backbone and read its pretrained weights.

    Args:
        recipe: the recipe.
        changes: its values that the user has set, by field name.

    Returns:
        The recipe and the changes with the weights' name and digest for the record; the weights, or None.

    Raises:
        UserError: the backbone is unknown, or the weights cannot be read or do not have the digest that is given.
    """
    check_backbone(recipe.backbone)
    if not recipe.weights:
        return recipe, changes, None
    weights = find_weights(recipe.weights, recipe.backbone)
    if recipe.weights_sha256 not in ("", weights.sha256):
        raise UserError(
            f"The weights {recipe.weights} have sha256 {weights.sha256}, and not weights_sha256 = "
            f"{recipe.weights_sha256}: it is another file."
        )
    values = {"weights": weights.name, "weights_sha256": weights.sha256}
    return recipe.model_copy(update=values), {name: values.get(name, changes[name]) for name in changes}, weights


def check_recipe(plugin: Plugin, recipe: Recipe) -> None:
    """Check that a method works with what a recipe asks for: a frozen backbone, stored features, smoothed labels.

    Raises:
        UserError: it does not.
    """
    cls: type[Method] = plugin.cls
    if recipe.frozen and cls.trains_backbone:
        raise UserError(
            f"{plugin.name} trains layers of the backbone, but recipe '{recipe.name}' has a frozen backbone. Leave it "
            "out, or choose another recipe, such as finetune."
        )
    if recipe.cache and (cls.needs_images or "transform" in overridden_hooks(cls)):
        raise UserError(
            f"{plugin.name} needs the images in every step, but recipe '{recipe.name}' computes their features once. "
            "Add --set recipe.cache=false to pass the images through the frozen backbone in every step, which takes "
            "longer, or leave it out."
        )
    if recipe.label_smoothing and {"loss", "transform"} & set(overridden_hooks(cls)):
        raise UserError(
            f"{plugin.name} does not compute its loss from the labels of a batch alone, so that recipe '{recipe.name}' "
            "cannot smooth them as for other methods. Add --set recipe.label_smoothing=0, or leave it out."
        )


def check_fit(dataset: Dataset, recipe: Recipe, weights: Weights | None = None) -> None:
    """Check that the weights fit the backbone and that it accepts the dataset's images, by running it on one of them.

    Raises:
        UserError: the weights do not fit, the backbone does not accept images of this size, or pretrained weights would
            see images smaller than one cell of their feature maps.
    """
    height, width = [recipe.size] * 2 if recipe.size else dataset.test.images.shape[2:]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        backbone = build_backbone(recipe.backbone, weights=weights).eval()
        resize = Normalise(recipe.size, recipe.interpolation)
        try:
            backbone(resize(dataset.test.floats(torch.tensor([0]))))
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = str(error).rstrip(".")
            raise UserError(
                f"Backbone {recipe.backbone} does not accept {height}x{width} images of {dataset.name}: {reason}. "
                "Set another size by recipe.size."
            ) from error
        if weights is not None and min(height, width) < (least := reduction(backbone)):
            raise UserError(
                f"{height}x{width} images of {dataset.name} are too small for the weights {weights.name}: a cell of "
                f"the last feature map covers {least}x{least} pixels. Set recipe.size to {least} or more."
            )


def reduction(backbone: nn.Sequential, size: int = 256) -> int:
    """Ratio of the height of an image, `size` pixels, to that of the last feature map; 1 without feature maps."""
    maps, height = torch.zeros(1, 3, size, size), size
    for stage in backbone:
        maps = stage(maps)
        height = maps.shape[2] if maps.dim() == 4 and maps.shape[2] > 1 else height
    return size // height
