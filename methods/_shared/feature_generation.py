"""The rare-class sample generator as a module (Wang et al., CVPR 2021), vectorised.

Generated maps stand in slots, as many as the batch has rows where shapes must be static; a mask says which count.
Nothing in here reads a value back, and no tensor of (rows, centres, channels, height, width) is formed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHORT = 1e-6  # a vector shorter than this has no direction: its cosine is 0, without the huge gradient of a quotient


class Pairs(NamedTuple):
    """Which rows meet in which slot.

    Attributes:
        frequent: int64 (N,), row of the frequent-class sample of each slot.
        rare: int64 (N,), row of the rare-class sample.
        valid: bool (N,), slots that count; the others hold any rows.
    """

    frequent: Tensor
    rare: Tensor
    valid: Tensor


class Contrast(nn.Module):
    """Do two maps belong to one class? 1x1 convolution, ReLU, 3x3 convolution, spatial mean, two logits.

    The mean of a convolution is linear in the sums of its input over the nine shifted windows, so the convolution is
    never carried out: exact, and some 30 times cheaper on ResNet-32, where it would cost more than the backbone.

    Args:
        width: channels of each map.
        inner: channels inside.
        kernel: of the first convolution, 1 (reference code) or 3 (paper).
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
        """Two maps (P, width, H, W) to logits (P, 2): index 1 is "same class". `frozen` keeps gradient from weights."""
        values = [value.detach() if frozen else value for value in self.parameters()]
        weight1, bias1, weight2, bias2, head, bias = values
        inner = F.relu(F.conv2d(torch.cat([first, second], 1), weight1, bias1, padding=weight1.shape[2] // 2))
        windows = shifted_sums(inner) / (inner.shape[2] * inner.shape[3])
        return F.linear(windows.flatten(1) @ weight2.flatten(1).T + bias2, head, bias)


def shifted_sums(maps: Tensor) -> Tensor:
    """Sums over what each tap of a 3x3 convolution with padding 1 sees of (P, K, H, W): (P, K, 3, 3).

    The upper taps miss the last row, the lower ones the first; columns likewise.
    """
    rows = maps.sum(3)
    first, last = maps[..., 0], maps[..., -1]
    columns = torch.stack([rows - last, rows, rows - first], -1)  # (P, K, H, 3)
    whole = columns.sum(2)
    return torch.stack([whole - columns[:, :, -1], whole, whole - columns[:, :, 0]], 2)


class Generator(nn.Module):
    """Centres, their estimation, the displacement transform and the contrastive module.

    Args:
        classes: C.
        width: channels D of the maps.
        centres: K, per class.
        kernel: of the contrastive module's first convolution.
        memory_rows: group vectors of the MV loss as the reference code does, by D consecutive numbers in memory.
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
        """Soft assignment of maps to their class's K centres, softmax(A_l' a + b_l), a the spatial mean: (N, K)."""
        means = maps.mean((2, 3))
        return torch.softmax(torch.einsum("nd,ndk->nk", means, self.weight[labels]) + self.bias[labels], 1)

    def centre_loss(self, maps: Tensor, labels: Tensor, assignment: Tensor) -> Tensor:
        """Mean over the batch of the squared distances to the centres, weighted by the assignment (CESC, first term).

        |x - c|^2 summed over positions is |x|^2 - 2 P <a, c> + P |c|^2: no (N, K, D, H, W) tensor.
        """
        positions = maps.shape[2] * maps.shape[3]
        centres = self.centres[labels]
        squares = (maps * maps).sum((1, 2, 3))
        mixed = torch.einsum("nd,nkd->nk", maps.mean((2, 3)), centres)
        distances = squares[:, None] + positions * ((centres * centres).sum(2) - 2 * mixed)
        return (assignment * distances).sum(1).mean()

    def pair_loss(self, maps: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of "same class?" for pairs of the batch's first and second half (CESC, second term)."""
        half = len(maps) // 2
        if half == 0:
            return maps.new_zeros(())
        same = (labels[:half] == labels[half : 2 * half]).long()
        return F.cross_entropy(self.contrast(maps[:half], maps[half : 2 * half]), same)

    def displacements(self, maps: Tensor, labels: Tensor, assignment: Tensor) -> Tensor:
        """Maps minus the nearest centre of their class, detached, (N, D, H, W)."""
        nearest = self.centres[labels, assignment.argmax(1)].detach()
        return maps - nearest[:, :, None, None]

    def forward(self, maps: Tensor, labels: Tensor, assignment: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """What is added to the rare map of each slot, and the MV loss over the slots that count.

        Args:
            maps: float32 (N, D, H, W), detached.
            labels: int64 (N,).
            assignment: (N, K), soft assignment to the centres, see the method of that name.
            pairs: see `pair_up`.

        Returns:
            T(displacement of x_frequent), (N, D, H, W): added to the rare rows it gives the generated maps; a scalar.
            Gradient reaches the transform alone.
        """
        moved = self.displacements(maps, labels, assignment)
        far, near = moved[pairs.frequent], moved[pairs.rare]
        change = self.transform(far)
        loss = self.variance_loss(change, near, far, maps[pairs.frequent], pairs.valid)
        return change, loss

    def variance_loss(self, change: Tensor, near: Tensor, far: Tensor, frequent: Tensor, valid: Tensor) -> Tensor:
        """MV loss: direction of the rare sample's displacement, length of the frequent one's, "different class"."""
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
        """(S, D, H, W) to vectors (S, P, D): the channels of each position, or rows of D numbers in memory."""
        if self.memory_rows:
            return maps.contiguous().view(len(maps), -1, maps.shape[1])
        return maps.flatten(2).transpose(1, 2)


def frequent_classes(counts: Tensor, fraction: float) -> Tensor:
    """The round(fraction x C) classes with most images, ties to the lower index, at least 1 and not all: bool (C,)."""
    order = counts.argsort(descending=True, stable=True)
    number = min(max(round(fraction * len(counts)), 1), len(counts) - 1)
    return torch.zeros_like(counts, dtype=torch.bool).index_fill_(0, order[:number], True)


def pair_up(frequent: Tensor, transfer: Tensor | float) -> Pairs:
    """Pair frequent-class rows with rare-class rows, in batch order, each of the more numerous kind at most once.

    With h frequent and t rare rows, the fewer are used max(floor(transfer x more / fewer), 1) times.

    Args:
        frequent: bool (N,), which rows are of a frequent class.
        transfer: in [0, 1]; strength of the transfer.
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
