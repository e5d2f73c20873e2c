"""M2m: major-to-minor translation of frequent-class images into rare-class images (Kim et al., CVPR 2020).

Family: generation
Changes from ERM: after a fraction `start` of training, classes are drawn equally often, and a drawn image of a class
with n images becomes, with probability 1 - n / n_max, a candidate for replacement by a translated image. Its seed is
another image of the batch from a larger class (for class k, class i is chosen with weight 1 - beta^(n_i - n_k)).
`iterations` gradient steps of length `step` move the seed to where a frozen ERM network g predicts class k and the
network in training has a low logit for the seed's class (weight `lam`). The translated image replaces the drawn image
if g predicts class k with a probability of at least `gamma` and a Bernoulli draw with the same weight succeeds;
otherwise the drawn image is kept.
Departs from the paper: follows the reference code, where `gamma` is a probability of g and the weight is used twice.
g is the ERM run of the neighbouring seed, because the authors train g and the network separately; `source=own_seed`
takes the finished ERM run whose first epochs the network shares, and such a g accepts the network's images too
readily. The Bernoulli draw does not depend on the attack and precedes it, so that rejected images are never computed.
n_max is the size of the largest class, not of the first. Results are those of the last epoch on all test images (the
code selects an epoch on a tenth of the test set). By default `beta` is derived from the class sizes; the paper tuned
it per dataset.
Ablations: `lam=0` (g alone), `gamma=0` (g accepts everything), `gamma=0` with `iterations=0` (seeds with new labels),
`seeds=noise` (noise instead of images of the batch), `random_start=per_sample` (the random start as intended).
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
    Moment,
    Needs,
    NonNegative,
    Now,
    SmallCount,
    Split,
    Stage,
    epochs_before,
)
from ..benchmarks.network import Classifier
from ..benchmarks.nn.bn_folding import Folded
from ..benchmarks.precision import drop_empty, rounding
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
    """Translation of frequent-class images into rare-class images, after a fraction `start` of training.

    Attributes:
        base: name of the method whose loss is used. Its class weights, if it has any, apply from `start` on, in
            addition to class-balanced sampling (`base.defer=1`: never).
        start: fraction of training before translation and class-balanced sampling begin (160 of 200 epochs).
        beta: parameter of the probability that a seed is accepted; the larger beta is, the more images the seed's class
            must have. None chooses 0.999, 0.99 or 0.9 according to the class sizes.
        gamma: smallest probability of the new class, predicted by g, with which a translated image is accepted.
        lam: weight, in the attack's objective, of the seed class's logit under the network in training.
        step: Euclidean length of an attack step, in pixel values in [0, 1].
        iterations: number of attack steps.
        random_start: noise added before the attack: as in the reference code, or with a norm of 0.5 per image.
        seeds: start images of the attack: images of the batch, or noise.
        source: ERM run that provides g: the run of the neighbouring seed, or the run of the same seed.
        attack: precision of convolutions and matrix products during the attack.
    """

    base: str = "erm"
    start: Moment = 0.8
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
        """Set the base's `defer` to `start`: class weights apply once translation begins."""
        return {"defer": self.start}

    def needs(self, epochs: int) -> Needs:
        """A finished ERM network g, and the shared prefix of the base, at most the epochs before translation begins."""
        before, shared = epochs_before(self.start, epochs), self.make_base().needs(epochs)
        prefix = before if self.base == "erm" else min(before, shared.prefix)
        return replace(shared, prefix=prefix, network=True, other_seed=self.source == "other_seed")

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Compute the probabilities per class, fold the batch norms of both networks, and attach the counts."""
        super().begin_stage(stage, net, train)
        counts = train.counts
        self.beta_ = float(fitting_beta(counts)) if self.beta is None else self.beta
        self.natural_ = (counts.double() / counts.max()).float()
        self.accept_ = acceptance(counts, self.beta_)
        squares = (self.accept_ * self.accept_).sum(0) / self.accept_.sum(0).clamp(min=1e-12)
        chosen = ((1 - self.natural_) * squares).tolist()  # per class: probability that a row is chosen
        self.probability_ = sum(chosen) / len(chosen)  # classes are drawn equally often
        self.own_, self.other_ = Folded(net), Folded(_source(net))
        TALLY.attach(net, torch.zeros_like(counts))

    def sampling(self, counts: Tensor, now: Now) -> Tensor | None:
        """Equal class probabilities (C,) once translation begins, None before."""
        return None if now.progress < self.start else torch.ones(len(counts))

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        """Reset the counts of the epoch."""
        TALLY.reset(net)

    @torch.no_grad()
    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """Replace some images of the batch by translated images, once translation begins."""
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
        """Start images of the attack, one per slot, (slots, 3, H, W) in [0, 1]."""
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
        """Translated images (S, 3, H, W), and the mask of those that g accepts as their new class, bool (S,)."""
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
        """Add the outcomes of the candidates per class to the tally; `slots`: masks of the valid and the used slots."""
        marks = (
            choice.candidate, choice.candidate & choice.seedless, choice.seeded & ~choice.agreed, choice.chosen,
        )  # fmt: skip
        total, seedless, refused, chosen = (_per_class(mark, labels, len(self.natural_)) for mark in marks)
        valid, used = (_per_class(mark, labels[rows], len(self.natural_)) for mark in slots)
        TALLY.add(net, total, seedless, refused, chosen - valid, valid - used, used)

    def measures(self, net: Classifier, now: Now) -> dict[str, float]:
        """Fractions of the epoch's candidates: no seed, rejected by the draw, no slot, rejected by g, translated.

        After the last epoch also `beta`, and the translated fraction of the candidates of each class.
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
        """Remove g and the counts, and finish the network as the base does."""
        del net.source
        TALLY.detach(net)
        return super().finish(net, train)


def _source(net: Classifier) -> Classifier:
    """The frozen ERM network g, which the trainer attaches to the network."""
    source = net.get_submodule("source.net")
    assert isinstance(source, Classifier)
    return source


def _per_class(mark: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Number of marked rows of each class, int64 (C,)."""
    return torch.zeros(classes, dtype=labels.dtype, device=labels.device).index_add_(0, labels, mark.to(labels.dtype))
