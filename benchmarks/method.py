"""The plugin interface: a method is a dataclass whose fields are its hyper-parameters and whose hooks default to ERM.

A new method is one file `methods/<name>.py` with one subclass of `Method`; its module docstring is the method card.
Most methods override one to three hooks. Constants that a stage derives from the training split (margins, class
weights) are attributes that end in an underscore; trained state belongs into the network, as modules or buffers, so
that one `state_dict` is the whole state and a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from .fields import LATER as LATER  # re-exported for methods, as is what follows
from .fields import BelowOne as BelowOne
from .fields import Count as Count
from .fields import Exponent as Exponent
from .fields import Factor as Factor
from .fields import Fraction as Fraction
from .fields import Margin as Margin
from .fields import NonNegative as NonNegative
from .fields import Positive as Positive
from .fields import PositiveInt as PositiveInt
from .fields import SmallCount as SmallCount
from .fields import SmallInt as SmallInt
from .network import Classifier, Head
from .split import Split as Split
from .split import channel_moments as channel_moments

Backbone = Callable[..., nn.Sequential]  # backbone(norm=...) builds one; always with the same initial weights


class Batch(NamedTuple):
    """Images and labels of a training step.

    Attributes:
        images: float (N, 3, H, W) in [0, 1], augmented, not normalised.
        labels: int64 (N,) or class probabilities float (N, C).
        synthetic: bool (N,), true for rows that are no natural images; None if all are natural.
        origin: of each synthetic row, the row of its source image in the batch before `transform`, int64 (N,).
        towards: of each synthetic row, the class that it was moved towards, int64 (N,).
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
    """What a run builds on. It is trained or held out once for all runs that need the same.

    Attributes:
        prefix: how many of the first epochs of the first stage, which is then named "train" and as long as the recipe
            says, are exactly those of the method `prefix_of`: same images, same loss, same initial weights of the parts
            that it has. They are trained once per dataset, recipe and seed, and every such run continues from there.
        prefix_of: name of that method, with the default values of its fields.
        network: the finished ERM network of the same dataset and recipe is attached as `net.source`, frozen.
        other_seed: this network is that of the neighbouring seed, `seed ^ 1`, instead of the run's own.
        validation: `train.validation` holds images that are held out of the training split.
    """

    prefix: int = 0
    prefix_of: str = "erm"
    network: bool = False
    other_seed: bool = False
    validation: bool = False


_static_shapes = False


@contextmanager
def static_shapes() -> Iterator[None]:
    """Within the block, a CPU is treated as a GPU is: no value is read, and shapes do not depend on values.

    For tests, and to see on a CPU what a GPU computes.
    """
    global _static_shapes
    before, _static_shapes = _static_shapes, True
    try:
        yield
    finally:
        _static_shapes = before


def host_reads_freely(tensor: Tensor) -> bool:
    """Whether the host reads values of a tensor without waiting: on a CPU, where empty rows can be left out.

    On a GPU the host would wait for the device, so that shapes stay as they are. A step whose operations are only
    counted, on fake tensors, has no values at all.
    """
    return tensor.device.type == "cpu" and not isinstance(tensor, FakeTensor) and not _static_shapes


def drop_empty(valid: Tensor, *slots: Tensor) -> tuple[Tensor, ...]:
    """The slots that count, where the host reads values freely; elsewhere all of them, so that shapes are static.

    Args:
        valid: bool (S,), which slots count.
        slots: tensors (S, ...); `valid` can be one of them.
    """
    return tuple(part[valid] for part in slots) if host_reads_freely(valid) else slots


def _no_images(index: Tensor) -> Tensor:
    raise NotImplementedError("no images to augment outside of training")


@dataclass(frozen=True)
class Now:
    """The moment of training at which a hook is called.

    Attributes:
        stage: name of the stage.
        epoch: 0-based, within the stage.
        epochs: length of the stage.
        generator: random numbers for the method, on the device of the images, seeded for each epoch.
        fresh: positions (B,) in the training split to images float (B, 3, H, W) in [0, 1], with new augmentation at
            every call.
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
    """Empirical risk minimisation; the base of every method. Hooks stand in the order of a run."""

    def stages(self, epochs: int) -> list[Stage]:
        """The stages of training; by default one, named "train".

        Args:
            epochs: the recipe's number of epochs.
        """
        return [Stage("train", epochs)]

    def needs(self, epochs: int) -> Needs:
        """What a run builds on: first epochs that another method shares, a trained network, held-out images.

        Args:
            epochs: the recipe's number of epochs.
        """
        return Needs()

    def head(self, default: Head) -> Head:
        """The classifier's last layer; by default the recipe's, which is linear unless it says otherwise."""
        return default

    def network(self, backbone: Backbone, num_classes: int, head: Head) -> Classifier:
        """The network with its initial weights; by default the backbone with the head that `head` chose.

        Args:
            backbone: builds one; `backbone(norm=...)` with other batch norms.
            num_classes: C.
            head: what the hook `head` returned.
        """
        return Classifier(backbone(), head, num_classes)

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Derive constants from the training split; freeze, copy, reset or attach modules. The optimiser comes after.

        When a run is resumed, this is called for every stage up to the current one before the saved state is loaded:
        decide the network's structure here, and keep whatever depends on trained weights in its modules or buffers.
        """

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        """Prepare an epoch, such as statistics over the training split. Tensors of `net` are changed in place."""

    def sampling(self, counts: Tensor, now: Now) -> Tensor | None:
        """Class probabilities (C,) of the draws, up to a factor; None draws every image once per epoch.

        Args:
            counts: training images per class, int64 (C,).
            now: the epoch.
        """
        return None

    def draws(self, counts: Tensor, now: Now) -> int | None:
        """Number of images that an epoch draws by `sampling`; None for as many as the training split has."""
        return None

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """Change a batch after augmentation and before the network: noise, mixed or generated images."""
        return batch

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """The loss as a function of the logits, a scalar; cross-entropy. Most re-weighting methods override this alone.

        Args:
            logits: float32 (N, C).
            labels: int64 (N,), where rows labelled -100 do not count; or class probabilities (N, C).
            now: the moment.
        """
        return F.cross_entropy(logits, labels)

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        """The loss of a batch, a scalar that is minimised: by default `criterion` of the network's logits."""
        return self.criterion(net(batch.images), batch.labels, now)

    def after_step(self, net: Classifier, now: Now) -> None:
        """Change the network after an optimiser step: projections, moving averages."""

    def measures(self, net: Classifier, now: Now) -> dict[str, float]:
        """Named numbers of the epoch that has just ended, for the record's history; none by default."""
        return {}

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """The finished network: change it after training, and remove what only training needs."""
        return net


HOOKS = tuple(name for name, hook in vars(Method).items() if inspect.isfunction(hook) and not name.startswith("_"))


def overridden_hooks(method: type[Method]) -> list[str]:
    """Names of the hooks in which a class differs from ERM, in the order of `Method`."""
    return [name for name in HOOKS if getattr(method, name) is not getattr(Method, name)]


def epochs_before(fraction: float, epochs: int) -> int:
    """Number of epochs that begin before a fraction of a stage has elapsed: those with `now.progress < fraction`."""
    return sum(epoch / epochs < fraction for epoch in range(epochs))
