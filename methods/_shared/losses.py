"""Methods that are their loss and nothing else, on which others can build (`base.py`); and the loss functions."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...benchmarks.method import Method, Needs, Now, Split, Stage, epochs_before
from ...benchmarks.network import Classifier, CosineHead, Head
from .class_weights import class_weights
from .margins import ldam_loss, ldam_margins

IGNORED = -100  # cross_entropy's own label for rows that do not count


class ClassWeighted(Method):
    """Class weights that set in at a moment of training.

    The attributes of this class and of the next ones are settings: a plugin declares as fields those that its users may
    change.

    Attributes:
        weighting: inverse effective numbers or inverse counts, see `class_weights`; None for no weights.
        beta: of the effective number.
        defer: fraction of training before the weights set in.
    """

    weighting: Literal["effective", "inverse"] | None = None
    beta: float = 0.9999
    defer: float = 0.0

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Derive the weights (C,) from the class counts."""
        self.weights_ = None if self.weighting is None else class_weights(train.counts, self.weighting, self.beta)

    def weights(self, now: Now) -> Tensor | None:
        """Class weights (C,) at a moment, or None."""
        return self.weights_ if now.progress >= self.defer else None


class WeightedCrossEntropy(ClassWeighted):
    """Cross-entropy with class weights; a weighted batch is divided by the sum of its samples' weights."""

    def needs(self, epochs: int) -> Needs:
        """ERM until the weights set in."""
        return Needs(prefix=epochs_before(self.defer, epochs))

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Weighted cross-entropy."""
        return F.cross_entropy(logits, labels, self.weights(now))


class FocalLoss(ClassWeighted):
    """The focal loss, a plain mean over the batch; see `focal_loss`.

    Attributes:
        gamma: how much well classified images are played down, >= 0.
        inside: take the probability from the weighted cross-entropy, as the reference code of LDAM does.
    """

    gamma: float = 1.0
    inside: bool = False

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """The focal loss."""
        return focal_loss(logits, labels, self.gamma, self.weights(now), self.inside)


class MarginLoss(ClassWeighted):
    """Cosines with a margin on the true class, times `scale`: LDAM with its margins, or one margin for all classes.

    Attributes:
        max_margin: of the rarest class; the others' are proportional to n^(-1/4).
        margin: of every class, in place of LDAM's margins; None for these.
        scale: factor of the cosines.
    """

    max_margin: float = 0.5
    margin: float | None = None
    scale: float = 30.0

    def head(self, default: Head) -> Head:
        """A cosine head."""
        return CosineHead

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Derive margins (C,) and weights (C,) from the class counts."""
        super().begin_stage(stage, net, train)
        if self.margin is None:
            self.margins_ = ldam_margins(train.counts, self.max_margin)
        else:
            self.margins_ = torch.full_like(train.counts, self.margin, dtype=torch.float32)

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """The LDAM loss; the logits are cosines."""
        return ldam_loss(logits, labels, self.margins_, self.scale, self.weights(now))

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Set the head's scale to that of the loss, which probabilities need."""
        net.get_buffer("head.scale").fill_(self.scale)
        return net


def focal_loss(
    logits: Tensor, labels: Tensor, gamma: float, weights: Tensor | None = None, inside: bool = False
) -> Tensor:
    """Mean of w (1 - p)^gamma (-log p) over the batch, p the softmax probability of the true class: a scalar.

    Args:
        logits: (N, C).
        labels: int64 (N,), where rows labelled IGNORED do not count; or class probabilities (N, C).
        gamma: >= 0.
        weights: w per class (C,); they stay outside of p.
        inside: p is that of the weighted cross-entropy instead, as in the reference code of LDAM.
    """
    losses = F.cross_entropy(logits, labels, weights if inside else None, reduction="none")  # 0 where a row is IGNORED
    confusion = (-torch.expm1(-losses)).clamp(min=1e-12)  # 1 - p; below, the gradient of a power under 1 is infinite
    focal = confusion**gamma * losses
    if weights is not None and not inside:
        focal = focal * (weights[labels.clamp(min=0)] if labels.ndim == 1 else labels @ weights)
    return focal.mean() if labels.ndim == 2 else focal.sum() / (labels != IGNORED).sum()
