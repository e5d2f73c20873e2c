"""M2m: major-to-minor translation, frequent-class images turned into rare-class ones (Kim et al., CVPR 2020).

Changes from ERM: from `start` of training on, classes are drawn equally often, and a drawn image of a class with n
images is, with probability 1 - n / n_max, to be replaced by a translated one. Its seed is another image of the batch,
of a class with more images (class i for class k with weight 1 - beta^(n_i - n_k)). `iterations` gradient steps of
length `step` bring the seed to where a frozen network g, trained by ERM, sees class k and the network in training has a
low logit of the seed's class (`lam`). The result takes the place of the drawn image if g gives class k a probability of
at least `gamma` and a coin with the same weight agrees; else the drawn image stays.
Departs from the paper: follows the reference code, where `gamma` is a probability of g and the weight is used twice.
Both networks are one ERM run: the network in training leaves it at `start`, g is its end. The coin is tossed before the
attack, on which it does not depend: images that it rejects are never made. Probability 1 - n / n_max uses the largest
class, not the first. Evaluation on all test images and the last epoch (the code selects on a tenth of the test set).
Unset, `beta` follows the class sizes: the paper tuned it per data set. The attack runs in bfloat16 where the machine is
faster in it (`attack=fp32` never).
Ablations: `lam=0` (g alone), `gamma=0` (g refuses nothing), `gamma=0` with `iterations=0` (seeds with new labels),
`seeds=noise` (noise in place of images of the batch), `random_start=per_sample` (the start as it was meant).
Reported: ResNet-32, 200 epochs, balanced accuracy: CIFAR-10-LT ratio 100 79.1, CIFAR-100-LT ratio 100 43.5 (Table 1;
best epoch on a tenth of the test set).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..benchmarks.method import (
    Batch,
    BelowOne,
    Method,
    Needs,
    NonNegative,
    Now,
    Share,
    Split,
    Stage,
    Whole,
    epochs_before,
    filled,
)
from ..benchmarks.network import Classifier, Head
from ..benchmarks.nn.bn_folding import Folded
from ..benchmarks.precision import fast_bf16
from ._shared.losses import Loss, MarginLoss
from ._shared.translation import (
    acceptance,
    capacity,
    draw_seeds,
    fill_slots,
    fitting_beta,
    objective,
    random_start,
    seed_chances,
    translate,
)

COUNTED = ("candidates", "no_seed", "coin", "no_slot", "gate", "translated")


@dataclass
class M2m(Method):
    """Rare-class images by translation, late.

    Attributes:
        criterion: the loss; `ldam-drw` adds class weights to the equal draws, `ldam` has margins alone.
        start: share of training before translation and class-balanced draws (160 of 200 epochs).
        beta: how many more images the seed's class must have; None for 0.999, 0.99 or 0.9 by the class sizes.
        gamma: probability that g must give the new class.
        lam: weight of the logit of the seed's class in the network that is trained.
        step: length of a step of the attack, in pixel values.
        iterations: steps of the attack.
        random_start: noise before the attack, as in the reference code or with a norm of 0.5 for each image.
        seeds: what is translated, images of the batch or noise.
        attack: precision of the attack; `bf16` where the machine is faster in it, else fp32.
    """

    # The name that users expect; it hides the hook `criterion`, which this method does not use.
    criterion: Literal["erm", "ldam", "ldam-drw"] = "erm"  # type: ignore[assignment]
    start: Share = 0.8
    beta: BelowOne | None = None
    gamma: Share = 0.9
    lam: NonNegative = 0.5
    step: NonNegative = 0.1
    iterations: Whole = 10
    random_start: Literal["legacy", "per_sample"] = "legacy"
    seeds: Literal["batch", "noise"] = "batch"
    attack: Literal["bf16", "fp32"] = "bf16"

    def needs(self, epochs: int) -> Needs:
        """A finished ERM network; with its loss, training begins as ERM, too."""
        return Needs(prefix=epochs_before(self.start, epochs) if self.criterion == "erm" else 0, network=True)

    def head(self, default: Head) -> Head:
        """The head that the criterion needs."""
        return self._loss().head()

    def _loss(self) -> Loss:
        if self.criterion == "erm":
            return Loss()
        return MarginLoss("effective" if self.criterion == "ldam-drw" else None, defer=self.start)

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Class constants; the structure of both networks."""
        self.loss_ = self._loss()
        self.loss_.begin(train.counts)
        counts = train.counts
        self.beta_ = float(fitting_beta(counts)) if self.beta is None else self.beta
        self.natural_ = (counts.double() / counts.max()).float()
        self.accept_ = acceptance(counts, self.beta_)
        squares = (self.accept_ * self.accept_).sum(0) / self.accept_.sum(0).clamp(min=1e-12)
        self.shares_ = ((1 - self.natural_) * squares).tolist()  # of a class's rows: candidates that the coin accepts
        self.own_, self.other_ = Folded(net), Folded(_source(net))
        self.bf16_ = self.attack == "bf16" and fast_bf16(counts.device.type)
        net.register_buffer("m2m_count", counts.new_zeros(len(COUNTED), len(counts)), persistent=False)

    def sampling(self, counts: Tensor, now: Now) -> Tensor | None:
        """Classes equally often, once translation begins."""
        return None if now.progress < self.start else torch.ones(len(counts))

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        """Count anew."""
        net.get_buffer("m2m_count").zero_()

    @torch.no_grad()
    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """Replace images by translated ones."""
        if now.progress < self.start:
            return batch
        images, labels, random = batch.images, batch.labels, now.generator
        natural, which, coin = torch.rand(3, len(labels), generator=random, device=labels.device)
        candidate = natural >= self.natural_[labels]
        chances = seed_chances(self.accept_, labels)
        seedless = chances.sum(1) == 0
        seeds = draw_seeds(chances, which)
        agreed = coin < self.accept_[labels[seeds], labels]
        chosen = candidate & ~seedless & agreed
        rows, valid = fill_slots(chosen, capacity(self.shares_, len(labels)))
        origin, target = seeds[rows], labels[rows]
        own, other = self.own_.freeze(net, self.bf16_), self.other_.freeze(_source(net), self.bf16_)

        noise = torch.rand(images[rows].shape, generator=random, device=images.device) - 0.5
        if self.seeds == "noise":
            begin = (noise + 0.5).to(images.dtype)
        else:
            begin = images[origin] + random_start(
                noise, (candidate & ~seedless).sum(), self.random_start == "per_sample"
            )
        rows, origin, target, begin, valid = filled(valid, rows, origin, target, begin, valid)
        made = translate(
            _like(begin.clamp(0, 1), images),
            lambda moved: objective(other(moved), own(moved), target, labels[origin], self.lam),
            self.step, self.iterations, valid,
        )  # fmt: skip
        passed = other(made).softmax(1).gather(1, target[:, None])[:, 0] >= self.gamma
        used = valid & passed
        kept = torch.where(used.view(-1, 1, 1, 1), made, images[rows])
        parts = [candidate, candidate & seedless, candidate & ~seedless & ~agreed, chosen]
        self._count(net, labels, parts, rows, [valid, used])
        changed = _like(images.index_copy(0, rows, kept), images)
        made_up = torch.zeros_like(chosen).index_copy(0, rows, used)
        if self.seeds == "noise":
            return Batch(changed, labels, made_up)
        return Batch(changed, labels, made_up, torch.zeros_like(labels).index_copy(0, rows, origin), labels)

    def _count(
        self, net: Classifier, labels: Tensor, marks: list[Tensor], rows: Tensor, slot_marks: list[Tensor]
    ) -> None:
        """Add up, per class: candidates, without a seed, refused by the coin; no slot, refused by g, translated."""
        count = net.get_buffer("m2m_count")
        total, seedless, refused, chosen = (_per_class(mark, labels, count) for mark in marks)
        valid, used = (_per_class(mark, labels[rows], count) for mark in slot_marks)
        count += torch.stack([total, seedless, refused, chosen - valid, valid - used, used])

    def measures(self, net: Classifier, now: Now) -> dict[str, float]:
        """Of the epoch's candidates: without a seed, refused by the coin, without a slot, refused by g, translated.

        After the last epoch also `beta`, and the translated share of each class's candidates.
        """
        count = net.get_buffer("m2m_count").tolist()
        total = sum(count[0])
        if not total:
            return {}
        measures = {f"m2m_{name}": sum(part) / total for name, part in zip(COUNTED[1:], count[1:], strict=True)}
        if now.epoch + 1 == now.epochs:
            measures["m2m_beta"] = self.beta_
            each = zip(count[0], count[-1], strict=True)
            measures |= {f"m2m_translated_class{k}": used / many for k, (many, used) in enumerate(each) if many}
        return measures

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        """The criterion on the mixed batch; no gradient reaches the translated images."""
        return self.loss_(net(batch.images), batch.labels, now.progress)

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Leave g behind."""
        del net.source, net.m2m_count
        self._loss().finish(net)
        return net


def _source(net: Classifier) -> Classifier:
    """The frozen ERM network g."""
    source = net.get_submodule("source.net")
    assert isinstance(source, Classifier)
    return source


def _like(images: Tensor, model: Tensor) -> Tensor:
    """Images in the memory format of others."""
    last = model.is_contiguous(memory_format=torch.channels_last)
    return images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _per_class(mark: Tensor, labels: Tensor, like: Tensor) -> Tensor:
    """How many marked rows each class has, (C,)."""
    return torch.zeros_like(like[0]).index_add_(0, labels, mark.to(like.dtype))
