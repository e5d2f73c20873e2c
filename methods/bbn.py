"""BBN: bilateral branch network with cumulative learning (Zhou et al. 2020).

Family: bilateral
Changes from ERM: the last residual block exists twice, behind one shared trunk. In each step, the first copy sees a
batch (x_a, y_a) of images drawn as in ERM, the second a batch (x_b, y_b) whose classes are drawn with probability
proportional to 1 / n. With the pooled features f_a and f_b, the logits are z = W [2 alpha f_a; 2 (1 - alpha) f_b] + b,
and the loss is alpha CE(z, y_a) + (1 - alpha) CE(z, y_b), where alpha = 1 - (e / (`horizon` E))^2 in epoch e of E: the
emphasis moves from the first copy to the second. The final network sends an image through both copies and
concatenates their features without these factors. A step makes two forward passes, and each updates the running
statistics of the shared batch norms.
Initial weights: trunk and first copy have those of ERM. Each weight tensor of the second copy is that of the first with
its elements shuffled, so that the copies start from different weights; the reference code initialises them
independently.
Departs from the paper: nothing known. The recipe `bbn` is that of the paper on CIFAR.
Backbones: any whose last stage with weights is a sequence of blocks, such as the suite's ResNets, Wide ResNets,
ResNeXts and DenseNets, and timm's ResNets. Normalisation and pooling after the block are part of each copy.
Reported: ResNet-32, 200 epochs, accuracy at ratio 100 / 50 / 10: CIFAR-10-LT 79.8 / 82.2 / 88.3, CIFAR-100-LT 42.6 /
47.0 / 59.1 (Table 2; best test epoch). Users of the reference code report 79.5 for CIFAR-10-LT at ratio 50.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..benchmarks.errors import UserError
from ..benchmarks.method import Backbone, Batch, Method, Now, Positive, Sampling, Split, Stage
from ..benchmarks.network import Classifier, Head
from ..benchmarks.nn.backbones.assembly import join

ALPHA = "bbn_alpha"  # name of the buffer with the current alpha


class Branches(nn.Module):
    """Two branches that receive the same feature maps; their features are concatenated.

    Args:
        first: branch for images drawn as in ERM; maps feature maps to features (N, d).
        second: branch for images drawn with reversed class probabilities, likewise.
    """

    def __init__(self, first: nn.Sequential, second: nn.Sequential) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, maps: Tensor) -> Tensor:
        """Map feature maps (N, K, H, W) to (N, 2d)."""
        return torch.cat([self.first(maps), self.second(maps)], 1)


def bilateral(backbone: nn.Sequential, again: nn.Sequential) -> nn.Sequential:
    """A backbone of width 2d whose last block and the layers after it exist twice, in its last stage, `branches`.

    Args:
        backbone: backbone of width d, whose modules become the trunk and the first branch.
        again: the same backbone, built again; its last modules become the second branch.

    Raises:
        UserError: the last stage with weights is not a sequence of blocks.
    """
    trunk, first = cut_before_last_block(backbone)
    branches = Branches(first, reordered(cut_before_last_block(again)[1]))
    return join({**trunk, "branches": branches}, 2 * cast(int, backbone.width))


def cut_before_last_block(backbone: nn.Sequential) -> tuple[dict[str, nn.Module], nn.Sequential]:
    """Cut a backbone before its last block; return the stages before the cut, by name, and the layers after it.

    Raises:
        UserError: the last stage with weights is not a sequence of blocks.
    """
    names, stages = zip(*backbone.named_children(), strict=True)
    last = max(number for number, stage in enumerate(stages) if _has_weights(stage))
    if not isinstance(stages[last], nn.Sequential):
        raise UserError(
            f"bbn copies the last block of the backbone, but its last stage, '{names[last]}', is not a sequence of "
            "blocks. Choose another backbone, such as resnet32."
        )
    cut = max(number for number, block in enumerate(stages[last]) if _has_weights(block))
    trunk = dict(zip(names[:last], stages[:last], strict=True))
    if cut:
        trunk[names[last]] = stages[last][:cut]
    return trunk, nn.Sequential(*stages[last][cut:], *stages[last + 1 :])


def _has_weights(module: nn.Module) -> bool:
    """Whether a module has weights of convolutions or linear layers, not only vectors, such as those of batch norms."""
    return any(parameter.ndim >= 2 for parameter in module.parameters())


@torch.no_grad()
def reordered(branch: nn.Sequential) -> nn.Sequential:
    """Shuffle the elements of each weight tensor of a branch in place, but not biases; return the branch.

    If the initial weights of a layer are independent and identically distributed, so are the shuffled ones.
    """
    for parameter in branch.parameters():
        if parameter.ndim >= 2:
            order = torch.randperm(parameter.numel())
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return branch


def alpha_of(epoch: int, epochs: int, horizon: float = 1.0) -> float:
    """Weight alpha of the first branch, 1 - (epoch / (horizon x epochs))^2, and 0 once that is negative.

    Args:
        epoch: number of the epoch, from 0.
        epochs: number of epochs.
        horizon: epochs until alpha is 0, as a multiple of `epochs`.
    """
    return 1 - min(1.0, epoch / epochs / horizon) ** 2


def mixed_features(first: Tensor, second: Tensor, alpha: Tensor) -> Tensor:
    """Input (N, 2d) of the classifier in training, [2 alpha f_a; 2 (1 - alpha) f_b].

    Args:
        first: features f_a of the first branch (N, d).
        second: features f_b of the second branch (N, d).
        alpha: weight of the first branch, scalar.
    """
    return torch.cat([2 * alpha * first, 2 * (1 - alpha) * second], 1)


def mixed_loss(logits: Tensor, first: Tensor, second: Tensor, alpha: Tensor) -> Tensor:
    """Scalar loss alpha CE(z, y_a) + (1 - alpha) CE(z, y_b).

    Args:
        logits: z (N, C).
        first: labels y_a of the images of the first branch, int64 (N,).
        second: labels y_b of the images of the second branch, int64 (N,).
        alpha: weight of the first branch, scalar.
    """
    return alpha * F.cross_entropy(logits, first) + (1 - alpha) * F.cross_entropy(logits, second)


@dataclass
class BBN(Method):
    """Two branches, one for ordinary and one for reversed sampling; the emphasis shifts from the first to the second.

    Attributes:
        horizon: length of the shift as a multiple of the number of epochs; the reference code uses 100 / 90 for
            iNaturalist.
    """

    trains_backbone: ClassVar[bool] = True

    horizon: Positive = 1.0

    def network(self, backbone: Backbone, num_classes: int, head: Head) -> Classifier:
        """A network whose head classifies the concatenated features of both branches.

        Raises:
            UserError: the last stage of the backbone that has weights is not a sequence of blocks.
        """
        return Classifier(bilateral(backbone(), backbone()), head, num_classes)

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Attach the buffer for alpha, which `begin_epoch` sets."""
        net.register_buffer(ALPHA, torch.ones((), device=train.labels.device), persistent=False)

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        """Set alpha for the epoch."""
        net.get_buffer(ALPHA).fill_(alpha_of(now.epoch, now.epochs, self.horizon))

    def streams(self, counts: Tensor, now: Now) -> Sequence[Sampling]:
        """A second stream, with class probabilities (C,) proportional to 1 / n; 0 for classes without images."""
        return [torch.where(counts > 0, 1 / counts.double(), 0)]

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        """Mixed loss of the batches of both streams; row i of one is paired with row i of the other."""
        alpha, other = net.get_buffer(ALPHA), batch.further[0]
        trunk, branches = net.backbone[:-1], cast(Branches, net.backbone[-1])
        first = branches.first(trunk(net.normalise(batch.images))).float()
        second = branches.second(trunk(net.normalise(other.images))).float()
        logits = net.classify(mixed_features(first, second, alpha))
        return mixed_loss(logits, batch.labels, other.labels, alpha)

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Remove the buffer for alpha."""
        delattr(net, ALPHA)
        return net
