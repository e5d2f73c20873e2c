"""RSG: a rare-class sample generator inside the backbone, with any loss (Wang et al., CVPR 2021).

Family: generation
Changes from ERM: during training, a module precedes the second-to-last down-sampling of the backbone. It learns
`centers` centres per class. After a fraction `start` of training, the displacements of frequent-class feature maps from
their centres are transformed by a convolution and added to rare-class maps of the batch, which gives the layers above
additional maps of rare classes. A contrastive module, trained until then, and the MV loss remove the features of the
frequent class from the transformed displacements. The classification loss is that of `base`. The finished network does
not contain the module.
Departs from the paper: contrastive pairs, order of pairing, number of generated maps and the point where the gradient
is cut follow the reference code. Defects of that code that are fixed here: the vectors of the MV loss are the channels
of a position (the code takes D consecutive numbers in memory), frequent classes are those with the most images (the
code takes the first ones), the contrastive module is frozen by epoch, the cosine of a zero vector passes no gradient.
`preset=reference` restores the semantics of the code, except that the MV loss of the code is larger by a constant.
Reported: LDAM-DRW with RSG, ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 50 82.8, ratio 100 79.6; CIFAR-100-LT
ratio 50 48.5, ratio 100 44.6 (Table 6; epoch not stated, the code keeps the best test epoch).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor

from ..benchmarks.errors import UserError
from ..benchmarks.method import (
    Batch,
    Fraction,
    Moment,
    NonNegative,
    Now,
    PositiveInt,
    SmallInt,
    Split,
    Stage,
)
from ..benchmarks.network import Classifier
from ..benchmarks.nn.dar_batch_norm import batchnorms, convert_batchnorm, noise_rows
from ..benchmarks.nn.modes import evaluation_mode
from ..benchmarks.precision import drop_empty, host_reads_freely
from ._shared.base import OnBase
from ._shared.feature_generation import Generator, Pairs, frequent_classes, pair_up
from ._shared.losses import IGNORED

FREQUENT, TRANSFER = (0.2, 0.5), (1.0, 0.01)  # defaults for long-tailed and step profiles


@dataclass
class RSG(OnBase):
    """A generator of rare-class feature maps inside the backbone, with the loss of another method.

    Attributes:
        base: name of the method whose loss is used; `--set rsg.base.NAME=VALUE` sets its hyper-parameters.
        preset: `suite` corrects defects of the reference code, `reference` keeps them; see the method card.
        centers: number of centres per class.
        frequent: fraction of classes that count as frequent; None for 0.2; with `preset=suite`, 0.5 on a step profile.
        transfer: strength of the transfer, in [0, 1]; scales how often each map of the smaller group is reused; None
            for 1; with `preset=suite`, 0.01 on a step profile.
        start: fraction of training before maps are generated (160 of 200 epochs).
        insert: number, from 1, of the down-sampling stage before which the generator is inserted; None for the second
            to last.
        cesc_weight: weight of the centre and contrastive losses.
        mv_weight: weight of the MV loss.
        mv_rows: vectors of the MV loss: channels of a position, consecutive numbers in memory, or the preset's choice.
        conv1_kernel: kernel size of the contrastive module's first convolution; 3 in the paper, 1 in its code.
        cesc_reduction: `position_mean` divides the centre loss by the number of positions; use it if centres diverge.
        detach_rare: stop the gradient from generated maps to the layers below the generator (reference code).
    """

    needs_images: ClassVar[bool] = True  # the generator lies inside the backbone

    base: str = "ldam-drw"
    preset: Literal["suite", "reference"] = "suite"
    centers: SmallInt = 15
    frequent: Fraction | None = None
    transfer: Fraction | None = None
    start: Moment = 0.8
    insert: PositiveInt | None = None
    cesc_weight: NonNegative = 0.1
    mv_weight: NonNegative = 0.01
    mv_rows: Literal["preset", "channel", "memory"] = "preset"
    conv1_kernel: Literal[1, 3] = 1
    cesc_reduction: Literal["sum", "position_mean"] = "sum"
    detach_rare: bool = True

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Choose the frequent classes and the position of the generator in the backbone, and attach the generator.

        Raises:
            UserError: the backbone cannot be cut at `insert`, or `frequent` makes all or no classes frequent.
        """
        super().begin_stage(stage, net, train)
        self.frequent_, self.transfer_ = self._frequent(train.counts), self._transfer(train.counts)
        self.cut_, width = find_cut(net, train.pixels(torch.tensor([0], device=train.labels.device)), self.insert)
        if self.preset == "reference" and not any(True for _ in net.backbone[self.cut_].parameters()):
            self.cut_ += 1  # DenseNet: the reference code inserts the generator after the pooling
        upper = net.backbone[self.cut_ :]
        if batchnorms(upper):  # empty slots must not enter the batch statistics: they are routed like noise
            convert_batchnorm(upper, "dar")
        memory_rows = self.mv_rows == "memory" or (self.mv_rows == "preset" and self.preset == "reference")
        net.rsg = Generator(train.num_classes, width, self.centers, self.conv1_kernel, memory_rows)

    def _frequent(self, counts: Tensor) -> Tensor:
        """Mask of the frequent classes, bool (C,)."""
        if self.frequent is None and self.preset == "suite":
            long_tail, step = (frequent_classes(counts, fraction) for fraction in FREQUENT)
            return torch.where(is_step(counts), step, long_tail)
        fraction, total = FREQUENT[0] if self.frequent is None else self.frequent, len(counts)
        number = int(fraction * total) if self.preset == "reference" else round(fraction * total)
        if not 0 < number < total:
            raise UserError(
                f"frequent = {fraction:g} makes {number} of {total} classes frequent; rsg needs both frequent and rare "
                "classes. Choose another fraction: --set rsg.frequent=0.2"
            )
        if self.preset == "reference":
            return torch.arange(total, device=counts.device) < number
        return frequent_classes(counts, fraction)

    def _transfer(self, counts: Tensor) -> Tensor:
        """Strength of the transfer, float64 ()."""
        if self.transfer is None and self.preset == "suite":
            long_tail, step = torch.tensor(TRANSFER, dtype=torch.float64, device=counts.device)
            return torch.where(is_step(counts), step, long_tail)
        value = TRANSFER[0] if self.transfer is None else self.transfer
        return torch.tensor(value, dtype=torch.float64, device=counts.device)

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        """Check that the centres are finite.

        Raises:
            UserError: the centres diverged.
        """
        if not torch.isfinite(net.get_parameter("rsg.centres")).all():
            raise UserError(
                "The centres of rsg diverged, as happens when one class dominates or feature maps are large. "
                "Use --set rsg.cesc_reduction=position_mean or a lower learning rate."
            )

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        """The base's criterion over natural and generated maps, plus the losses of the generator."""
        maps = net.backbone[: self.cut_](net.normalise(batch.images))
        with torch.autocast(maps.device.type, enabled=False):
            if now.progress < self.start:
                extra = self.cesc_weight * self._centre_losses(net, maps, batch.labels)
            else:
                new, new_labels, extra = self._generated(net, maps, batch.labels)
        if now.progress < self.start:
            return extra + self._upper_loss(net, maps, batch.labels, None, now)
        labels = torch.cat([batch.labels, new_labels])
        empty = None if host_reads_freely(labels) else labels == IGNORED
        both = torch.cat([maps, new.to(maps.dtype)])
        return extra + self._upper_loss(net, both, labels, empty, now)

    def _centre_losses(self, net: Classifier, maps: Tensor, labels: Tensor) -> Tensor:
        """Sum of centre and contrastive losses, for epochs without generated maps; no gradient reaches the backbone."""
        generator, detached = cast(Generator, net.rsg), maps.detach().float()
        centre = self._centre_loss(generator, detached, labels, generator.assignment(detached, labels))
        return centre + generator.pair_loss(detached, labels)

    def _centre_loss(self, generator: Generator, maps: Tensor, labels: Tensor, assignment: Tensor) -> Tensor:
        loss = generator.centre_loss(maps, labels, assignment)
        return loss / (maps.shape[2] * maps.shape[3]) if self.cesc_reduction == "position_mean" else loss

    def _generated(self, net: Classifier, maps: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Generated maps (S, D, H, W), their labels (S,) with IGNORED in empty slots, and the generator's loss."""
        generator, detached = cast(Generator, net.rsg), maps.detach().float()
        assignment = generator.assignment(detached, labels)
        centre = self._centre_loss(generator, detached, labels, assignment)
        pairs = pair_up(self.frequent_[labels], self.transfer_)
        pairs = Pairs(*drop_empty(pairs.valid, *pairs))
        change, variance = generator(detached, labels, assignment.detach(), pairs)
        rare = (detached if self.detach_rare else maps)[pairs.rare]
        new_labels = torch.where(pairs.valid, labels[pairs.rare], IGNORED)
        return rare + change, new_labels, self.cesc_weight * centre + self.mv_weight * variance

    def _upper_loss(self, net: Classifier, maps: Tensor, labels: Tensor, empty: Tensor | None, now: Now) -> Tensor:
        """The base's criterion for feature maps at the cut; rows marked in `empty`, bool (N,), are ignored."""
        upper = net.backbone[self.cut_ :]
        with noise_rows(upper, empty if batchnorms(upper) else None):
            features = upper(maps).float()
        return self.criterion(net.classify(features), labels, now)

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Remove the generator, convert batch norms back to ordinary ones, and finish the base."""
        del net.rsg
        upper = net.backbone[self.cut_ :]
        if batchnorms(upper):
            convert_batchnorm(upper, "standard")
        return super().finish(net, train)


def is_step(counts: Tensor) -> Tensor:
    """Whether the class sizes take at most two values, bool ()."""
    return ((counts == counts.max()) | (counts == counts.min())).all()


@torch.no_grad()
def find_cut(net: Classifier, image: Tensor, insert: int | None) -> tuple[int, int]:
    """Index of the backbone stage before which the generator is inserted, and the number of channels there.

    Args:
        net: network whose backbone stages are run on one image, in evaluation mode.
        image: uint8 (1, 3, H, W).
        insert: number, from 1, among the stages that reduce the resolution; None for the second to last (the paper's
            rule; the last one is the pooling before the classifier).

    Raises:
        UserError: the backbone has fewer than `insert` such stages, or only one.
    """
    maps, cuts = net.normalise(image.float() / 255), []
    with evaluation_mode(net):
        for number, stage in enumerate(net.backbone):
            after = stage(maps)
            if maps.dim() == 4 and after.shape[2:] != maps.shape[2:]:
                cuts.append((number, maps.shape[1]))
            maps = after
    wanted = len(cuts) - 1 if insert is None else insert
    if not 1 <= wanted <= len(cuts) or len(cuts) < 2:
        raise UserError(
            f"insert = {wanted}: this backbone has {len(cuts)} stages that reduce the resolution. rsg is inserted "
            "before one of them, counted from 1, and needs a backbone with at least two."
        )
    return cuts[wanted - 1]
