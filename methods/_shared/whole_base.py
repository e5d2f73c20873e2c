"""Base class of methods that run another method in full, with all its hooks, such as after a stage of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ...benchmarks.errors import UserError
from ...benchmarks.method import Backbone, Batch, Method, Needs, Now, SameImages, Sampling, Split, Stage, recorded
from ...benchmarks.network import Classifier, Head
from .base import OnBase, find_base


@dataclass
class WholeBase(OnBase):
    """A method whose base may be almost any method of the suite: every hook calls the same hook of the base.

    A subclass adds stages, and overrides `acting` to return the method whose hooks are called in them. One instance of
    the base serves the whole run.
    """

    def __post_init__(self) -> None:
        """Fill in the hyper-parameters of the base and create it.

        Raises:
            UserError: the base or a hyper-parameter is unknown, the base is not a method of the suite, or it runs
                another method in full itself.
        """
        plugin = find_base(self.base)
        if issubclass(plugin.cls, WholeBase):
            raise UserError(
                f"'{plugin.name}' cannot be the base of {type(self).__name__}: it runs another method in full itself. "
                "Choose that method as the base."
            )
        self.base_ = self.make_base()
        self.base_values = recorded(self.base_)

    def acting(self, stage: str) -> Method:
        """The method whose hooks are called in a stage, by the name of the stage; the base unless overridden."""
        return self.base_

    def stages(self, epochs: int) -> list[Stage]:
        """Stages of the base."""
        return self.base_.stages(epochs)

    def needs(self, epochs: int) -> Needs:
        """Needs of the base, except that no epochs are shared with a run of another method."""
        return replace(self.base_.needs(epochs), prefix=0)

    def head(self, default: Head) -> Head:
        """The head that the base needs."""
        return self.base_.head(default)

    def network(self, backbone: Backbone, num_classes: int, head: Head) -> Classifier:
        """The network that the base needs."""
        return self.base_.network(backbone, num_classes, head)

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> Stage | None:
        """Begin the stage of the acting method."""
        return self.acting(stage.name).begin_stage(stage, net, train)

    def begin_epoch(self, net: Classifier, train: Split, now: Now) -> None:
        """Prepare the epoch as the acting method does."""
        self.acting(now.stage).begin_epoch(net, train, now)

    def sampling(self, counts: Tensor, now: Now) -> Sampling:
        """Sampling of the acting method."""
        return self.acting(now.stage).sampling(counts, now)

    def draws(self, counts: Tensor, now: Now) -> int | None:
        """Number of images that the acting method draws per epoch."""
        return self.acting(now.stage).draws(counts, now)

    def streams(self, counts: Tensor, now: Now) -> Sequence[Sampling | SameImages]:
        """Further streams of the acting method."""
        return self.acting(now.stage).streams(counts, now)

    def transform(self, batch: Batch, net: Classifier, now: Now) -> Batch:
        """The batch as the acting method changes it."""
        return self.acting(now.stage).transform(batch, net, now)

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Loss of the acting method for logits (N, C) and labels (N,) or (N, C)."""
        return self.acting(now.stage).criterion(logits, labels, now)

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        """Training loss of the acting method."""
        return self.acting(now.stage).loss(net, batch, now)

    def after_step(self, net: Classifier, now: Now) -> None:
        """Change the network after a step as the acting method does."""
        self.acting(now.stage).after_step(net, now)

    def measures(self, net: Classifier, now: Now) -> dict[str, float]:
        """Metrics of the acting method."""
        return self.acting(now.stage).measures(net, now)

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Finish the network as the base does."""
        return self.base_.finish(net, train)

    def final_measures(self, net: Classifier) -> dict[str, float]:
        """Metrics of the network that the base has finished."""
        return self.base_.final_measures(net)
