"""Losses that several methods build on, each a method: its head, what it derives from the class sizes, its criterion.

Rows labelled IGNORED count in none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...benchmarks.method import BelowOne, Method, Moment, Now, Positive, Split, Stage
from ...benchmarks.network import Classifier, CosineHead, Head
from .class_weights import class_weights
from .margins import ldam_loss

IGNORED = -100  # cross_entropy's own label for rows that do not count


@dataclass
class ClassWeighted(Method):
    """Cross-entropy with class weights; a batch is divided by the sum of its samples' weights.

    Attributes:
        weighting: inverse effective numbers or inverse counts.
        beta: of the effective number, in [0, 1); 0 gives ERM.
    """

    weighting: Literal["effective", "inverse"] = "effective"
    beta: BelowOne = 0.9999

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Compute the class weights, (C,)."""
        self.weights_ = class_weights(train.counts, self.weighting, self.beta)

    def current_weights(self, now: Now) -> Tensor | None:
        """Class weights (C,) at a moment of training, or None for none."""
        return self.weights_

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Weighted cross-entropy of logits (N, C) against labels (N,) or (N, C)."""
        return F.cross_entropy(logits, labels, self.current_weights(now))


@dataclass
class DeferredWeights(ClassWeighted):
    """Class weights that set in after a fraction of training.

    Attributes:
        defer: fraction of training before re-weighting (160 of 200 epochs).
    """

    defer: Moment = 0.8

    def current_weights(self, now: Now) -> Tensor | None:
        """Class weights (C,) from `defer` on."""
        return self.weights_ if now.progress >= self.defer else None


@dataclass
class MarginLoss(DeferredWeights):
    """Cosines with a margin on the true class, times `scale`, with deferred class weights.

    Attributes:
        scale: factor of the cosines.
    """

    scale: Positive = 30.0

    def margins(self, counts: Tensor) -> Tensor:
        """Margins (C,) as cosines, given training images per class (C,)."""
        raise NotImplementedError

    def head(self, default: Head) -> Head:
        """A cosine head."""
        return CosineHead

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Compute margins and class weights, (C,) each."""
        super().begin_stage(stage, net, train)
        self.margins_ = self.margins(train.counts)

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Loss of cosines (N, C) against labels (N,) or (N, C)."""
        return ldam_loss(logits, labels, self.margins_, self.scale, self.current_weights(now))

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Give the head the scale that its probabilities need."""
        net.get_buffer("head.scale").fill_(self.scale)
        return net


def focal_loss(
    logits: Tensor, labels: Tensor, gamma: float, weights: Tensor | None = None, inside: bool = False
) -> Tensor:
    """Mean of w (1 - p)^gamma (-log p) over the batch, p the softmax probability of the true class.

    Args:
        logits: (N, C).
        labels: int64 (N,) or class probabilities (N, C); rows labelled IGNORED do not count.
        gamma: how much well classified images are played down, >= 0.
        weights: w per class, (C,).
        inside: p from the weighted cross-entropy (reference code of LDAM); else weights stay outside of p.
    """
    losses = F.cross_entropy(logits, labels, weights if inside else None, reduction="none")  # 0 where a row is IGNORED
    error = (-torch.expm1(-losses)).clamp(min=1e-12)  # below, the gradient of a power under 1 would not be finite
    focal = error**gamma * losses
    if weights is not None and not inside:
        focal = focal * (weights[labels.clamp(min=0)] if labels.ndim == 1 else labels @ weights)
    return focal.mean() if labels.ndim == 2 else focal.sum() / (labels != IGNORED).sum()
