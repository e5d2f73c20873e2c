"""The plugin interface: a method is a dataclass whose fields are its hyper-parameters and whose hooks default to ERM.

A new method is one file `methods/<name>.py` with one subclass of `Method`; its module docstring is the method card.
Most methods override one to three hooks. What a stage derives from the training split (margins, class weights) is kept
in attributes that end in an underscore; trained state belongs into the network, as modules or buffers, so that one
`state_dict` is the whole state and a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from .fields import LATER as LATER
from .fields import BelowOne as BelowOne
from .fields import Count as Count
from .fields import Fraction as Fraction
from .fields import NonNegative as NonNegative
from .fields import Positive as Positive
from .fields import PositiveInt as PositiveInt
from .network import Classifier, Head
from .split import Split as Split  # re-exported for methods
from .split import channel_moments as channel_moments

Backbone = Callable[..., nn.Sequential]  # backbone(norm=...) builds one; always with the same initial weights


class Batch(NamedTuple):
    """What a training step sees.

    Attributes:
        images: float (N, 3, H, W) in [0, 1], augmented, not normalised.
        labels: int64 (N,) or class probabilities float (N, C).
        synthetic: bool (N,), true for rows that are no natural images; None if all are.
        origin: of synthetic rows made from an image, the row of that image in the batch before `transform`; int64 (N,).
        towards: class that each synthetic row was moved towards, int64 (N,).
    """

    images: Tensor
    labels: Tensor
    synthetic: Tensor | None = None
    origin: Tensor | None = None
    towards: Tensor | None = None


@dataclass(frozen=True)
class Stage:
    """A part of training with its own optimiser and schedule: two-stage methods are data, not scripts.

    Attributes:
        name: for the record and for `Now.stage`.
        epochs: its length; the recipe's schedule is stretched over it.
        trained: prefixes of the parameters that are trained, such as `("head.",)`; the others are frozen. Running
            statistics of frozen batch norms still follow the data, as in the released code of decoupled training.
        drops: `(fraction, factor)` pairs in place of the recipe's, without warm-up; None for the recipe's schedule.
        slower: `(prefix, factor)`: parameters whose names have the prefix learn at a multiple of the learning rate.
    """

    name: str
    epochs: int
    trained: tuple[str, ...] = ("",)
    drops: tuple[tuple[float, float], ...] | None = None
    slower: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Needs:
    """What a run builds on. The suite trains or sets it aside, once for all runs that need the same.

    Attributes:
        prefix: how many of the first epochs of the first stage, which is then named "train" and as long as the recipe
            says, are exactly those of the method `prefix_of`: same images, same loss, same initial weights of the parts
            that it has. They are trained once per dataset, recipe and seed, and every such run continues from there.
        prefix_of: name of that method, with the default values of its fields.
        network: the finished ERM network of the same dataset and recipe is attached as `net.source`, frozen.
        other_seed: this network is the one of the neighbouring seed, `seed ^ 1`, and not of the run's own.
        validation: `train.validation` holds images that are held out of the training split.
    """

    prefix: int = 0
    prefix_of: str = "erm"
    network: bool = False
    other_seed: bool = False
    validation: bool = False


def readable(tensor: Tensor) -> bool:
    """Whether a look at values costs nothing: on a CPU, where rows that do not count can then be left out.

    On a GPU the host would wait, and shapes stay what they are; a step that is only counted has no values.
    """
    return tensor.device.type == "cpu" and not isinstance(tensor, FakeTensor)


def filled(valid: Tensor, *slots: Tensor) -> tuple[Tensor, ...]:
    """The slots that count, where a look costs nothing (`readable`); elsewhere all of them, as shapes are static there.

    Args:
        valid: bool (S,), which slots count.
        slots: tensors (S, ...); `valid` can be one of them.
    """
    return tuple(part[valid] for part in slots) if readable(valid) else slots


def _none(index: Tensor) -> Tensor:
    raise NotImplementedError("no images to augment outside of training")


@dataclass(frozen=True)
class Now:
    """Where training stands.

    Attributes:
        stage: name of the stage.
        epoch: 0-based, within the stage.
        epochs: length of the stage.
        generator: random numbers for the method, on the device of the images, seeded anew for each epoch.
        fresh: positions (B,) in the training split to images float (B, 3, H, W) in [0, 1], augmented anew each time.
    """

    stage: str
    epoch: int
    epochs: int
    generator: torch.Generator
    fresh: Callable[[Tensor], Tensor] = field(default=_none, compare=False, repr=False)

    @property
    def progress(self) -> float:
        """Fraction of the stage that has elapsed, in [0, 1); epoch 160 of 200 gives exactly 0.8."""
        return self.epoch / self.epochs


@dataclass
class Method:
    """Empirical risk minimisation; the base of every method."""

    def stages(self, epochs: int) -> list[Stage]:
        """The stages of training, given the recipe's number of epochs."""
        return [Stage("train", epochs)]

    def needs(self, epochs: int) -> Needs:
        """What a run builds on, given the recipe's number of epochs; nothing by default."""
        return Needs()

    def head(self, default: Head) -> Head:
        """The classifier's last layer; `default` is the recipe's, a linear one."""
        return default

    def network(self, backbone: Backbone, num_classes: int, head: Head) -> Classifier:
        """Build the network: by default the backbone with the head that `head()` chose."""
        return Classifier(backbone(), head, num_classes)

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Before a stage: derive constants from `train`; copy, reset, freeze or attach. The optimiser comes after.

        Called for every stage up to the current one when a run is resumed, before the saved state is loaded: decide the
        network's structure here, and keep whatever depends on trained weights in its modules or buffers.
        """

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        """Before an epoch."""

    def sampling(self, counts: Tensor, now: Now) -> Tensor | None:
        """Class probabilities (C,) to draw from, up to a factor; None draws every image once per epoch.

        Args:
            counts: training images per class, int64 (C,).
            now: where training stands.
        """
        return None

    def draws(self, counts: Tensor, now: Now) -> int | None:
        """How many images an epoch draws by `sampling`; None for as many as the training split has."""
        return None

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """Change a batch after augmentation and before the network."""
        return batch

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Loss of logits float32 (N, C) against labels (N,) or (N, C): a scalar."""
        return F.cross_entropy(logits, labels)

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        """Loss of a batch: a scalar to be minimised."""
        return self.criterion(net(batch.images), batch.labels, now)

    def after_step(self, net: Classifier, now: Now) -> None:
        """After an optimiser step: projections, moving averages."""

    def measures(self, net: Classifier, now: Now) -> dict[str, float]:
        """After an epoch: named numbers worth a line in the record's history, such as the share of rejected images."""
        return {}

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """After training: post-hoc changes; remove what only training needs."""
        return net


def epochs_before(fraction: float, epochs: int) -> int:
    """How many epochs begin before a fraction of a stage has elapsed: those with `now.progress < fraction`."""
    return sum(epoch / epochs < fraction for epoch in range(epochs))
