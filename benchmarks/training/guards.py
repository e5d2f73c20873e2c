"""Which moments of training a step treats alike, found out by watching what it asks about the moment.

A step that was recorded at one epoch may be replayed at another one if everything that it asked then (`now.progress >=
0.8`) has the same answer now. A number that was used in any other way stands for its own epoch alone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..method import Now

COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
SINGLE: dict[str, Callable[[Any], Any]] = {
    "neg": operator.neg, "pos": operator.pos, "abs": abs, "float": float, "int": int, "bool": bool, "index": int,
    "hash": hash, "str": str, "repr": repr, "round": round,
}  # fmt: skip


@dataclass
class Answers:
    """What a step asked about `epoch` and `progress`: attribute, comparison, other side, answer."""

    given: list[tuple[str, Callable[[Any, Any], bool], Any, bool]] = field(default_factory=list)

    def hold(self, now: Now) -> bool:
        """Whether the step would get the same answers at another moment of the same stage."""
        return all(ask(getattr(now, name), other) == answer for name, ask, other, answer in self.given)


class Watched:
    """A number that notes how it is used. No subclass of float: torch would read such a one without asking it."""

    def __init__(self, name: str, value: float, answers: Answers) -> None:
        self._name, self._value, self._answers = name, value, answers

    def _compared(self, ask: Callable[[Any, Any], bool], other: Any) -> bool:
        other = other._exactly() if isinstance(other, Watched) else other
        answer = bool(ask(self._value, other))
        self._answers.given.append((self._name, ask, other, answer))
        return answer

    def _exactly(self) -> float:
        self._answers.given.append((self._name, operator.eq, self._value, True))
        return self._value


def _comparison(name: str) -> Callable[[Watched, Any], bool]:
    return lambda self, other: self._compared(getattr(operator, name), other)


def _operation(name: str, swapped: bool) -> Callable[[Watched, Any], Any]:
    work = getattr(operator, name)
    if swapped:
        return lambda self, other: work(other, self._exactly())
    return lambda self, other: work(self._exactly(), other)


def _single(work: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda self, *others: work(self._exactly(), *others)


for _name in COMPARISONS:
    setattr(Watched, f"__{_name}__", _comparison(_name))
for _name in ARITHMETIC:
    setattr(Watched, f"__{_name}__", _operation(_name, False))
    setattr(Watched, f"__r{_name}__", _operation(_name, True))
for _name, _work in SINGLE.items():
    setattr(Watched, f"__{_name}__", _single(_work))


class WatchedNow(Now):
    """A moment whose `epoch` and `progress` note how they are used; it has no `fresh` images, which are drawn anew."""

    def __init__(self, now: Now, answers: Answers) -> None:
        super().__init__(now.stage, now.epoch, now.epochs, now.generator)
        object.__setattr__(self, "_watched", {n: Watched(n, getattr(now, n), answers) for n in ("epoch", "progress")})

    def __getattribute__(self, name: str) -> Any:
        watched = object.__getattribute__(self, "__dict__").get("_watched", {})
        return watched[name] if name in watched else object.__getattribute__(self, name)
