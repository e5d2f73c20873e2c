"""OPeN: oversampling with pure noise images and distribution-aware routing batch norm, DAR-BN (Zada et al. 2022).

Family: generation
Changes from ERM: after a fraction `start` of training, classes are drawn equally often, and each drawn image of a class
with n images is replaced, with probability (1 - n / n_max) x `delta`, by an image of pure noise that keeps the label.
Every noise image is a new sample from a normal distribution with the per-channel mean and std of the long-tailed
training pixels, clipped to [0, 1] and inserted after augmentation and before normalisation. Batch norm computes
separate statistics for natural and for noise images; the finished network has ordinary batch norms.
Gradients from noise: the paper allows two readings. Its listing computes the whole noise branch without gradient, layer
by layer: noise images then train the classifier alone, acting as a prior over classes, and for the backbone OPeN is
deferred oversampling with class weights 1 - (1 - n / n_max) x delta (`noise_grad=stop`, the default, as in the only
published code). Its equation 13 fixes only gamma and beta: noise images then train every convolution
(`affine_frozen`). With `full` they also train gamma and beta.
Departs from the paper: clips the noise (the listing does not), adds beta (the equations subtract it), updates running
variances with the unbiased estimate and momentum 0.1 (neither is stated). The paper's augmentation is the recipe
`open`.
Ablations: `norm=auxiliary` (a second batch norm for noise) and `norm=standard` (one for both), with full gradients as
in the paper unless `noise_grad` is set; `control=drop` (noise images are left out and the loss is a mean over natural
images: the same natural images without the signal to the classifier); `noise=additive` (noise added to the image,
appendix B); `append=0.25` with `start=0` and the recipe `open-balanced` for balanced data (section 5).
Reported: WRN-28-10, 200 epochs, recipe `open`, accuracy, mean and standard error of 4 runs (Table 1): CIFAR-10-LT
ratio 100 84.6 +- 0.2, CIFAR-100-LT ratio 100 51.5 +- 0.4 (ERM 79.6 and 47.0). Standard batch norm 81.5 and 49.2,
auxiliary 83.4 and 50.1 (Table 4). An independent reproduction of the listing: 85.0 and 52.1, one run each.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..benchmarks.errors import UserError
from ..benchmarks.method import (
    Backbone,
    Batch,
    Factor,
    Fraction,
    Method,
    Moment,
    Needs,
    NonNegative,
    Now,
    Split,
    Stage,
    channel_moments,
    epochs_before,
)
from ..benchmarks.network import Classifier, Head
from ..benchmarks.nn.dar_batch_norm import batchnorms, convert_batchnorm, copy_to_noise, noise_rows
from ..benchmarks.precision import host_reads_freely
from ._shared.noise import additive_noise, choose_noise, noise_fraction, pure_noise
from ._shared.noise_rows import features_apart, teaches_the_head_alone
from ._shared.rows import append_rows
from ._shared.tally import Tally

TALLY = Tally("noise_count", ("drawn", "expected", "variance"))


@dataclass
class OPeN(Method):
    """Pure noise images for rare classes, in the last part of training.

    Attributes:
        delta: upper bound of the fraction of noise among the images of a class, which the rarest classes approach.
        start: fraction of training before noise and class-balanced sampling begin (160 of 200 epochs).
        norm: normalisation of noise images: DAR-BN, a second batch norm, or one batch norm for all images.
        noise_grad: parameters that noise images train, see the method card; `paper` is `stop` for `norm=dar`, else
            `full`.
        noise_init: state of the second batch norm when noise begins: a copy of the first one, or newly initialised.
        noise: replacement of an image: pure noise, or the image with added noise.
        strength: standard deviation of additive noise, in 8-bit pixel levels.
        noise_space: space of the noise in [0, 1]: pixels, which are then normalised, or the input of the first layer,
            as in the independent reproduction.
        control: `drop` leaves noise images out of the batch.
        append: number of noise images appended per natural image, with uniformly drawn labels; if positive, images are
            neither replaced nor oversampled.
        epoch_length: number of images drawn per epoch once noise begins: the size of the training split, or the number
            of classes times the size of the largest class.
    """

    delta: Fraction = 1 / 3
    start: Moment = 0.8
    norm: Literal["dar", "auxiliary", "standard"] = "dar"
    noise_grad: Literal["paper", "stop", "affine_frozen", "full"] = "paper"
    noise_init: Literal["copy", "fresh"] = "copy"
    noise: Literal["pure", "additive"] = "pure"
    strength: NonNegative = 75.0
    noise_space: Literal["pixel", "normalised"] = "pixel"
    control: Literal["none", "drop"] = "none"
    append: Factor = 0.0
    epoch_length: Literal["dataset", "balanced"] = "dataset"

    def __post_init__(self) -> None:
        """Reject settings that contradict each other, and settings without effect, which would only change the id.

        Raises:
            ValueError: such settings are given; the message names them.
        """
        gradient = self.noise_grad not in ("paper", "stop")
        for wrong, why in (
            (self.norm == "standard" and self.noise_grad not in ("paper", "full"),
             "norm=standard normalises noise together with natural images, so noise_grad can only be full"),
            (self.control == "drop" and (self.norm != "dar" or gradient),
             "control=drop leaves noise images out, so norm and noise_grad can only be dar and stop"),
            (self.noise_init == "fresh" and self.norm != "auxiliary", "noise_init=fresh needs norm=auxiliary"),
            (self.noise == "additive" and self.noise_space == "normalised", "noise=additive needs noise_space=pixel"),
            (self.append and (self.noise, self.epoch_length, self.control) != ("pure", "dataset", "none"),
             "append needs noise=pure, epoch_length=dataset and control=none"),
        ):  # fmt: skip
            if wrong:
                raise ValueError(why)

    def needs(self, epochs: int) -> Needs:
        """The prefix shared with an ERM run: the epochs before noise begins."""
        return Needs(prefix=epochs_before(self.start, epochs))

    def network(self, backbone: Backbone, num_classes: int, head: Head) -> Classifier:
        """The classifier, with every batch norm of its backbone converted to the layer that `norm` names.

        Raises:
            UserError: the backbone has no batch norm, and `norm` or `noise_grad` needs one.
        """
        layers = backbone()
        if batchnorms(layers):
            convert_batchnorm(layers, self.norm, noise_grad=self._grad, noise_init=self.noise_init)
        elif self.norm == "auxiliary" or self._grad == "affine_frozen":
            raise UserError("The backbone has no batch norm: norm=auxiliary and noise_grad=affine_frozen need one.")
        elif self.norm == "dar":
            warnings.warn(
                "The backbone has no batch norm to route; noise_grad=stop cuts the gradient before the classifier.",
                stacklevel=2,
            )
        return Classifier(layers, head, num_classes)

    @property
    def _grad(self) -> Literal["stop", "affine_frozen", "full"]:
        if self.noise_grad == "paper":
            return "stop" if self.norm == "dar" else "full"
        return self.noise_grad

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Compute the noise fraction of each class and the channel statistics of the unaugmented training pixels."""
        self.fraction_ = noise_fraction(train.counts, self.delta)
        mean, std = channel_moments(train.images)
        self.mean_, self.std_ = mean.float().view(3, 1, 1), std.float().view(3, 1, 1)
        self.routed_ = self.norm != "standard" and bool(batchnorms(net.backbone))
        detached = self.routed_ and self.norm == "dar" and self._grad == "stop" and host_reads_freely(train.labels)
        self.apart_ = detached and teaches_the_head_alone(net, train.images.shape[1:])
        TALLY.attach(net, mean.new_zeros(()))

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        """Check the noise count of the previous epoch; when noise begins, initialise the second batch norm."""
        self._check_fraction(net)
        if not (now.epoch - 1) / now.epochs < self.start <= now.progress:
            return
        if not self.append and not self.fraction_.any():
            warnings.warn(
                "open inserts no noise: the classes have equal sizes, or delta is 0. For balanced data use "
                "--recipe open-balanced --set append=0.25 --set start=0.",
                stacklevel=2,
            )
        if self.norm == "auxiliary" and self.noise_init == "copy":
            copy_to_noise(net.backbone)

    def sampling(self, counts: Tensor, now: Now) -> Tensor | None:
        """Equal class probabilities (C,) once noise begins, None before."""
        return None if now.progress < self.start or self.append else torch.ones(len(counts))

    def draws(self, counts: Tensor, now: Now) -> int | None:
        """Number of images drawn per epoch once noise begins, see `epoch_length`; None for the size of the split."""
        if now.progress < self.start or self.epoch_length == "dataset":
            return None
        return int(counts.max()) * len(counts)

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """Replace some images of the batch by noise images, or append noise images, once noise begins."""
        if now.progress < self.start:
            return batch
        if self.append:
            return self._appended(batch, net, now)
        uniform = torch.rand(len(batch.labels), generator=now.generator, device=batch.labels.device)
        fraction = self.fraction_[batch.labels]
        chosen = choose_noise(fraction, uniform)
        TALLY.add(net, chosen.sum(), fraction.sum(), (fraction * (1 - fraction)).sum())
        noise = self._noise(batch.images, net, now)
        images = torch.where(~chosen.view(-1, 1, 1, 1), batch.images, noise)  # this order keeps the memory format
        return Batch(images, batch.labels, chosen)

    def _appended(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        count = round(self.append * len(batch.labels))
        like = batch.images[:1].expand(count, -1, -1, -1)
        labels = torch.randint(
            len(self.fraction_), (count,), generator=now.generator, device=batch.labels.device, dtype=batch.labels.dtype
        )
        return append_rows(batch, self._noise(like, net, now), labels)

    def _check_fraction(self, net: Classifier) -> None:
        """Warn if the number of noise images of an epoch is improbable, over 5 std from its mean; reset the counts."""
        drawn, expected, variance = (value for (value,) in TALLY.read(net).values())
        if abs(drawn - expected) > 5 * variance**0.5 + 0.5:
            warnings.warn(
                f"open drew {drawn:.0f} noise images in an epoch; {expected:.0f} were expected.", stacklevel=2
            )
        TALLY.reset(net)

    def measures(self, net: Classifier, now: Now) -> dict[str, float]:
        """Number of noise images of the epoch, drawn and expected; empty if no image is replaced by noise."""
        drawn, expected, _ = (value for (value,) in TALLY.read(net).values())
        return {"open_noise": drawn, "open_noise_expected": expected} if expected else {}

    def _noise(self, images: Tensor, net: Classifier, now: Now) -> Tensor:
        """Noise images in the shape of `images`; with `noise=additive`, `images` plus noise."""
        normal = torch.randn(images.shape, generator=now.generator, device=images.device)
        if self.noise == "additive":
            return additive_noise(images, normal, self.strength)
        noise = pure_noise(normal, self.mean_, self.std_)
        return noise if self.noise_space == "pixel" else noise * net.normalise.std + net.normalise.mean

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        """Mean cross-entropy over natural and noise images, or over natural images alone (`control=drop`)."""
        if batch.synthetic is None:
            return super().loss(net, batch, now)
        natural = ~batch.synthetic  # all False is possible in a small last batch
        if self.control == "drop" and self._apart(natural):
            return self.criterion(net(batch.images[natural]), batch.labels[natural], now)
        logits = self._logits(net, batch.images, batch.synthetic)
        if self.control == "none":
            return self.criterion(logits, batch.labels, now)
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        return torch.where(natural, losses, 0).sum() / natural.sum().clamp(min=1)

    def _logits(self, net: Classifier, images: Tensor, noise: Tensor) -> Tensor:
        if self.norm == "standard":
            return cast(Tensor, net(images))
        if self._apart(~noise):
            return net.classify(features_apart(net, images, noise))
        if self.routed_:
            with noise_rows(net.backbone, noise):
                return cast(Tensor, net(images))
        features = net.features(images)
        if self._grad == "stop":
            features = torch.where(noise[:, None], features.detach(), features)
        return net.classify(features)

    def _apart(self, natural: Tensor) -> bool:
        return self.apart_ and host_reads_freely(natural) and bool(natural.sum() > 1)

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Remove the counts and convert batch norms back to ordinary ones."""
        self._check_fraction(net)
        TALLY.detach(net)
        if batchnorms(net.backbone):
            convert_batchnorm(net.backbone, "standard")
        return net
