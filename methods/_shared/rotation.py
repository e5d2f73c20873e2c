"""Rotation prediction, a pretext task that needs no labels (Gidaris et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ...benchmarks.errors import UserError
from ...benchmarks.method import Batch, Method, Now, Split, Stage
from ...benchmarks.network import Classifier, LinearHead

TURNS = 4  # rotations by 0, 90, 180 and 270 degrees
HEAD = "rotation"  # name of the pretext head in the network


def quarters(images: Tensor) -> Tensor:
    """Number of quarter turns of each image (N,), int64: 0, 1, 2, 3, 0, ... by row.

    The rows of a batch are in random order, so each image gets a random rotation, and all four are equally frequent.
    """
    return torch.arange(len(images), device=images.device) % TURNS


def rotated(images: Tensor) -> Tensor:
    """Square images (N, 3, H, H), each rotated counter-clockwise by the quarter turns of its row; see `quarters`."""
    out = torch.empty_like(images)
    for turns in range(TURNS):
        out[turns::TURNS] = images[turns::TURNS].rot90(turns, (2, 3))
    return out


@dataclass
class Rotation(Method):
    """Prediction of the rotation of each image, instead of its class, by a separate linear head, `net.rotation`.

    The batch keeps the classes of its images as labels. The classifier's head is neither used nor trained.
    """

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Attach the rotation head.

        Raises:
            UserError: the images are not square.
        """
        height, width = train.images.shape[2:]
        if height != width:
            raise UserError(
                f"Rotation prediction needs square images; those of this dataset have {height} rows and {width} "
                "columns. Skip it with length = 0, or choose another dataset."
            )
        net.add_module(HEAD, LinearHead(cast(int, net.backbone.width), TURNS))

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """Rotate every image of the batch."""
        return batch._replace(images=rotated(batch.images))

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        """Mean cross-entropy of the predicted rotations."""
        features = net.features(batch.images)
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = net.get_submodule(HEAD)(features)
        return F.cross_entropy(logits, quarters(batch.images))


def detach_rotation_head(net: Classifier) -> None:
    """Remove the rotation head; do nothing if it is not attached."""
    if hasattr(net, HEAD):
        delattr(net, HEAD)
