"""Class priors in the softmax: log priors, adjusted cross-entropy and the regulariser of LADE, as pure functions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def log_prior(counts: Tensor) -> Tensor:
    """Logarithms of the class priors pi_c = n_c / N; float32 (C,).

    Args:
        counts: training images per class, int64 (C,), all positive.
    """
    return (counts.double() / counts.sum()).log().float()


def adjusted_losses(logits: Tensor, labels: Tensor, prior: Tensor, tau: float = 1.0) -> Tensor:
    """Cross-entropy of `logits + tau * prior` for each image, (N,); 0 where a row is labelled -100.

    Menon et al. 2021, equation 10; tau = 1 is the balanced softmax of Ren et al. 2020.

    Args:
        logits: (N, C).
        labels: int64 (N,) or class probabilities (N, C).
        prior: log priors (C,); a constant added to all of them changes nothing.
        tau: strength of the adjustment, >= 0.
    """
    return F.cross_entropy(logits + tau * prior, labels, reduction="none")


def membership(labels: Tensor, num_classes: int) -> Tensor:
    """Class probabilities of each row, (N, C): one-hot for int64 labels (N,), all zero for rows labelled -100.

    Args:
        labels: int64 (N,), or class probabilities (N, C), which are returned unchanged.
        num_classes: number of classes, C.
    """
    if labels.ndim == 2:
        return labels
    return (labels[:, None] == torch.arange(num_classes, device=labels.device)).float()


def density_ratio_regulariser(
    logits: Tensor, labels: Tensor, prior: Tensor, lam: float, of_label: bool = False
) -> Tensor:
    """Regulariser of LADE, sum over the classes c of pi_c R_c; a scalar (Hong et al. 2021).

    R_c = -(m_c - g_c - lam g_c^2), where m_c is the mean of logit c over the images of class c, 0 if there are none,
    and g_c the logarithm of the mean of w exp(logit c) over all images. -R_c is a regularised Donsker-Varadhan bound on
    the divergence between the images of class c and a set with equally frequent classes.

    Args:
        logits: (N, C).
        labels: int64 (N,), where rows labelled -100 are ignored; or class probabilities (N, C).
        prior: log priors, log pi, (C,).
        lam: weight of the term g_c^2, >= 0.
        of_label: whether the importance weight w is 1 / (C pi_y) with the image's class y, as in the paper, instead of
            1 / (C pi_c) with the class c of the logit, as in the reference code.
    """
    members = membership(labels, logits.shape[1]).to(logits.dtype)
    ratios = (-prior - math.log(len(prior))).exp().to(logits.dtype)  # 1 / (C pi_c)
    weights = members @ ratios[:, None] if of_label else members.sum(1, keepdim=True) * ratios  # 0 in ignored rows
    means = (members * logits).sum(0) / members.sum(0).clamp(min=1e-12)
    bounds = (logits + weights.log()).logsumexp(0) - members.sum().log()
    return prior.exp().to(logits.dtype) @ (bounds + lam * bounds * bounds - means)
