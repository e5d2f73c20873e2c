"""RSG: a rare-class sample generator inside the backbone, with any loss (Wang et al., CVPR 2021).

Changes from ERM: while training, a module sits before the second-to-last down-sampling of the backbone. It learns
`centers` centres per class; how frequent-class maps deviate from their centre is transformed by a convolution and, from
`start` of training on, added to rare-class maps of the batch, which gives more maps of rare classes for the layers
above. A contrastive module, trained until then, and the MV loss keep the transformed deviations apart from the
frequent class. The loss on top is `criterion`. The finished network is the plain one.
Departs from the paper: contrastive pairs, order of pairing, counts of generated maps and the cut of the gradient follow
the reference code. Repaired defects of that code: vectors of the MV loss are channels of a position (it takes D
consecutive numbers in memory), frequent classes are those with most images (it takes the first), the contrastive module
is frozen by epoch, the cosine of a zero vector passes no gradient. `preset=reference` gives its semantics back; its MV
loss is larger by a constant.
Reported: LDAM-DRW with RSG, ResNet-32, 200 epochs, accuracy: CIFAR-10-LT ratio 50 82.8, ratio 100 79.6; CIFAR-100-LT
ratio 50 48.5, ratio 100 44.6 (Table 6; epoch not stated, the code keeps the best test epoch).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from ..benchmarks.errors import UserError
from ..benchmarks.method import Batch, Count, Method, NonNegative, Now, Share, Split, Stage, filled, readable
from ..benchmarks.network import Classifier, Head
from ..benchmarks.nn.dar_batch_norm import batchnorms, convert_batchnorm, noise_rows
from ._shared.feature_generation import Generator, Pairs, frequent_classes, pair_up
from ._shared.losses import IGNORED, LOSSES, Loss

FREQUENT, TRANSFER = (0.2, 0.5), (1.0, 0.01)  # of the long-tailed and the step profile


@dataclass
class RSG(Method):
    """Rare-class sample generator.

    Attributes:
        criterion: the loss, with the defaults of the method of that name.
        preset: `suite`, or `reference` for the semantics of the reference code.
        centers: per class.
        frequent: share of the classes that count as frequent; None for 0.2, in a step profile 0.5.
        transfer: how often rare maps are used, up to 1; None for 1, in a step profile 0.01.
        start: share of training before maps are generated (160 of 200 epochs).
        insert: before which down-sampling of the backbone, counted from 1; None for the second to last.
        cesc_weight: of the centre and contrastive losses.
        mv_weight: of the MV loss.
        mv_rows: vectors of the MV loss: channels of a position, numbers in memory, or as the preset has it.
        conv1_kernel: of the contrastive module's first convolution; 3 in the paper, 1 in its code.
        cesc_reduction: `position_mean` divides the centre loss by the positions, for sets on which centres diverge.
        detach_rare: generated maps pass no gradient to the layers below (reference code).
    """

    # The name that users expect; it hides the hook `criterion`, which this method does not use.
    criterion: Literal["erm", "cb-rw", "drw", "focal", "cb-focal", "m-drw", "ldam-drw"] = "ldam-drw"  # type: ignore[assignment]
    preset: Literal["suite", "reference"] = "suite"
    centers: Count = 15
    frequent: Share | None = None
    transfer: Share | None = None
    start: Share = 0.8
    insert: Count | None = None
    cesc_weight: NonNegative = 0.1
    mv_weight: NonNegative = 0.01
    mv_rows: Literal["preset", "channel", "memory"] = "preset"
    conv1_kernel: Literal[1, 3] = 1
    cesc_reduction: Literal["sum", "position_mean"] = "sum"
    detach_rare: bool = True

    def head(self, default: Head) -> Head:
        """The head that the criterion needs."""
        return self._loss().head()

    def _loss(self) -> Loss:
        return copy.copy(LOSSES[self.criterion])

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Attach the generator where the backbone is cut; class constants.

        Raises:
            UserError: the backbone has no such place, or all classes would be frequent, or none.
        """
        self.loss_ = self._loss()
        self.loss_.begin(train.counts)
        self.frequent_, self.transfer_ = self._frequent(train.counts), self._transfer(train.counts)
        self.cut_, width = find_cut(net, train.pixels(torch.tensor([0], device=train.labels.device)), self.insert)
        if self.preset == "reference" and not any(True for _ in net.backbone[self.cut_].parameters()):
            self.cut_ += 1  # DenseNet: the reference code stands after the pooling
        upper = net.backbone[self.cut_ :]
        if batchnorms(upper):  # slots without a map must not enter the statistics: they are routed as noise would be
            convert_batchnorm(upper, "dar")
        memory_rows = self.mv_rows == "memory" or (self.mv_rows == "preset" and self.preset == "reference")
        net.rsg = Generator(train.num_classes, width, self.centers, self.conv1_kernel, memory_rows)

    def _frequent(self, counts: Tensor) -> Tensor:
        """Frequent classes, bool (C,)."""
        if self.frequent is None and self.preset == "suite":
            long_tail, step = (frequent_classes(counts, share) for share in FREQUENT)
            return torch.where(is_step(counts), step, long_tail)
        share, total = FREQUENT[0] if self.frequent is None else self.frequent, len(counts)
        number = int(share * total) if self.preset == "reference" else round(share * total)
        if not 0 < number < total:
            raise UserError(
                f"frequent = {share:g} makes {number} of {total} classes frequent; rsg needs frequent classes and "
                "others. Choose another share: --set rsg.frequent=0.2"
            )
        if self.preset == "reference":
            return torch.arange(total, device=counts.device) < number
        return frequent_classes(counts, share)

    def _transfer(self, counts: Tensor) -> Tensor:
        """Strength of the transfer, float64 ()."""
        if self.transfer is None and self.preset == "suite":
            long_tail, step = torch.tensor(TRANSFER, dtype=torch.float64, device=counts.device)
            return torch.where(is_step(counts), step, long_tail)
        value = TRANSFER[0] if self.transfer is None else self.transfer
        return torch.tensor(value, dtype=torch.float64, device=counts.device)

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        """Stop if the centres diverged.

        Raises:
            UserError: they did.
        """
        if not torch.isfinite(net.get_parameter("rsg.centres")).all():
            raise UserError(
                "The centres of rsg diverged, as they do where one class dominates or maps are large. "
                "Use --set rsg.cesc_reduction=position_mean or a lower learning rate."
            )

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        """The criterion over natural and generated maps, the centre losses, and the MV loss."""
        generator = cast(Generator, net.rsg)
        maps = net.backbone[: self.cut_](net.normalise(batch.images))
        late = now.progress >= self.start
        with torch.autocast(maps.device.type, enabled=False):
            still = maps.detach().float()
            shares = generator.shares(still, batch.labels)
            centre = generator.centre_loss(still, batch.labels, shares)
            if self.cesc_reduction == "position_mean":
                centre = centre / (maps.shape[2] * maps.shape[3])
            if late:
                pairs = pair_up(self.frequent_[batch.labels], self.transfer_)
                pairs = Pairs(*filled(pairs.valid, *pairs))
                change, variance = generator(still, batch.labels, shares.detach(), pairs)
            else:
                early = self.cesc_weight * (centre + generator.pair_loss(still, batch.labels))
        if not late:
            return early + self._criterion(net, maps, batch.labels, None, now)
        base = still if self.detach_rare else maps
        made = base[pairs.rare] + change
        labels = torch.where(pairs.valid, batch.labels[pairs.rare], IGNORED)
        empty = None if readable(labels) else torch.cat([torch.zeros_like(pairs.valid), ~pairs.valid])
        both, labels = torch.cat([maps, made.to(maps.dtype)]), torch.cat([batch.labels, labels])
        extra = self.cesc_weight * centre + self.mv_weight * variance
        return extra + self._criterion(net, both, labels, empty, now)

    def _criterion(self, net: Classifier, maps: Tensor, labels: Tensor, empty: Tensor | None, now: Now) -> Tensor:
        """The loss of maps at the cut; rows of `empty` count nowhere."""
        upper = net.backbone[self.cut_ :]
        with noise_rows(upper, empty if batchnorms(upper) else None):
            features = upper(maps).float()
        return self.loss_(net.classify(features), labels, now.progress)

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """The plain network."""
        del net.rsg
        upper = net.backbone[self.cut_ :]
        if batchnorms(upper):
            convert_batchnorm(upper, "standard")
        self._loss().finish(net)
        return net


