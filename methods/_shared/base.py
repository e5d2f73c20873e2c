"""Methods that work on top of another one: `--set rsg.base=focal --set rsg.base.gamma=2`.

The base is any method of the suite, or of an installed package, that changes the loss, the head and what these derive
from the class counts, and nothing else.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any

from torch import Tensor

from ...benchmarks.errors import UserError
from ...benchmarks.method import Method, Needs, Now, Split, Stage, ValuesOf, overridden_hooks
from ...benchmarks.network import Classifier, Head
from ...benchmarks.registry import configure, load

HOOKS = ("needs", "head", "begin_stage", "criterion", "finish")  # those of a base that are called
ALIASES: dict[str, tuple[str, dict[str, Any]]] = {"ldam": ("ldam-drw", {"defer": 1.0})}  # margins without class weights


@dataclass
class OnBase(Method):
    """A method on top of another one, its base, whose head and loss it uses.

    Attributes:
        base: name of the method that gives head and loss; `ldam` is ldam-drw without class weights.
        base_values: values of fields of the base in place of its defaults.
    """

    base: str = "erm"
    base_values: Annotated[dict[str, Any], ValuesOf("base")] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Build the base; keep those of the user's values that change it.

        Raises:
            UserError: there is no such base, or it has no such field or value, or it has other hooks than HOOKS.
        """
        usual = build_base(self.base, self.values_for_base())
        self.base_ = build_base(self.base, self.values_for_base(), self.base_values)
        parsed = {name: getattr(self.base_, name) for name in self.base_values}
        self.base_values = {name: value for name, value in parsed.items() if value != getattr(usual, name)}

    def values_for_base(self) -> dict[str, Any]:
        """Values that this method sets in its base, where the base has the field; the user's come first."""
        return {}

    def needs(self, epochs: int) -> Needs:
        """What the base needs, but no epochs of another method."""
        return dataclasses.replace(self.base_.needs(epochs), prefix=0)

    def head(self, default: Head) -> Head:
        """The head of the base."""
        return self.base_.head(default)

    def begin_stage(self, stage: Stage, net: Classifier, train: Split) -> None:
        """Begin the stage of the base."""
        self.base_.begin_stage(stage, net, train)

    def criterion(self, logits: Tensor, labels: Tensor, now: Now) -> Tensor:
        """The loss of the base."""
        return self.base_.criterion(logits, labels, now)

    def finish(self, net: Classifier, train: Split) -> Classifier:
        """Finish as the base does."""
        return self.base_.finish(net, train)


def build_base(name: str, values: dict[str, Any], chosen: dict[str, Any] | None = None) -> Method:
    """The method of a name as a base.

    Args:
        name: of a method, or of ALIASES.
        values: for fields that the base may have or not.
        chosen: values for its fields that count before all others.

    Raises:
        UserError: there is no such method, it has no such field or value, or it has other hooks than HOOKS.
    """
    method, own = ALIASES.get(name, (name, {}))
    if method.endswith(".py"):
        raise UserError(f"base = {name}: a base is a method of the suite or of an installed package, not a file.")
    plugin = load("methods", method)
    others = [hook for hook in overridden_hooks(plugin.cls) if hook not in HOOKS]
    if others:
        raise UserError(
            f"{name} cannot be a base: what it does in {', '.join(others)} would be dropped. A base changes only "
            f"{', '.join(HOOKS)}."
        )
    fitting = {key: value for key, value in values.items() if key in {f.name for f in dataclasses.fields(plugin.cls)}}
    base: Method = configure(plugin, fitting | own | (chosen or {}))
    return base
