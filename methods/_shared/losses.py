"""Losses on which several methods build: base classes with class weights and margins, and the focal loss.

All losses ignore rows labelled IGNORED. For class probabilities instead of labels, they are expected losses; see
`expected_loss`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...benchmarks.method import BelowOne, Margin, Method, Moment, Needs, Now, Positive, Split, Stage, epochs_before
from ...benchmarks.network import Classifier, CosineHead, Head
from .class_weights import class_weights
from .margins import ldam_loss, ldam_margins
from .soft_labels import cross_entropies, expected_loss

IGNORED = -100  # the default `ignore_index` of cross_entropy


@dataclass
class ClassWeighted(Method):
    """Cross-entropy with class weights; the weighted sum over a batch is divided by the sum of the weights.

    Attributes:
        weighting: class weights proportional to the inverse effective number or to the inverse count.
        beta: parameter of the effective number, in [0, 1); 0 gives equal weights.
    """

    weighting: Literal["effective", "inverse"] = "effective"
    beta: BelowOne = 0.9999

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Compute the class weights (C,)."""
        self.weights_ = class_weights(train.counts, self.weighting, self.beta)

    def current_weights(self, now: Now) -> Tensor | None:
        """Class weights (C,) at the current point of training; None for an unweighted loss."""
        return self.weights_

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Weighted cross-entropy of logits (N, C) against labels (N,) or (N, C)."""
        weights = self.current_weights(now)
        if labels.ndim == 2:
            return expected_loss(cross_entropies, logits, labels, weights)
        return F.cross_entropy(logits, labels, weights)


@dataclass
class MarginLoss(ClassWeighted):
    """Cross-entropy of scaled cosines with a margin on the true class, and deferred class weights.

    Attributes:
        defer: fraction of training before re-weighting begins (160 of 200 epochs).
        scale: factor that turns cosines into logits.
    """

    defer: Moment = 0.8
    scale: Positive = 30.0

    def margins(self, counts: Tensor) -> Tensor:
        """Margin of each class (C,), in units of the cosine, from the training images per class (C,)."""
        raise NotImplementedError

    def head(self, default: Head) -> Head:
        """The cosine head, in place of the default."""
        return CosineHead

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Compute margins and class weights, both (C,)."""
        super().begin_stage(stage, net, train)
        self.margins_ = self.margins(train.counts)

    def current_weights(self, now: Now) -> Tensor | None:
        """Class weights (C,) from `defer` on, None before."""
        return self.weights_ if now.progress >= self.defer else None

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Margin loss of cosines (N, C) against labels (N,) or (N, C)."""
        return ldam_loss(logits, labels, self.margins_, self.scale, self.current_weights(now))

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Set the head's scale to that of the loss, so that its softmax gives the trained probabilities."""
        net.get_buffer("head.scale").fill_(self.scale)
        return net


@dataclass
class LdamLoss(MarginLoss):
    """The label-distribution-aware margin loss (LDAM).

    Attributes:
        max_margin: margin of the rarest class, in units of the cosine.
    """

    max_margin: Margin = 0.5

    def needs(self, epochs: int) -> Needs:
        """The prefix shared with a run of LDAM alone, which is `ldam-drw` with `defer=1`: the epochs before `defer`."""
        alone = {"defer": 1.0, "scale": self.scale, "max_margin": self.max_margin}
        return Needs(epochs_before(self.defer, epochs), "ldam-drw", alone)

    def margins(self, counts: Tensor) -> Tensor:
        """Margins proportional to n^(-1/4), (C,)."""
        return ldam_margins(counts, self.max_margin)


class PerImage(Method):
    """A method whose loss is the mean over the images of a batch of a loss that depends on one image alone.

    Methods that weight or mix the losses of single images, such as DRW, can use it as their base.
    """

    def image_losses(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Loss of each image (N,), 0 where a row is IGNORED, for logits (N, C) and int64 labels (N,)."""
        raise NotImplementedError

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Mean of the losses of logits (N, C) against labels (N,) or (N, C), over the rows that are not IGNORED."""
        if labels.ndim == 2:
            return expected_loss(partial(self.image_losses, now=now), logits, labels)
        return self.image_losses(logits, labels, now).sum() / (labels != IGNORED).sum()


def has_image_losses(method: Method) -> bool:
    """Whether the loss of a method is a mean of losses of single images, which `image_losses` can then compute."""
    return isinstance(method, PerImage) or type(method).criterion is Method.criterion


def image_losses(method: Method, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
    """Loss of each image (N,) under a method for which `has_image_losses` is true; cross-entropy unless `PerImage`."""
    if isinstance(method, PerImage):
        return method.image_losses(logits, labels, now)
    return cross_entropies(logits, labels)


def image_weights(labels: Tensor, weights: Tensor) -> Tensor:
    """Weight of each image (N,) with int64 labels (N,) and class weights (C,); 0 where a row is IGNORED."""
    return torch.where(labels == IGNORED, 0, weights[labels.clamp(min=0)])


def focal_losses(
    logits: Tensor, labels: Tensor, gamma: float, weights: Tensor | None = None, inside: bool = False
) -> Tensor:
    """Focal loss w (1 - p)^gamma (-log p) of each image (N,), p the softmax probability of the true class.

    Args:
        logits: (N, C).
        labels: int64 (N,); the loss of rows labelled IGNORED is 0.
        gamma: exponent that down-weights well-classified images, >= 0.
        weights: class weights w (C,); None for equal weights of 1.
        inside: whether to derive p from the weighted cross-entropy (reference code of LDAM).
    """
    losses = F.cross_entropy(logits, labels, weights if inside else None, reduction="none")  # 0 where a row is IGNORED
    error = (-torch.expm1(-losses)).clamp(min=1e-12)  # for gamma < 1, the gradient at 0 would be infinite
    focal = error**gamma * losses
    if weights is not None and not inside:
        focal = focal * image_weights(labels, weights)
    return focal
