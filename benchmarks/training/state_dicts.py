"""Whether a state dict fits a network or an optimiser, in words, and loading it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

NAMED = ("factor", "weight_decay", "momentum", "betas")  # options of a group that the recipe and the stage decide


def load_network(net: nn.Module, state: Mapping[str, Tensor], lacks: bool = False, surplus: bool = False) -> str:
    """Load a state dict if it fits and return what does not fit, in words; nothing is loaded then.

    Args:
        net: changed in place.
        state: name to tensor.
        lacks: tensors may be missing from the state; the network keeps its own.
        surplus: tensors that the network does not have may be in the state; they are ignored.
    """
    own = net.state_dict()
    problems = [] if lacks else [f"{name} is missing" for name in own if name not in state]
    problems += [] if surplus else [f"{name} is unknown" for name in state if name not in own]
    problems += [
        f"{name} is {_kind(state[name])} instead of {_kind(own[name])}"
        for name in own
        if name in state and _kind(state[name]) != _kind(own[name])
    ]
    if not problems:
        net.load_state_dict(state, strict=False)
    return ", ".join(problems)


def _kind(tensor: Any) -> str:
    if not isinstance(tensor, Tensor):
        return f"no tensor ({type(tensor).__name__})"
    return f"{str(tensor.dtype).removeprefix('torch.')} ({', '.join(map(str, tensor.shape))})"


def optimiser_problem(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> str:
    """What of an optimiser's state dict does not fit, in words; empty if all does."""
    if problem := _form_problem(state):
        return problem
    groups = optimiser.state_dict()["param_groups"], state["param_groups"]
    layouts = [[(group.keys(), group["params"]) for group in of_one] for of_one in groups]
    if layouts[0] != layouts[1]:
        return "its optimiser has other groups of parameters"
    for name in NAMED:
        values = [[group.get(name) for group in of_one] for of_one in groups]
        if values[0] != values[1]:
            return f"its optimiser has another {name}"
    return _moments_problem(optimiser, [state["state"].get(number) for number in range(len(_parameters(optimiser)))])


def restore_moments(optimiser: torch.optim.Optimizer, state: Mapping[str, Any], numbers: Sequence[int | None]) -> str:
    """Give parameters the moments that they have in another run's optimiser; what does not fit, in words.

    Args:
        optimiser: changed in place if all fits.
        state: state dict of the other optimiser.
        numbers: of each parameter in the other optimiser; None for one that the other run does not train.
    """
    if problem := _form_problem(state):
        return problem
    own = optimiser.state_dict()
    moments = [
        own["state"].get(k) if number is None else state["state"].get(number) for k, number in enumerate(numbers)
    ]
    if problem := _moments_problem(optimiser, moments):
        return problem
    own["state"] = {number: of_one for number, of_one in enumerate(moments) if of_one is not None}
    optimiser.load_state_dict(own)
    return ""


def _form_problem(state: Mapping[str, Any]) -> str:
    """Whether something has the form of an optimiser's state dict."""
    if state.keys() != {"state", "param_groups"}:
        return f"its optimiser has {', '.join(state)}"
    moments, groups = state["state"], state["param_groups"]
    if not isinstance(moments, dict) or not isinstance(groups, list):
        return "its optimiser is of another kind"
    if not all(isinstance(group, dict) and "params" in group for group in groups):
        return "its optimiser is of another kind"
    return ""


def _moments_problem(optimiser: torch.optim.Optimizer, moments: Sequence[Any]) -> str:
    """What does not fit of the moments of each parameter: a tensor has the parameter's shape, or is a number."""
    initial = optimiser.state_dict()["state"]
    lacking = 0
    for number, (parameter, of_one) in enumerate(zip(_parameters(optimiser), moments, strict=True)):
        of_one = {} if of_one is None else of_one
        if not isinstance(of_one, Mapping):
            return "its optimiser has a state of another kind"
        lacking += not initial.get(number, {}).keys() <= of_one.keys()
        for name, value in of_one.items():
            if isinstance(value, Tensor) and value.dim() and _kind(value) != _kind(parameter):
                return f"{name} of its optimiser is {_kind(value)} instead of {_kind(parameter)}"
    return f"its optimiser lacks the state of {lacking} parameters" if lacking else ""


def _parameters(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
