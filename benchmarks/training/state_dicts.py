"""Loading of state dicts into networks and optimisers, with a description of what does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..network import Classifier

NAMED = ("factor", "weight_decay", "momentum", "betas")  # options of a parameter group set by recipe and stage


def load_network(net: Classifier, state: Mapping[str, Tensor], lacks: bool = False, surplus: bool = False) -> str:
    """Load a state dict into a network; if anything does not fit, change nothing.

    The tensors of a frozen backbone may be missing.

    Args:
        net: network, changed in place.
        state: tensors by name.
        lacks: whether tensors may be missing from the state; the network then keeps those that it has.
        surplus: whether the state may contain tensors that the network does not have; they are ignored.

    Returns:
        "" if the state was loaded; else a description of all mismatches, such as "head.bias is missing".
    """
    own = net.state_dict()
    problems = [] if lacks else [f"{name} is missing" for name in net.trained_state() if name not in state]
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
    """Description of the first mismatch between an optimiser and a state dict; "" if the state fits."""
    if problem := _form_problem(state):
        return problem
    groups = optimiser.state_dict()["param_groups"], state["param_groups"]
    layouts = [[(group.keys(), group["params"]) for group in of_one] for of_one in groups]
    if layouts[0] != layouts[1]:
        return "its optimiser has different parameter groups"
    for name in NAMED:
        values = [[group.get(name) for group in of_one] for of_one in groups]
        if values[0] != values[1]:
            return f"its optimiser has a different {name}"
    return _moments_problem(optimiser, [state["state"].get(number) for number in range(len(_parameters(optimiser)))])


def restore_moments(optimiser: torch.optim.Optimizer, state: Mapping[str, Any], numbers: Sequence[int | None]) -> str:
    """Copy the moments of shared parameters from the state of another run's optimiser; on a mismatch, change nothing.

    Args:
        optimiser: optimiser of this run, changed in place.
        state: state dict of the other optimiser.
        numbers: index of each parameter of `optimiser` in the other one; None for a parameter that only this run
            trains, which keeps its initial moments.

    Returns:
        "" if the moments were copied; else a description of the first mismatch.
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
    """Reason why a mapping is not the state dict of an optimiser; "" if it is one."""
    if state.keys() != {"state", "param_groups"}:
        return f"its optimiser state has the keys {', '.join(state)}"
    moments, groups = state["state"], state["param_groups"]
    if not isinstance(moments, dict) or not isinstance(groups, list):
        return "its optimiser state has another format"
    if not all(isinstance(group, dict) and "params" in group for group in groups):
        return "its optimiser state has another format"
    return ""


def _moments_problem(optimiser: torch.optim.Optimizer, moments: Sequence[Any]) -> str:
    """Description of the first mismatch between parameters and their moments; "" if all moments fit.

    A moment must be a scalar or have the shape and dtype of its parameter.
    """
    initial = optimiser.state_dict()["state"]
    lacking = 0
    for number, (parameter, of_one) in enumerate(zip(_parameters(optimiser), moments, strict=True)):
        of_one = {} if of_one is None else of_one
        if not isinstance(of_one, Mapping):
            return "its optimiser state has another format"
        lacking += not initial.get(number, {}).keys() <= of_one.keys()
        for name, value in of_one.items():
            if isinstance(value, Tensor) and value.dim() and _kind(value) != _kind(parameter):
                return f"{name} of its optimiser is {_kind(value)} instead of {_kind(parameter)}"
    return f"its optimiser state lacks {lacking} parameters" if lacking else ""


def _parameters(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
