"""Methods that work on top of another method's loss: what the other one may be, and how it is made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...benchmarks.errors import UserError
from ...benchmarks.method import Method, Needs, Now, Split, Stage, overridden_hooks
from ...benchmarks.network import Classifier, Head
from ...benchmarks.registry import Plugin, base_of, configure, load

CALLED = {"head", "begin_stage", "criterion", "finish", "needs"}  # hooks of a base that are called


@dataclass
class OnBase(Method):
    """A method with a base, whose head and criterion it uses.

    Attributes:
        base: name of the method whose head and loss are used.
        base_values: value of a field of the base; unset ones are those of `own_values`, else the base's defaults.
    """

    base: str = "erm"
    base_values: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Complete the values of the base.

        Raises:
            UserError: there is no such base or value, it is no method of the suite, or one of its hooks would be lost.
        """
        if self.base.endswith(".py") or load("methods", self.base).source:  # its contents would not enter the id
            raise UserError(f"base = {self.base}: a base is a method of the suite, not a file or an installed package.")
        plugin = load("methods", self.base)
        refuse_other_hooks(plugin, type(self).__name__)
        names = {each.name for each in dataclasses.fields(plugin.cls)}
        own = {name: value for name, value in self.own_values().items() if name in names}
        self.base_values = dataclasses.asdict(configure(plugin, own | self.base_values))

    def own_values(self) -> dict[str, Any]:
        """Values that this method sets where the base has such a field."""
        return {}

    def make_base(self) -> Method:
        """The configured base."""
        base: Method = base_of(self)
        return base

    def needs(self, epochs: int) -> Needs:
        """What the base needs, but for epochs of another method."""
        return dataclasses.replace(self.make_base().needs(epochs), prefix=0)

    def head(self, default: Head) -> Head:
        """The head that the base needs."""
        return self.make_base().head(default)

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Make the base and let it derive its constants."""
        self.base_ = self.make_base()
        self.base_.begin_stage(stage, net, train)

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """The base's loss of logits (N, C) against labels (N,) or (N, C)."""
        return self.base_.criterion(logits, labels, now)

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """What the base does after training."""
        return self.make_base().finish(net, train)


def refuse_other_hooks(plugin: Plugin, holder: str) -> None:
    """Refuse a base with hooks that its holder would drop in silence.

    Raises:
        UserError: there is one; the message names it.
    """
    dropped = sorted(name for name in overridden_hooks(plugin.cls) if name not in CALLED)
    if dropped:
        raise UserError(
            f"'{plugin.name}' cannot be the base of {holder}: its {', '.join(f'{name}()' for name in dropped)} would "
            "never be called. A base may have a head, a criterion and what they derive from the class sizes."
        )
