"""Methods that wrap a whole base method: every hook calls that of the base with the same arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from ltbench.benchmarks.data.loader import generator
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import HOOKS, Method, Needs, Now, Stage, overridden_hooks
from ltbench.methods._shared.whole_base import WholeBase

NOTHING = {"begin_epoch", "after_step"}  # hooks without a result
NOW, STAGE = Now("train", 0, 1, generator(0, "test")), Stage("train", 1)


class Observed:
    """Stand-in for a base that records the calls of its hooks; each hook returns the same object."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.result = Needs(prefix=3, prefix_of="drs", network=True, validation=True)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def hook(*arguments: Any) -> Any:
            self.calls.append((name, arguments))
            return self.result

        return hook


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_that_of_the_base(name: str) -> None:
    whole, base = WholeBase(), Observed()
    whole.base_ = base  # type: ignore[assignment]
    special: dict[str, object] = {"now": NOW, "stage": STAGE}
    parameters = list(inspect.signature(getattr(Method, name)).parameters)[1:]
    arguments = tuple(special.get(parameter, object()) for parameter in parameters)
    result = getattr(whole, name)(*arguments)
    assert base.calls == [(name, arguments)]
    if name == "needs":
        assert result == Needs(prefix=0, prefix_of="drs", network=True, validation=True)
    elif name not in NOTHING:
        assert result is base.result


def test_no_hook_of_the_base_is_dropped() -> None:
    assert set(overridden_hooks(WholeBase)) == set(HOOKS)


def test_an_unknown_or_outside_base_is_refused() -> None:
    with pytest.raises(UserError, match=r"Unknown method 'ldam'\. Did you mean 'ldam-drw'"):
        WholeBase(base="ldam")
    with pytest.raises(UserError, match=r"mine\.py: a base must be a method of the suite, not a file"):
        WholeBase(base="mine.py")
