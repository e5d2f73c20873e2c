"""Backbones from timm models, as sequences of named stages that are verified against the original model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import UserError, unknown
from ..weights import Weights, load_into
from .assembly import Norm, join


class _Whole(nn.Module):
    """A timm model up to its unpooled features; used if the model is not a plain sequence of stages."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.model.forward_features(images)
        return features


class _Pool(nn.Module):
    """The pooling of a timm model, up to the vector before its classifier."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = [model]  # in a list, so that its parameters are not registered twice

    def forward(self, maps: Tensor) -> Tensor:
        features: Tensor = self._model[0].forward_head(maps, pre_logits=True)
        return features


def timm_backbone(name: str, norm: Norm, weights: Weights | None = None) -> nn.Sequential:
    """Build a timm model without its classifier, with new random weights or with the pretrained `weights`.

    If calling the model's children in sequence gives exactly the model's output, each child is a stage, as is each
    child of a container such as `blocks` or `stages`. Otherwise, the model can be split only before its pooling.

    Raises:
        UserError: timm has no such model, the model does not accept `norm`, or the weights do not fit.
    """
    import timm

    check_model(name)
    try:
        options: dict[str, Any] = {} if norm is nn.BatchNorm2d else {"norm_layer": norm}
        model: Any = timm.create_model(name, num_classes=0, **options)
    except TypeError as error:
        raise UserError(f"timm's {name} does not accept a different normalisation layer: {error}.") from error
    images = torch.rand(2, 3, *(model.default_cfg.get("input_size") or (3, 64, 64))[1:])
    model.eval()
    with torch.no_grad():
        features = model(images)
        stages = _children(model)
        if not _returns(stages, images, features):
            stages = {"features": _Whole(model), "pool": _Pool(model)}
    model.train()
    backbone = join(stages, features.shape[1])
    if weights is not None:
        load_into(backbone, weights.tensors, f"{weights.name} for timm:{name}", original=model)
    return backbone


def check_model(name: str) -> None:
    """Check the name of a timm model.

    Raises:
        UserError: there is no such model, or the name has a tag of pretrained weights, which belongs in `weights`.
    """
    import timm

    architecture, dot, tag = name.partition(".")
    if dot and timm.is_model(architecture):
        raise UserError(
            f"timm:{name}: the tag '{tag}' names pretrained weights. Write backbone = timm:{architecture}, and add "
            f"weights = timm:{tag} to start from them."
        )
    if dot or not timm.is_model(name):
        raise unknown("timm model", name, timm.list_models())


def _children(model: Any) -> dict[str, nn.Module]:
    stages: dict[str, nn.Module] = {}
    for name, child in model.named_children():
        if isinstance(child, nn.Sequential) and name in ("blocks", "stages", "features", "layers"):
            stages |= {f"{name}_{key}": part for key, part in child.named_children()}
        elif not isinstance(child, nn.Identity):
            stages[name] = child
    return stages | {"flatten": nn.Flatten()}


def _returns(stages: dict[str, nn.Module], images: Tensor, features: Tensor) -> bool:
    """Whether calling the stages in sequence on `images` gives exactly `features`."""
    maps = images
    try:
        for stage in stages.values():
            maps = stage(maps)
    except (RuntimeError, TypeError, ValueError):
        return False  # the children are not a plain sequence
    return torch.equal(maps, features)
