"""M2m: major-to-minor translation, frequent-class images turned into rare-class ones (Kim et al., CVPR 2020).

Changes from ERM: from `start` of training on, classes are drawn equally often, and a drawn image of a class with n
images is, with probability 1 - n / n_max, to be replaced by a translated one. Its seed is another image of the batch,
of a class with more images (class i for class k with weight 1 - beta^(n_i - n_k)). `iterations` gradient steps of
length `step` bring the seed to where a frozen network g, trained by ERM, sees class k and the network in training has a
low logit of the seed's class (`lam`). The result takes the place of the drawn image if g gives class k a probability of
at least `gamma` and a coin with the same weight agrees; else the drawn image stays.
Departs from the paper: follows the reference code, where `gamma` is a probability of g and the weight is used twice.
g is the ERM run of the neighbouring seed (the authors train g and the network apart; `source=own_seed` takes the end of
the run whose first epochs the network shares, which accepts that network's images too readily). The coin is tossed
before the attack, on which it does not depend: images that it rejects are never made. Probability 1 - n / n_max uses
the largest class, not the first. Evaluation on all test images and the last epoch (the code selects on a tenth of the
test set). Unset, `beta` follows the class sizes: the paper tuned it per data set.
Ablations: `lam=0` (g alone), `gamma=0` (g refuses nothing), `gamma=0` with `iterations=0` (seeds with new labels),
`seeds=noise` (noise in place of images of the batch), `random_start=per_sample` (the start as it was meant).
Reported: ResNet-32, 200 epochs, balanced accuracy: CIFAR-10-LT ratio 100 79.1, CIFAR-100-LT ratio 100 43.5 (Table 1;
best epoch on a tenth of the test set).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ..benchmarks.method import (
    Batch,
    BelowOne,
    Fraction,
    Needs,
    NonNegative,
    Now,
    SmallCount,
    Split,
    Stage,
    drop_empty,
    epochs_before,
)
from ..benchmarks.network import Classifier
from ..benchmarks.nn.bn_folding import Folded
from ..benchmarks.precision import rounding
from ._shared.base import OnBase
from ._shared.rows import capacity, layout_of
from ._shared.tally import Tally
from ._shared.translation import (
    Choice,
    acceptance,
    choose_sources,
    fill_slots,
    fitting_beta,
    objective,
    random_start,
    translate,
)

TALLY = Tally("m2m_count", ("candidates", "no_seed", "coin", "no_slot", "gate", "translated"))


@dataclass
class M2m(OnBase):
    """Rare-class images by translation, after `start` of training.

    Attributes:
        base: name of the method whose loss is used. Its class weights, if it has any, set in at `start`, in addition to
            the equal draws (`base.defer=1`: never).
        start: fraction of training before translation and class-balanced draws (160 of 200 epochs).
        beta: how many more images the seed's class must have; None for 0.999, 0.99 or 0.9 by the class sizes.
        gamma: probability that g must give the new class.
        lam: weight of the logit of the seed's class in the network that is trained.
        step: length of a step of the attack, in pixel values.
        iterations: steps of the attack.
        random_start: noise before the attack, as in the reference code or with a norm of 0.5 for each image.
        seeds: what is translated, images of the batch or noise.
        source: g is the ERM run of the neighbouring seed, or of the run's own.
        attack: arithmetic of the attack's convolutions and matrix products.
    """

    base: str = "erm"
    start: Fraction = 0.8
    beta: BelowOne | None = None
    gamma: Fraction = 0.9
    lam: NonNegative = 0.5
    step: NonNegative = 0.1
    iterations: SmallCount = 10
    random_start: Literal["legacy", "per_sample"] = "legacy"
    seeds: Literal["batch", "noise"] = "batch"
    source: Literal["other_seed", "own_seed"] = "other_seed"
    attack: Literal["fp32", "bf16"] = "fp32"

    def own_values(self) -> dict[str, Any]:
        """Class weights of the base set in when translation begins."""
        return {"defer": self.start}

    def needs(self, epochs: int) -> Needs:
        """A finished ERM network g; and the base's first epochs, up to the beginning of translation."""
        before, shared = epochs_before(self.start, epochs), self.make_base().needs(epochs)
        prefix = before if self.base == "erm" else min(before, shared.prefix)
        return replace(shared, prefix=prefix, network=True, other_seed=self.source == "other_seed")

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Derive the class constants and the structure of both networks."""
        super().begin_stage(stage, net, train)
        counts = train.counts
        self.beta_ = float(fitting_beta(counts)) if self.beta is None else self.beta
        self.natural_ = (counts.double() / counts.max()).float()
        self.accept_ = acceptance(counts, self.beta_)
        squares = (self.accept_ * self.accept_).sum(0) / self.accept_.sum(0).clamp(min=1e-12)
        chosen = ((1 - self.natural_) * squares).tolist()  # of a class's rows: candidates that the coin accepts
        self.probability_ = sum(chosen) / len(chosen)  # classes are drawn equally often
        self.own_, self.other_ = Folded(net), Folded(_source(net))
        TALLY.attach(net, torch.zeros_like(counts))

    def sampling(self, counts: Tensor, now: Now) -> Tensor | None:
        """Classes equally often, once translation begins."""
        return None if now.progress < self.start else torch.ones(len(counts))

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        """Reset the counts."""
        TALLY.reset(net)

    @torch.no_grad()
    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """Replace images by translated ones."""
        if now.progress < self.start:
            return batch
        images, labels = batch.images, batch.labels
        uniform = torch.rand(3, len(labels), generator=now.generator, device=labels.device)
        choice = choose_sources(labels, self.natural_, self.accept_, uniform)
        rows, valid = fill_slots(choice.chosen, capacity(len(labels), self.probability_))
        begin = self._starts(images, choice, rows, now)
        rows, begin, valid = drop_empty(valid, rows, begin, valid)
        origin, target = choice.seeds[rows], labels[rows]
        new, accepted = self._translated(net, layout_of(begin, images), target, labels[origin], valid)
        used = valid & accepted
        self._count(net, labels, choice, rows, (valid, used))
        kept = torch.where(used.view(-1, 1, 1, 1), new, images[rows])
        changed = layout_of(images.index_copy(0, rows, kept), images)
        synthetic = torch.zeros_like(choice.candidate).index_copy(0, rows, used)
        if self.seeds == "noise":
            return Batch(changed, labels, synthetic)
        return Batch(changed, labels, synthetic, torch.zeros_like(labels).index_copy(0, rows, origin), labels)

    def _starts(self, images: Tensor, choice: Choice, rows: Tensor, now: Now) -> Tensor:
        """Where the attack begins for each slot, (slots, 3, H, W) in [0, 1]."""
        noise = torch.rand(images[rows].shape, generator=now.generator, device=images.device) - 0.5
        if self.seeds == "noise":
            begin = (noise + 0.5).to(images.dtype)
        else:
            offset = random_start(noise, choice.seeded.sum(), self.random_start == "per_sample")
            begin = images[choice.seeds[rows]] + offset
        return begin.clamp(0, 1)

    def _translated(
        self, net: Classifier, begin: Tensor, target: Tensor, seed: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Translated images, and whether g accepts each as its new class, bool."""
        half = self.attack == "bf16"
        own, other = self.own_.freeze(net, half), self.other_.freeze(_source(net), half)

        def loss(images: Tensor) -> Tensor:
            return objective(other(images), own(images), target, seed, self.lam)

        with rounding(self.attack, begin):
            images = translate(begin, loss, self.step, self.iterations, valid)
            return images, other(images).softmax(1).gather(1, target[:, None])[:, 0] >= self.gamma

    def _count(
        self, net: Classifier, labels: Tensor, choice: Choice, rows: Tensor, slots: tuple[Tensor, Tensor]
    ) -> None:
        """Add up, per class, what became of the candidates; `slots` are the valid ones and the used ones, bool."""
        marks = (
            choice.candidate, choice.candidate & choice.seedless, choice.seeded & ~choice.agreed, choice.chosen,
        )  # fmt: skip
        total, seedless, refused, chosen = (_per_class(mark, labels, len(self.natural_)) for mark in marks)
        valid, used = (_per_class(mark, labels[rows], len(self.natural_)) for mark in slots)
        TALLY.add(net, total, seedless, refused, chosen - valid, valid - used, used)

    def measures(self, net: Classifier, now: Now) -> dict[str, float]:
        """Of the epoch's candidates: without a seed, refused by the coin, without a slot, refused by g, translated.

        After the last epoch also `beta`, and the translated fraction of each class's candidates.
        """
        counts = TALLY.read(net)
        candidates, translated = counts["candidates"], counts["translated"]
        total = sum(candidates)
        if not total:
            return {}
        measures = {f"m2m_{name}": sum(values) / total for name, values in counts.items() if name != "candidates"}
        if now.epoch + 1 == now.epochs:
            measures["m2m_beta"] = self.beta_
            each = enumerate(zip(candidates, translated, strict=True))
            measures |= {f"m2m_translated_class{k}": used / count for k, (count, used) in each if count}
        return measures

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Remove g and the counts."""
        del net.source
        TALLY.detach(net)
        return super().finish(net, train)


def _source(net: Classifier) -> Classifier:
    """The frozen ERM network g."""
    source = net.get_submodule("source.net")
    assert isinstance(source, Classifier)
    return source


def _per_class(mark: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How many marked rows each class has, int64 (C,)."""
    return torch.zeros(classes, dtype=labels.dtype, device=labels.device).index_add_(0, labels, mark.to(labels.dtype))
