"""The rare-class sample generator of RSG as a module (Wang et al., CVPR 2021), vectorised.

Generated maps occupy slots, one per row of the batch so that shapes are static, and a mask marks the valid slots.
Nothing here synchronises with the device, and no tensor of shape (rows, centres, channels, height, width) is formed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHORT = 1e-6  # the cosine of a shorter vector is set to 0, which avoids the huge gradient of the quotient


class Pairs(NamedTuple):
    """Pairs of a frequent-class row and a rare-class row, one per slot.

    Attributes:
        frequent: int64 (N,), row of the frequent-class sample of each slot.
        rare: int64 (N,), row of the rare-class sample of each slot.
        valid: bool (N,), mask of the valid slots; the rows of other slots are arbitrary.
    """

    frequent: Tensor
    rare: Tensor
    valid: Tensor


class Contrast(nn.Module):
    """Classifier of pairs of maps, same class or not: convolution, ReLU, 3x3 convolution, spatial mean, linear layer.

    The spatial mean of the 3x3 convolution is linear in the sums of its input over the nine shifted windows, so the
    convolution itself is not computed. The result is the same up to rounding and some 30 times cheaper on ResNet-32,
    where the convolution would cost more than the backbone.

    Args:
        width: channels of each map.
        inner: hidden channels.
        kernel: size of the first convolution, 1 (reference code) or 3 (paper).
    """

    def __init__(self, width: int, inner: int = 256, kernel: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2 * width, inner, kernel, padding=kernel // 2)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1)
        self.head = nn.Linear(inner, 2)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, first: Tensor, second: Tensor, frozen: bool = False) -> Tensor:
        """Logits (P, 2) of pairs of maps (P, width, H, W), index 1 is "same class"; `frozen` detaches the weights."""
        values = [value.detach() if frozen else value for value in self.parameters()]
        weight1, bias1, weight2, bias2, head, bias = values
        inner = F.relu(F.conv2d(torch.cat([first, second], 1), weight1, bias1, padding=weight1.shape[2] // 2))
        windows = shifted_sums(inner) / (inner.shape[2] * inner.shape[3])
        return F.linear(windows.flatten(1) @ weight2.flatten(1).T + bias2, head, bias)


def shifted_sums(maps: Tensor) -> Tensor:
    """Sums of maps (P, K, H, W) over the window of each tap of a 3x3 convolution with padding 1, (P, K, 3, 3).

    The windows of the upper taps omit the last row, those of the lower taps omit the first; likewise for columns.
    """
    rows = maps.sum(3)
    first, last = maps[..., 0], maps[..., -1]
    columns = torch.stack([rows - last, rows, rows - first], -1)  # (P, K, H, 3)
    whole = columns.sum(2)
    return torch.stack([whole - columns[:, :, -1], whole, whole - columns[:, :, 0]], 2)


class Generator(nn.Module):
    """Class centres with soft assignment, the displacement transform, and the contrastive module.

    Args:
        classes: number of classes C.
        width: channels D of the maps.
        centres: number of centres K per class.
        kernel: size of the contrastive module's first convolution.
        memory_rows: use D consecutive numbers in memory as the vectors of the MV loss, as in the reference code,
            instead of the channels of a position.
    """

    def __init__(self, classes: int, width: int, centres: int, kernel: int, memory_rows: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, width, centres))
        self.bias = nn.Parameter(torch.ones(classes, centres))
        self.centres = nn.Parameter(torch.zeros(classes, centres, width))
        self.transform = nn.Conv2d(width, width, 3, padding=1)
        nn.init.kaiming_normal_(self.transform.weight)
        nn.init.zeros_(self.transform.bias)  # type: ignore[arg-type]
        self.contrast = Contrast(width, kernel=kernel)
        self.memory_rows = memory_rows

    def assignment(self, maps: Tensor, labels: Tensor) -> Tensor:
        """Soft assignment (N, K) of maps to the K centres of their class l: softmax(A_l' a + b_l) of spatial mean a."""
        means = maps.mean((2, 3))
        return torch.softmax(torch.einsum("nd,ndk->nk", means, self.weight[labels]) + self.bias[labels], 1)

    def centre_loss(self, maps: Tensor, labels: Tensor, assignment: Tensor) -> Tensor:
        """Mean over the batch of the squared distances to the centres, weighted by the assignment (CESC, first term).

        Expanded to |x|^2 - 2 P <a, c> + P |c|^2 per map, with P positions, to avoid a tensor of (N, K, D, H, W).
        """
        positions = maps.shape[2] * maps.shape[3]
        centres = self.centres[labels]
        squares = (maps * maps).sum((1, 2, 3))
        mixed = torch.einsum("nd,nkd->nk", maps.mean((2, 3)), centres)
        distances = squares[:, None] + positions * ((centres * centres).sum(2) - 2 * mixed)
        return (assignment * distances).sum(1).mean()

    def pair_loss(self, maps: Tensor, labels: Tensor) -> Tensor:
        """Contrastive loss: cross-entropy for pairs of the first and second half of the batch (CESC, second term)."""
        half = len(maps) // 2
        if half == 0:
            return maps.new_zeros(())
        same = (labels[:half] == labels[half : 2 * half]).long()
        return F.cross_entropy(self.contrast(maps[:half], maps[half : 2 * half]), same)

    def displacements(self, maps: Tensor, labels: Tensor, assignment: Tensor) -> Tensor:
        """Maps minus the centre of their class with the largest assignment, which is detached; (N, D, H, W)."""
        nearest = self.centres[labels, assignment.argmax(1)].detach()
        return maps - nearest[:, :, None, None]

    def forward(self, maps: Tensor, labels: Tensor, assignment: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Transformed displacement of each slot, and the MV loss over the valid slots.

        Args:
            maps: float32 (N, D, H, W), detached.
            labels: int64 (N,).
            assignment: (N, K), see `assignment`.
            pairs: see `pair_up`.

        Returns:
            The transformed displacements of the frequent maps (N, D, H, W), which give the generated maps when added
            to the rare maps, and the MV loss (). Only the transform receives gradients.
        """
        moved = self.displacements(maps, labels, assignment)
        far, near = moved[pairs.frequent], moved[pairs.rare]
        change = self.transform(far)
        loss = self.variance_loss(change, near, far, maps[pairs.frequent], pairs.valid)
        return change, loss

    def variance_loss(self, change: Tensor, near: Tensor, far: Tensor, frequent: Tensor, valid: Tensor) -> Tensor:
        """MV loss, a scalar: mean over the valid slots of three penalties on the transformed displacement.

        They are its deviation from the direction of the rare displacement and from the length of the frequent one, and
        the cross-entropy of the contrastive module for "different class".
        """
        a, b, c = (self._vectors(maps) for maps in (change, near, far))
        long_a, long_b, long_c = a.norm(dim=2), b.norm(dim=2), c.norm(dim=2)
        cosine = (a * b).sum(2) / (long_a.clamp(min=SHORT) * long_b.clamp(min=1e-12))
        cosine = torch.where(long_a > SHORT, cosine, 0)
        direction = (cosine - 1).abs().sum(1)
        length = (long_a - long_c).abs().sum(1)
        logits = self.contrast(frequent, change, frozen=True)
        different = F.cross_entropy(logits, torch.zeros_like(valid, dtype=torch.int64), reduction="none")
        each = direction + length + different
        return torch.where(valid, each, 0).sum() / valid.sum().clamp(min=1)

    def _vectors(self, maps: Tensor) -> Tensor:
        """Vectors (S, P, D) of maps (S, D, H, W): channels of each position, or D consecutive numbers in memory."""
        if self.memory_rows:
            return maps.contiguous().view(len(maps), -1, maps.shape[1])
        return maps.flatten(2).transpose(1, 2)


def frequent_classes(counts: Tensor, fraction: float) -> Tensor:
    """Mask of the round(fraction x C) largest classes, at least 1 and at most C - 1; bool (C,).

    Of equally large classes, those with lower indices are chosen.
    """
    order = counts.argsort(descending=True, stable=True)
    number = min(max(round(fraction * len(counts)), 1), len(counts) - 1)
    return torch.zeros_like(counts, dtype=torch.bool).index_fill_(0, order[:number], True)


def pair_up(frequent: Tensor, transfer: Tensor | float) -> Pairs:
    """Pair frequent-class rows with rare-class rows in batch order; rows of the larger group are used at most once.

    Rows of the smaller group are used max(floor(transfer x larger / smaller), 1) times.

    Args:
        frequent: bool (N,), mask of the rows of a frequent class.
        transfer: strength of the transfer, in [0, 1].
    """
    total = len(frequent)
    order = (~frequent).to(torch.int8).argsort(stable=True)  # frequent rows, then rare ones, each in batch order
    h = frequent.sum()
    t = total - h
    more, fewer = torch.maximum(h, t), torch.minimum(h, t)
    times = (more.double() * transfer / fewer.clamp(min=1)).floor().clamp(min=1)
    slots = torch.arange(total, device=frequent.device)
    valid = slots < times.long() * fewer
    repeated = slots % fewer.clamp(min=1)
    first = torch.where(h >= t, slots, repeated)
    second = h + torch.where(h >= t, repeated, slots)
    return Pairs(order[first], order[second.clamp(max=total - 1)], valid)
