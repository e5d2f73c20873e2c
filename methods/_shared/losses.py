"""Losses that more than one method needs, each with its head and what it derives from the class counts.

A `LossMethod` is a method that is its loss and nothing else; a method that adds something to any of these losses makes
them by name with `named_loss`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...benchmarks.method import Method, Needs, Now, Split, Stage, epochs_before
from ...benchmarks.network import Classifier, CosineHead, Head, LinearHead
from .class_weights import class_weights
from .margins import ldam_loss, ldam_margins

IGNORED = -100  # cross_entropy's own label for rows that do not count


@dataclass
class Loss:
    """Cross-entropy on a linear head; with `weighting`, classes weigh from `defer` of training on.

    A weighted batch is divided by the sum of its samples' weights.

    Attributes:
        weighting: None, `effective` or `inverse`, see `class_weights`.
        beta: of the effective number.
        defer: share of training before the weights set in.
    """

    weighting: str | None = None
    beta: float = 0.9999
    defer: float = 0.0

    def head(self) -> Head:
        """The head that the loss needs."""
        return LinearHead

    def begin(self, counts: Tensor) -> None:
        """Derive constants from training images per class, int64 (C,)."""
        self.weights = None if self.weighting is None else class_weights(counts, self.weighting, self.beta)

    def now(self, progress: float) -> Tensor | None:
        """Class weights (C,) at this share of training, or None."""
        return self.weights if progress >= self.defer else None

    def __call__(self, logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        """Loss of logits float32 (N, C) against labels (N,): a scalar. Rows labelled IGNORED do not count."""
        return F.cross_entropy(logits, labels, self.now(progress))

    def finish(self, net: Classifier) -> None:
        """After training."""


@dataclass
class FocalLoss(Loss):
    """Focal loss: w (1 - p)^gamma (-log p), p the softmax probability of the true class, mean over the batch.

    Weights stay outside of p. With `inside`, p comes from the weighted cross-entropy, as in the reference code of LDAM.

    Attributes:
        gamma: how much well classified images are played down, >= 0.
        inside: reproduce the reference code.
    """

    gamma: float = 1.0
    inside: bool = False

    def __call__(self, logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        """Plain mean over the batch."""
        return focal_loss(logits, labels, self.gamma, self.now(progress), self.inside)


@dataclass
class MarginLoss(Loss):
    """Cosines with a margin on the true class, times `scale`; LDAM's margins, or one for all classes.

    Attributes:
        margin: of the rarest class (LDAM), or of every class.
        by_class: LDAM's margins, proportional to n^(-1/4).
        scale: factor of the cosines.
    """

    margin: float = 0.5
    by_class: bool = True
    scale: float = 30.0

    def head(self) -> Head:
        """A cosine head."""
        return CosineHead

    def begin(self, counts: Tensor) -> None:
        """Margins and weights."""
        super().begin(counts)
        self.margins = ldam_margins(counts if self.by_class else torch.ones_like(counts), self.margin)

    def __call__(self, logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        """Logits are cosines."""
        return ldam_loss(logits, labels, self.margins, self.scale, self.now(progress))

    def finish(self, net: Classifier) -> None:
        """Give the head the scale that its probabilities need."""
        net.get_buffer("head.scale").fill_(self.scale)


def focal_loss(
    logits: Tensor, labels: Tensor, gamma: float, weights: Tensor | None = None, inside: bool = False
) -> Tensor:
    """Mean of w (1 - p)^gamma (-log p) over the batch; see `FocalLoss`.

    Args:
        logits: (N, C).
        labels: int64 (N,) or class probabilities (N, C); rows labelled IGNORED do not count.
        gamma: >= 0.
        weights: per class (C,).
        inside: p from the weighted cross-entropy.
    """
    losses = F.cross_entropy(logits, labels, weights if inside else None, reduction="none")  # 0 where a row is IGNORED
    doubt = (-torch.expm1(-losses)).clamp(min=1e-12)  # below, the gradient of a power under 1 would not be finite
    focal = doubt**gamma * losses
    if weights is not None and not inside:
        focal = focal * (weights[labels.clamp(min=0)] if labels.ndim == 1 else labels @ weights)
    return focal.mean() if labels.ndim == 2 else focal.sum() / (labels != IGNORED).sum()


class LossMethod(Method):
    """A method that is its loss and nothing else."""

    def make_loss(self) -> Loss:
        """The loss, with the method's hyper-parameters."""
        raise NotImplementedError

    def needs(self, epochs: int) -> Needs:
        """Cross-entropy is ERM until its weights set in."""
        loss = self.make_loss()
        return Needs(prefix=epochs_before(loss.defer, epochs) if type(loss) is Loss else 0)

    def head(self, default: Head) -> Head:
        """The head that the loss needs."""
        return self.make_loss().head()

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Constants from the class counts."""
        self.loss_ = self.make_loss()
        self.loss_.begin(train.counts)

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """The loss."""
        return self.loss_(logits, labels, now.progress)

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """What the loss leaves to do."""
        self.make_loss().finish(net)
        return net


LOSSES = {
    "erm": Loss(),
    "cb-rw": Loss("effective"),
    "drw": Loss("effective", defer=0.8),
    "focal": FocalLoss(),
    "cb-focal": FocalLoss("effective"),
    "m-drw": MarginLoss("effective", defer=0.8, margin=0.35, by_class=False),
    "ldam-drw": MarginLoss("effective", defer=0.8),
}
