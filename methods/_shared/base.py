"""Base class of methods that use the head and the loss of another method (their base), and checks of that base."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...benchmarks.errors import UserError
from ...benchmarks.method import Method, Needs, Now, Split, Stage, epochs_before, overridden_hooks, recorded
from ...benchmarks.network import Classifier, Head
from ...benchmarks.registry import Plugin, base_of, changed, configure, has_base, load

# hooks of a base that the method on it calls; stages() only to check that there is a single one
CALLED = {"head", "begin_stage", "criterion", "finish", "needs", "stages"}


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
            UserError: the base or a hyper-parameter is unknown, the base is not a method of the suite, it overrides a
                hook that is never called on a base, it has in turn a base other than ERM, or it has stages that this
                method would not train.
        """
        plugin = find_base(self.base)
        refuse_other_hooks(plugin, type(self).__name__)
        names = {each.name for each in dataclasses.fields(plugin.cls)}
        own = {name: value for name, value in self.own_values().items() if name in names}
        base = configure(plugin, own | self.base_values)
        check_single_base(plugin, base, type(self).__name__)
        if type(self).stages is Method.stages:
            refuse_other_stages(plugin, base, type(self).__name__)
        self.base_values = recorded(base)

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

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> Stage | None:
        """Create the base and begin its stage."""
        self.base_ = self.make_base()
        return self.base_.begin_stage(stage, net, train)

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """Loss of the base for logits (N, C) and labels (N,) or (N, C)."""
        return self.base_.criterion(logits, labels, now)

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Finish the network as the base does."""
        return self.make_base().finish(net, train)


def begins_as_base(method: OnBase, fraction: float, epochs: int) -> Needs:
    """Needs of a method that equals its base before a fraction of training: a run of the base shares these epochs."""
    needs = method.make_base().needs(epochs)
    prefix = epochs_before(fraction, epochs)
    return dataclasses.replace(needs, prefix=prefix, prefix_of=method.base, prefix_values=method.base_values)


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


def check_single_base(plugin: Plugin, base: Any, holder: str) -> None:
    """Check that a base has no base of its own other than ERM.

    Args:
        plugin: plugin of the base.
        base: the base with its hyper-parameters.
        holder: class name of the method on the base, for the message.

    Raises:
        UserError: the base has a base of its own other than ERM.
    """
    if has_base(plugin) and base.base != "erm":
        raise UserError(
            f"base.base = {base.base}: '{plugin.name}', the base of {holder}, cannot have a base of its own other than "
            "erm. Leave base.base out."
        )


def refuse_other_stages(plugin: Plugin, base: Method, holder: str) -> None:
    """Check that a base trains in the single stage of `Method`.

    Args:
        plugin: plugin of the base.
        base: the base with its hyper-parameters.
        holder: class name of the method on the base, for the message.

    Raises:
        UserError: the base has other stages; the message names the hyper-parameters that were changed.
    """
    if base.stages(1) != Method().stages(1):
        values = " and ".join(f"{name} = {value}" for name, value in changed(base, plugin).items())
        raise UserError(
            f"'{plugin.name}'{values and f' with {values}'} cannot be the base of {holder}: a base must train in a "
            "single stage, like ERM."
        )
