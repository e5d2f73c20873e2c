"""PC-softmax: an ERM network whose softmax is compensated for the class prior afterwards (Hong et al. 2021).

Family: prior
Changes from ERM: none during training. Afterwards log pi_target - log pi is added to the classifier's biases, where
pi_c = n_c / N is the fraction of training images that belong to class c and pi_target = 1 / C, the prior of a test set
with equally frequent classes. The predicted classes are those of post-hoc logit adjustment with tau = 1.
Departs from the paper: the paper also compensates for test sets with other priors.
Reported: ResNeXt-50, 180 epochs, ImageNet-LT 52.8; CIFAR-100-LT, recipe 'lade' with another backbone, ratio 100 45.3,
ratio 50 49.5, ratio 10 61.2 (as quoted by later papers).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..benchmarks.method import Method, Needs, Split
from ..benchmarks.network import Classifier
from ._shared.priors import log_prior


def compensated(scores: Tensor, prior: Tensor, target: Tensor) -> Tensor:
    """Logits or biases (..., C), corrected for a test set whose class priors differ from those of the training set.

    Args:
        scores: logits or biases (..., C) of a network trained with cross-entropy.
        prior: log priors of the training set (C,).
        target: log priors of the test set (C,).
    """
    return scores - prior + target


@dataclass
class PCSoftmax(Method):
    """Classifier of an ERM run, with biases that compensate for the class prior of the training set."""

    def needs(self, epochs: int) -> Needs:
        """A complete ERM run as shared prefix."""
        return Needs(prefix=epochs)

    @torch.no_grad()
    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Correct the biases for a test set with equally frequent classes."""
        bias, prior = net.get_parameter("head.bias"), log_prior(train.counts)
        bias.copy_(compensated(bias, prior, torch.full_like(prior, -math.log(len(prior)))))
        return net
