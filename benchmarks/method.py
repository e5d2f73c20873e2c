"""The plugin interface: a method is a dataclass whose fields are its hyper-parameters and whose hooks default to ERM.

A new method is one file `methods/<name>.py` with one subclass of `Method`; its module docstring is the method card.
Most methods override one to three hooks. Constants derived from the training split (margins, class weights) are
attributes that end in an underscore. Trained state belongs in the network, as modules or buffers: one `state_dict`
then holds the complete state, and a resumed run equals an uninterrupted one.
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
from .fields import SmallCount as SmallCount
from .fields import SmallInt as SmallInt
from .network import Classifier, Head
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
    """

    images: Tensor
    labels: Tensor
    synthetic: Tensor | None = None
    origin: Tensor | None = None
    towards: Tensor | None = None


@dataclass(frozen=True)
class Stage:
    """A stage of training with its own optimiser and schedule. A two-stage method is a list of stages, not a script.

    Attributes:
        name: name of the stage, in the record and in `Now.stage`.
        epochs: number of epochs; the recipe's schedule is stretched to it.
        trained: name prefixes of the parameters that are trained, such as `("head.",)`; all others are frozen. Frozen
            batch norms still update their running statistics, as in the released code of decoupled training.
        drops: `(fraction, factor)` pairs that replace the recipe's schedule, without warm-up; None keeps the recipe's.
        slower: `(prefix, factor)` pairs: parameters whose names start with the prefix have their learning rate
            multiplied by the factor.
    """

    name: str
    epochs: int
    trained: tuple[str, ...] = ("",)
    drops: tuple[tuple[float, float], ...] | None = None
    slower: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Needs:
    """Prerequisites of a run. Each is prepared once and shared by all runs that need it.

    Attributes:
        prefix: number of initial epochs that are identical to those of the method `prefix_of`: same images, same loss,
            same initial weights of the modules that both have. The first stage must then be named "train" and last as
            long as the recipe's training. These epochs are trained once per dataset, recipe and seed; every run that
            needs them continues from there.
        prefix_of: name of the method that trains these epochs, with default values in its fields.
        network: whether to attach the finished ERM network of the same dataset and recipe as `net.source`, frozen.
        other_seed: whether to take that network from the neighbouring seed, `seed ^ 1`, instead of the run's own.
        validation: whether to hold images out of the training split and provide them as `train.validation`.
    """

    prefix: int = 0
    prefix_of: str = "erm"
    network: bool = False
    other_seed: bool = False
    validation: bool = False


_static_shapes = False


@contextmanager
def static_shapes() -> Iterator[None]:
    """Within the block, treat the CPU like a GPU: read no tensor values on the host and keep all shapes static.

    Lets tests run the GPU code path on a CPU.
    """
    global _static_shapes
    before, _static_shapes = _static_shapes, True
    try:
        yield
    finally:
        _static_shapes = before


def host_reads_freely(tensor: Tensor) -> bool:
    """Whether the host can read the values of a tensor without synchronising.

    True on a CPU, where empty rows can be dropped. False on a GPU, where reading would wait for the device, so shapes
    must stay static; and for fake tensors, which have no values: the operation counter uses them.
    """
    return tensor.device.type == "cpu" and not isinstance(tensor, FakeTensor) and not _static_shapes


def drop_empty(valid: Tensor, *slots: Tensor) -> tuple[Tensor, ...]:
    """Drop invalid slots where the host can read values freely; elsewhere keep all, so that shapes are static.

    Args:
        valid: bool (S,), true for the slots to keep.
        slots: tensors (S, ...); `valid` may be one of them.
    """
    return tuple(part[valid] for part in slots) if host_reads_freely(valid) else slots


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
    """Empirical risk minimisation, the base class of all methods. Hooks are listed in the order they are called."""

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

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Derive constants from the training split; freeze, copy, reset or attach modules of `net`.

        The optimiser is created afterwards. On resume, this hook is called for every stage up to the current one before
        the saved state is loaded: decide the network's structure here, and store whatever depends on trained weights in
        its modules or buffers.
        """

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        """Prepare an epoch, such as by computing statistics of the training split. Change tensors of `net` in place."""

    def sampling(self, counts: Tensor, now: Now) -> Tensor | None:
        """Unnormalised class probabilities (C,) for drawing images; None draws every image once per epoch.

        Args:
            counts: training images per class, int64 (C,).
            now: moment at the start of the epoch.
        """
        return None

    def draws(self, counts: Tensor, now: Now) -> int | None:
        """Number of images drawn per epoch if `sampling` returns probabilities; None for the size of the split."""
        return None

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """Change a batch between augmentation and forward pass: add noise, mixed or generated images."""
        return batch

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Scalar loss of the logits; cross-entropy by default. Most re-weighting methods override only this hook.

        Args:
            logits: float32 (N, C).
            labels: int64 (N,), where rows labelled -100 are ignored; or class probabilities (N, C).
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


HOOKS = tuple(name for name, hook in vars(Method).items() if inspect.isfunction(hook) and not name.startswith("_"))


def overridden_hooks(method: type[Method]) -> list[str]:
    """Names of the hooks that a class overrides, in the order in which `Method` defines them."""
    return [name for name in HOOKS if getattr(method, name) is not getattr(Method, name)]


def epochs_before(fraction: float, epochs: int) -> int:
    """Number of epochs with `now.progress < fraction` in a stage of `epochs` epochs."""
    return sum(epoch / epochs < fraction for epoch in range(epochs))
