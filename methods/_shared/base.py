"""Base class of methods that use the head and loss of another method, their base, and the check of the base."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...benchmarks.errors import UserError
from ...benchmarks.method import Method, Needs, Now, Split, Stage, overridden_hooks, recorded
from ...benchmarks.network import Classifier, Head
from ...benchmarks.registry import Plugin, base_of, configure, load

CALLED = {"head", "begin_stage", "criterion", "finish", "needs"}  # hooks of a base that the method on it calls


def find_base(name: str) -> Plugin:
    """Load a base by its name.

    Raises:
        UserError: there is no such method, or it is not a method of the suite.
    """
    if name.endswith(".py") or load("methods", name).source:  # the id does not depend on its contents
        raise UserError(
            f"base = {name}: a base must be a method of the suite, not a file or a method of another package."
        )
    return load("methods", name)


@dataclass
class OnBase(Method):
    """A method that uses the head and the loss of another method, its base.

    Attributes:
        base: name of the base.
        base_values: hyper-parameters of the base; those that are not given take the value from `own_values` or else the
            base's default.
    """

    base: str = "erm"
    base_values: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill in the hyper-parameters of the base.

        Raises:
            UserError: the base or a hyper-parameter is unknown, the base is not a method of the suite, or it overrides
                a hook that is never called on a base.
        """
        plugin = find_base(self.base)
        refuse_other_hooks(plugin, type(self).__name__)
        names = {each.name for each in dataclasses.fields(plugin.cls)}
        own = {name: value for name, value in self.own_values().items() if name in names}
        self.base_values = recorded(configure(plugin, own | self.base_values))

    def own_values(self) -> dict[str, Any]:
        """Hyper-parameters that this method sets on its base; names that the base lacks are skipped."""
        return {}

    def make_base(self) -> Method:
        """A new instance of the base with its hyper-parameters."""
        base: Method = base_of(self)
        return base

    def needs(self, epochs: int) -> Needs:
        """Needs of the base, except that no epochs are shared with a run of another method."""
        return dataclasses.replace(self.make_base().needs(epochs), prefix=0)

    def head(self, default: Head) -> Head:
        """The head that the base needs."""
        return self.make_base().head(default)

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Create the base and begin its stage."""
        self.base_ = self.make_base()
        self.base_.begin_stage(stage, net, train)

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Loss of the base for logits (N, C) and labels (N,) or (N, C)."""
        return self.base_.criterion(logits, labels, now)

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Finish the network as the base does."""
        return self.make_base().finish(net, train)


def refuse_other_hooks(plugin: Plugin, holder: str) -> None:
    """Check that a base overrides only hooks in `CALLED`.

    Args:
        plugin: the base.
        holder: class name of the method on the base, for the message.

    Raises:
        UserError: the base overrides other hooks; the message names them.
    """
    dropped = sorted(name for name in overridden_hooks(plugin.cls) if name not in CALLED)
    if dropped:
        raise UserError(
            f"'{plugin.name}' cannot be the base of {holder}: its {', '.join(f'{name}()' for name in dropped)} would "
            "never be called. A base may override only head(), begin_stage(), criterion(), finish() and needs()."
        )
