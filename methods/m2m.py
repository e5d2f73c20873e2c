"""M2m: major-to-minor translation, frequent-class images turned into rare-class ones (Kim et al., CVPR 2020).

Changes from ERM: from `start` of training on, classes are drawn equally often, and a drawn image of a class with n
images is, with probability 1 - n / n_max, to be replaced by a translated one. Its seed is another image of the batch,
of a class with more images (class i for class k with weight 1 - beta^(n_i - n_k)). `iterations` gradient steps of
length `step` bring the seed to where a frozen network g, trained by ERM, sees class k and the network in training has a
low logit of the seed's class (`lam`). The result takes the place of the drawn image if g gives class k a probability of
at least `gamma` and a coin with the same weight agrees; else the drawn image stays.
What it starts from: g is the ERM run of the neighbouring seed, so that the two networks were trained apart, as the
authors train them (`source=own_seed`: the run's own seed, where the network in training leaves an ERM run at `start`
and g is its end). With the base `erm`, training begins as ERM.
Departs from the paper: follows the reference code, where `gamma` is a probability of g and the weight is used twice.
The coin is tossed before the attack, on which it does not depend: images that it rejects are never made. Probability
1 - n / n_max uses the largest class, not the first. Evaluation on all test images and the last epoch (the code selects
on a tenth of the test set). Unset, `beta` follows the class sizes: the paper tuned it per data set.
Ablations: `lam=0` (g alone), `gamma=0` (g refuses nothing), `gamma=0` with `iterations=0` (seeds with new labels),
`seeds=noise` (noise in place of images of the batch), `random_start=per_sample` (the start as it was meant).
Reported: ResNet-32, 200 epochs, balanced accuracy: CIFAR-10-LT ratio 100 79.1, CIFAR-100-LT ratio 100 43.5 (Table 1;
best epoch on a tenth of the test set).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..benchmarks.method import (
    Batch,
    BelowOne,
    Count,
    Fraction,
    Needs,
    NonNegative,
    Now,
    Split,
    Stage,
    drop_empty,
    epochs_before,
    overridden_hooks,
)
from ..benchmarks.network import Classifier
from ..benchmarks.nn.bn_folding import Folded
from ..benchmarks.precision import rounding
from ._shared.base import OnBase
from ._shared.batches import in_layout_of
from ._shared.slots import capacity, fill_slots
from ._shared.tally import Tally
from ._shared.translation import (
    Choice,
    acceptance,
    choose_seeds,
    chosen_fractions,
    fitting_beta,
    natural_fractions,
    objective,
    passes_gate,
    random_start,
    translate,
)

# Per class: candidates; of these without a seed, refused by the coin, without a slot, refused by g, translated.
TALLY = Tally("m2m_count", "candidates", "no_seed", "coin", "no_slot", "gate", "translated")


@dataclass
class M2m(OnBase):
    """Rare-class images by translation, from a moment of training on.

    Attributes:
        base: head and loss; `ldam-drw` adds class weights to the equal draws, `ldam` has margins alone.
        base_values: values of its fields; `defer` is `start` unless it is set.
        start: fraction of training before translation and class-balanced draws (160 of 200 epochs).
        beta: how many more images the seed's class must have; None for 0.999, 0.99 or 0.9 by the class sizes.
        gamma: probability that g must give the new class.
        lam: weight of the logit of the seed's class in the network that is trained.
        step: length of a step of the attack, in pixel values.
        iterations: steps of the attack.
        random_start: noise before the attack, as in the reference code or with a norm of 0.5 for each image.
        seeds: what is translated, images of the batch or noise.
        attack: arithmetic of the attack's convolutions.
        source: which ERM run gives g: that of the neighbouring seed, or of the run's own.
    """

    base: str = "erm"
    start: Fraction = 0.8
    beta: BelowOne | None = None
    gamma: Fraction = 0.9
    lam: NonNegative = 0.5
    step: NonNegative = 0.1
    iterations: Count = 10
    random_start: Literal["legacy", "per_sample"] = "legacy"
    seeds: Literal["batch", "noise"] = "batch"
    attack: Literal["fp32", "bf16"] = "fp32"
    source: Literal["other_seed", "own_seed"] = "other_seed"

    def values_for_base(self) -> dict[str, Any]:
        """Class weights set in with the equal draws."""
        return {"defer": self.start}

    def needs(self, epochs: int) -> Needs:
        """A finished ERM network, what the base needs, and the base's first epochs if these are another method's."""
        base, before_start = self.base_.needs(epochs), epochs_before(self.start, epochs)
        shared = min(base.prefix, before_start) if overridden_hooks(type(self.base_)) else before_start
        return dataclasses.replace(base, prefix=shared, network=True, other_seed=self.source == "other_seed")

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Derive class constants; read the structure of both networks."""
        super().begin_stage(stage, net, train)
        counts = train.counts
        self.beta_ = float(fitting_beta(counts)) if self.beta is None else self.beta
        self.natural_ = natural_fractions(counts)
        self.accept_ = acceptance(counts, self.beta_)
        fractions = chosen_fractions(self.natural_, self.accept_).tolist()
        self.probability_ = sum(fractions) / len(fractions)  # that a row of a balanced batch is chosen
        self.own_view_, self.source_view_ = Folded(net), Folded(_source(net))
        TALLY.attach(net, counts)

    def sampling(self, counts: Tensor, now: Now) -> Tensor | None:
        """Classes equally often, once translation begins."""
        return None if now.progress < self.start else torch.ones(len(counts))

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        """Set the counters to zero."""
        TALLY.clear(net)

    @torch.no_grad()
    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """Replace images by translated ones."""
        if now.progress < self.start:
            return batch
        images, labels = batch.images, batch.labels
        uniform = torch.rand(3, len(labels), generator=now.generator, device=labels.device)
        choice = choose_seeds(labels, self.natural_, self.accept_, uniform)
        rows, valid = fill_slots(choice.chosen, capacity(self.probability_, len(labels)))
        begin = self._start_images(images, choice, rows, now)
        rows, begin, valid = drop_empty(valid, rows, begin, valid)
        origin = choice.seeds[rows]
        with rounding(self.attack, images):
            translated, passed = self._attack(net, in_layout_of(begin, images), labels[origin], labels[rows], valid)
        used = valid & passed
        self._count(net, labels, choice, rows, valid, used)
        kept = torch.where(used.view(-1, 1, 1, 1), translated, images[rows])
        changed = in_layout_of(images.index_copy(0, rows, kept), images)
        synthetic = torch.zeros_like(choice.chosen).index_copy(0, rows, used)
        if self.seeds == "noise":
            return Batch(changed, labels, synthetic)
        return Batch(changed, labels, synthetic, torch.zeros_like(labels).index_copy(0, rows, origin), labels)

    def _start_images(self, images: Tensor, choice: Choice, rows: Tensor, now: Now) -> Tensor:
        """What the attack on each slot begins with, (slots, 3, H, W)."""
        noise = torch.rand(images[rows].shape, generator=now.generator, device=images.device) - 0.5
        if self.seeds == "noise":
            return (noise + 0.5).to(images.dtype)
        seeded = (choice.refused | choice.chosen).sum()
        return (images[choice.seeds[rows]] + random_start(noise, seeded, self.random_start == "per_sample")).clamp(0, 1)

    def _attack(
        self, net: Classifier, begin: Tensor, seed: Tensor, target: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Translated images (S, 3, H, W), and whether g sees their new class, bool (S,)."""
        own = self.own_view_.freeze(net, self.attack)
        source = self.source_view_.freeze(_source(net), self.attack)

        def loss(images: Tensor) -> Tensor:
            return objective(source(images), own(images), target, seed, self.lam)

        translated = translate(begin, loss, self.step, self.iterations, valid)
        return translated, passes_gate(source(translated), target, self.gamma)

    def _count(
        self, net: Classifier, labels: Tensor, choice: Choice, rows: Tensor, valid: Tensor, used: Tensor
    ) -> None:
        def per_class(mark: Tensor, classes: Tensor) -> Tensor:
            return torch.zeros_like(self.natural_, dtype=torch.int64).index_add_(0, classes, mark.long())

        in_slots, translated = per_class(valid, labels[rows]), per_class(used, labels[rows])
        TALLY.add(
            net,
            candidates=per_class(choice.candidate, labels),
            no_seed=per_class(choice.seedless, labels),
            coin=per_class(choice.refused, labels),
            no_slot=per_class(choice.chosen, labels) - in_slots,
            gate=in_slots - translated,
            translated=translated,
        )

    def measures(self, net: Classifier, now: Now) -> dict[str, float]:
        """Fractions of the epoch's candidates: without a seed, refused by the coin, without a slot, and so on.

        After the last epoch also `beta`, and the translated fraction of each class's candidates.
        """
        counts = TALLY.read(net)
        candidates = counts.pop("candidates")
        total = sum(candidates)
        if not total:
            return {}
        measures = {f"m2m_{name}": sum(part) / total for name, part in counts.items()}
        if now.epoch + 1 == now.epochs:
            measures["m2m_beta"] = self.beta_
            for label, (translated, number) in enumerate(zip(counts["translated"], candidates, strict=True)):
                if number:
                    measures[f"m2m_translated_class{label}"] = translated / number
        return measures

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Remove g and the counters; finish as the base does."""
        del net.source
        TALLY.remove(net)
        return super().finish(net, train)


def _source(net: Classifier) -> Classifier:
    """The frozen ERM network g."""
    source = net.get_submodule("source.net")
    assert isinstance(source, Classifier)
    return source
