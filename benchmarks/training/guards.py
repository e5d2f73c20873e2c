"""Guards of a recorded step: the comparisons with epoch and progress under which it may be replayed.

A step recorded in one epoch may be replayed in another if every comparison that it made (such as `now.progress >= 0.8`)
has the same result there. A step that used epoch or progress in any other way may be replayed only in the same epoch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..method import Now

COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
SINGLE: dict[str, Callable[[Any], Any]] = {
    "neg": operator.neg, "pos": operator.pos, "abs": abs, "float": float, "int": int, "bool": bool, "index": int,
    "hash": hash, "str": str, "repr": repr, "round": round,
}  # fmt: skip


class Comparison(NamedTuple):
    """A comparison that a step made with an attribute of `Now`, and its result.

    Attributes:
        attribute: name of the attribute, `epoch` or `progress`.
        operation: function of the `operator` module, such as `operator.ge`.
        other: right-hand side of the comparison.
        answer: result of the comparison.
    """

    attribute: str
    operation: Callable[[Any, Any], bool]
    other: Any
    answer: bool


@dataclass
class Conditions:
    """All comparisons that a step made with `epoch` and `progress`, in order."""

    comparisons: list[Comparison] = field(default_factory=list)

    def hold_at(self, now: Now) -> bool:
        """Whether all comparisons have the same results in another epoch of the stage."""
        return all(each.operation(getattr(now, each.attribute), each.other) == each.answer for each in self.comparisons)


class GuardedNumber:
    """A number that records how it is used.

    It is not a subclass of float, because torch would read the value of a subclass without calling a method.
    """

    def __init__(self, name: str, value: float, conditions: Conditions) -> None:
        self._name, self._value, self._conditions = name, value, conditions

    def _compared(self, operation: Callable[[Any, Any], bool], other: Any) -> bool:
        other = other._exactly() if isinstance(other, GuardedNumber) else other
        answer = bool(operation(self._value, other))
        self._conditions.comparisons.append(Comparison(self._name, operation, other, answer))
        return answer

    def _exactly(self) -> float:
        self._conditions.comparisons.append(Comparison(self._name, operator.eq, self._value, True))
        return self._value


def _comparison(name: str) -> Callable[[GuardedNumber, Any], bool]:
    return lambda self, other: self._compared(getattr(operator, name), other)


def _operation(name: str, swapped: bool) -> Callable[[GuardedNumber, Any], Any]:
    work = getattr(operator, name)
    if swapped:
        return lambda self, other: work(other, self._exactly())
    return lambda self, other: work(self._exactly(), other)


def _single(work: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda self, *others: work(self._exactly(), *others)


for _name in COMPARISONS:
    setattr(GuardedNumber, f"__{_name}__", _comparison(_name))
for _name in ARITHMETIC:
    setattr(GuardedNumber, f"__{_name}__", _operation(_name, False))
    setattr(GuardedNumber, f"__r{_name}__", _operation(_name, True))
for _name, _work in SINGLE.items():
    setattr(GuardedNumber, f"__{_name}__", _single(_work))


class GuardedNow(Now):
    """A `Now` that records how `epoch` and `progress` are used. It lacks `fresh`, whose images differ at every call."""

    def __init__(self, now: Now, conditions: Conditions) -> None:
        super().__init__(now.stage, now.epoch, now.epochs, now.generator)
        guarded = {name: GuardedNumber(name, getattr(now, name), conditions) for name in ("epoch", "progress")}
        object.__setattr__(self, "_guarded", guarded)  # `Now` is frozen

    def __getattribute__(self, name: str) -> Any:
        guarded = object.__getattribute__(self, "__dict__").get("_guarded", {})
        return guarded[name] if name in guarded else object.__getattribute__(self, name)
