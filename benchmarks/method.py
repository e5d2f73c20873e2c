"""The plugin interface: a method is a dataclass whose fields are its hyper-parameters and whose hooks default to ERM.

A new method is one file `methods/<name>.py` with one subclass of `Method`; its module docstring is the method card.
Most methods override one to three hooks. Constants derived from the training split (margins, class weights) are
attributes that end in an underscore. Trained state belongs in the network, as modules or buffers: one `state_dict`
then holds the complete state, and a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .fields import LATER as LATER  # this and the following names are re-exported for methods
from .fields import BelowOne as BelowOne
from .fields import Count as Count
from .fields import Exponent as Exponent
from .fields import Factor as Factor
from .fields import Fraction as Fraction
from .fields import Margin as Margin
from .fields import Moment as Moment
from .fields import NonNegative as NonNegative
from .fields import Positive as Positive
from .fields import PositiveInt as PositiveInt
from .fields import Ratio as Ratio
from .fields import SmallCount as SmallCount
from .fields import SmallInt as SmallInt
from .fields import recorded as recorded
from .network import Classifier, Head
from .recipe import Schedule as Schedule
from .split import Split as Split
from .split import channel_moments as channel_moments

Backbone = Callable[..., nn.Sequential]  # a builder: backbone(norm=...); the initial weights are always the same


class Batch(NamedTuple):
    """Images and labels of a training step.

    Attributes:
        images: float (N, 3, H, W) in [0, 1], augmented, not normalised.
        labels: int64 (N,) or class probabilities float (N, C).
        synthetic: bool (N,), true for rows that are not natural images; None if all are natural.
        origin: int64 (N,), for each synthetic row the row of its source image in the batch before `transform`.
        towards: int64 (N,), for each synthetic row the class that it was moved towards.
        second_labels: int64 (N,), labels of the images that were mixed into the rows; None if no images are mixed.
        weight: float (N,) in [0, 1], weight of `labels`; `1 - weight` is that of `second_labels`. None if unmixed.
        further: batches of the further streams that the hook `streams` asks for, each with N rows.
    """

    images: Tensor
    labels: Tensor
    synthetic: Tensor | None = None
    origin: Tensor | None = None
    towards: Tensor | None = None
    second_labels: Tensor | None = None
    weight: Tensor | None = None
    further: tuple[Batch, ...] = ()


class ClassAware(NamedTuple):
    """Sampling that cycles through the classes and draws several images of each, as in the code of OLTR and cRT.

    Classes follow one another in random order, every class once before any class again, and the images of a class
    likewise. A batch of B images contains B / per_class groups, so it is also a sample of P classes with K images each.

    Attributes:
        per_class: number of images that are drawn from a class in a row, K.
    """

    per_class: int = 4


class SameImages(NamedTuple):
    """Sampling of a further stream that repeats the images of the first one, augmented differently: another view."""


Sampling = Tensor | ClassAware | None  # class probabilities (C,), class-aware, or every image once


@dataclass(frozen=True)
class Stage:
    """A stage of training with its own optimiser and schedule. A two-stage method is a list of stages, not a script.

    Attributes:
        name: name of the stage, in the record and in `Now.stage`.
        epochs: number of epochs; a recipe's schedule is stretched to it.
        trained: name prefixes of the parameters that are trained, such as `("head.",)`; all others are frozen.
        frozen_norms: mode of batch norms with frozen parameters. "statistics" normalises with the statistics of the
            batch and updates the running ones, as in the released code of decoupled training; "eval" uses the running
            statistics and keeps them; "train" is "statistics", and the scale and shift of all batch norms are trained.
        fresh_head: whether the hook `head` builds a new head, with new initial weights, before `begin_stage`.
        lr: learning rate after the warm-up, before the first drop; None for the recipe's.
        weight_decay: coefficient of the L2 penalty; None for the recipe's.
        schedule: schedule, including the warm-up; None for the recipe's.
        factors: `(prefix, factor)` pairs: the learning rate of parameters whose names start with the prefix is
            multiplied by the factor. If several prefixes match a name, the first one counts.
    """

    name: str
    epochs: int
    trained: tuple[str, ...] = ("",)
    frozen_norms: Literal["statistics", "eval", "train"] = "statistics"
    fresh_head: bool = False
    lr: float | None = None
    weight_decay: float | None = None
    schedule: Schedule | None = None
    factors: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Needs:
    """Prerequisites of a run. Each is prepared once and shared by all runs that need it.

    Attributes:
        prefix: number of initial epochs that are identical to those of the method `prefix_of`: same images, same loss,
            same initial weights of the modules that both have. The first stages must have the names and lengths of that
            method's. These epochs are trained once per dataset, recipe and seed; every run that needs them continues
            from there.
        prefix_of: name of the method that trains these epochs.
        prefix_values: hyper-parameters of that method, by field name; all others have their default values.
        network: whether to attach the finished ERM network of the same dataset and recipe as `net.source`, frozen.
        other_seed: whether to take that network from the neighbouring seed, `seed ^ 1`, instead of the run's own.
        validation: whether to hold images out of the training split and provide them as `train.validation`.
    """

    prefix: int = 0
    prefix_of: str = "erm"
    prefix_values: Mapping[str, Any] = field(default_factory=dict)
    network: bool = False
    other_seed: bool = False
    validation: bool = False


def _no_images(index: Tensor) -> Tensor:
    raise NotImplementedError("no images to augment outside of training")


@dataclass(frozen=True)
class Now:
    """The moment of training at which a hook is called.

    Attributes:
        stage: name of the stage.
        epoch: number of the epoch, from 0, within the stage.
        epochs: number of epochs of the stage.
        generator: random generator for the method, on the device of the images, re-seeded every epoch.
        fresh: function that maps positions (B,) in the training split to images, float (B, 3, H, W) in [0, 1], newly
            augmented at every call.
    """

    stage: str
    epoch: int
    epochs: int
    generator: torch.Generator
    fresh: Callable[[Tensor], Tensor] = field(default=_no_images, compare=False, repr=False)

    @property
    def progress(self) -> float:
        """Fraction of the stage that has elapsed, in [0, 1); epoch 160 of 200 gives exactly 0.8."""
        return self.epoch / self.epochs


@dataclass
class Method:
    """Empirical risk minimisation, the base class of all methods. Hooks are listed roughly in the order of their calls.

    Attributes:
        continued: whether other methods start from snapshots of this method's runs, which then always save them.
        trains_backbone: whether the method makes no sense with a frozen backbone, since it trains its layers.
        needs_images: whether a step needs images, so that features that were computed once cannot replace them. Methods
            that override `transform` need them in any case.
    """

    continued: ClassVar[bool] = False
    trains_backbone: ClassVar[bool] = False
    needs_images: ClassVar[bool] = False

    def stages(self, epochs: int) -> list[Stage]:
        """The stages of training; by default one, named "train".

        Args:
            epochs: the recipe's number of epochs.
        """
        return [Stage("train", epochs)]

    def needs(self, epochs: int) -> Needs:
        """Prerequisites of a run: initial epochs shared with another method, a trained network, held-out images.

        Args:
            epochs: the recipe's number of epochs.
        """
        return Needs()

    def head(self, default: Head) -> Head:
        """Builder of the classifier's last layer; by default `default`, the linear head."""
        return default

    def network(self, backbone: Backbone, num_classes: int, head: Head) -> Classifier:
        """The network with its initial weights; by default a backbone with `head` on top.

        Args:
            backbone: function that builds a backbone; `backbone(norm=...)` replaces its batch norms.
            num_classes: number of classes, C.
            head: builder of the head, returned by the hook `head`.
        """
        return Classifier(backbone(), head, num_classes)

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> Stage | None:
        """Derive constants from the training split; freeze, copy, reset or attach modules of `net`.

        The optimiser is created afterwards. On resume, this hook is called for every stage up to the current one before
        the saved state is loaded: decide the network's structure here, and store whatever depends on trained weights in
        its modules or buffers.

        Returns:
            The stage with settings that depend on the training split, with the same name and length; None to keep it.
        """
        return None

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        """Prepare an epoch, for example compute statistics of the training split. Change tensors of `net` in place."""

    def sampling(self, counts: Tensor, now: Now) -> Sampling:
        """Unnormalised class probabilities (C,) for drawing images, or `ClassAware`; None draws every image once.

        Args:
            counts: number of training images per class, int64 (C,).
            now: moment at the start of the epoch.
        """
        return None

    def draws(self, counts: Tensor, now: Now) -> int | None:
        """Number of images drawn per epoch, None for the size of the split; ignored if `sampling` returns None."""
        return None

    def streams(self, counts: Tensor, now: Now) -> Sequence[Sampling | SameImages]:
        """Sampling of each further stream of images, for `Batch.further`; by default there are no further streams.

        Each stream is as long as the first. `SameImages()` asks for another view of the images of the batch.
        """
        return ()

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """Change a batch between augmentation and forward pass: add noise, mixed or generated images."""
        return batch

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Scalar loss of the logits; cross-entropy by default. Most re-weighting methods override only this hook.

        Args:
            logits: float32 (N, C).
            labels: int64 (N,), where rows labelled -100 are ignored; or class probabilities (N, C), for which the loss
                is the expectation over the classes.
            now: moment of the current step.
        """
        return F.cross_entropy(logits, labels)

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        """Scalar training loss of a batch; by default `criterion` of the network's logits."""
        return self.criterion(net(batch.images), batch.labels, now)

    def after_step(self, net: Classifier, now: Now) -> None:
        """Change the network after an optimiser step, for example project weights or update moving averages."""

    def measures(self, net: Classifier, now: Now) -> dict[str, float]:
        """Metrics of the epoch that has just ended, by name, for the record's history; none by default."""
        return {}

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Return the final network: apply post-hoc changes and remove modules that only training needs."""
        return net

    def final_measures(self, net: Classifier) -> dict[str, float]:
        """Metrics of the finished network, such as a value that `finish` has chosen; none by default.

        They are in the record's history, at the last epoch.
        """
        return {}


HOOKS = tuple(name for name, hook in vars(Method).items() if inspect.isfunction(hook) and not name.startswith("_"))


def overridden_hooks(method: type[Method]) -> list[str]:
    """Names of the hooks that a class overrides, in the order in which `Method` defines them."""
    return [name for name in HOOKS if getattr(method, name) is not getattr(Method, name)]


def epochs_before(fraction: float, epochs: int) -> int:
    """Number of epochs with `now.progress < fraction` in a stage of `epochs` epochs."""
    return sum(epoch / epochs < fraction for epoch in range(epochs))