def is_step(counts: Tensor) -> Tensor:
    """Whether classes have only two sizes, bool ()."""
    return ((counts == counts.max()) | (counts == counts.min())).all()


@torch.no_grad()
def find_cut(net: Classifier, image: Tensor, insert: int | None) -> tuple[int, int]:
    """Where the generator stands: the number of the backbone's stage before which it is cut, and the channels there.

    Args:
        net: its stages are tried on one image, in evaluation mode.
        image: uint8 (1, 3, H, W).
        insert: which of the stages that lower the resolution; None for the second to last (the paper's rule; the
            last one is the pooling before the classifier).

    Raises:
        UserError: there is no such stage.
    """
    was_training = net.training
    net.eval()
    maps, places = net.normalise(image.float() / 255), []
    for number, stage in enumerate(net.backbone):
        after = stage(maps)
        if maps.dim() == 4 and after.shape[2:] != maps.shape[2:]:
            places.append((number, maps.shape[1]))
        maps = after
    net.train(was_training)
    wanted = len(places) - 1 if insert is None else insert
    if not 1 <= wanted <= len(places) or len(places) < 2:
        raise UserError(
            f"insert = {wanted}: stages of this backbone lower the resolution {len(places)} times; rsg stands before "
            "one of them and needs a backbone of at least two such stages."
        )
    return places[wanted - 1]
