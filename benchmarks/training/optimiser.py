"""The optimiser of a stage, its learning rates, and the names of what it trains."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..network import Classifier
from ..recipe import Recipe


def make_optimiser(
    net: Classifier, recipe: Recipe, slower: tuple[tuple[str, float], ...] = ()
) -> torch.optim.Optimizer:
    """SGD with momentum, or Adam, over the parameters that are not frozen.

    SGD's momentum buffers start as zeros instead of missing, which computes the same and lets a parameter receive its
    first gradient late: torch's fused SGD raises a TypeError otherwise.

    Args:
        net: the network.
        recipe: its optimiser, learning rate, momentum and weight decay.
        slower: as in `Stage`; the factor of a group is kept in it as `factor`.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            factor = next((factor for prefix, factor in slower if name.startswith(prefix)), 1.0)
            groups.setdefault(factor, []).append(parameter)
    parameters = [{"params": members, "factor": factor} for factor, members in groups.items()]
    options: dict[str, Any] = {"weight_decay": recipe.weight_decay, "fused": not recipe.plain, "foreach": False}
    if recipe.optimiser == "adam":
        return torch.optim.Adam(parameters, recipe.lr, (recipe.momentum, 0.999), **options)
    optimiser = torch.optim.SGD(parameters, recipe.lr, recipe.momentum, **options)
    if recipe.momentum:
        for parameter in chain(*groups.values()):
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its factor of a learning rate; in place where the rate is a tensor, as a recorded step reads."""
    for group in optimiser.param_groups:
        own = group.get("factor", 1.0) * rate
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = own


def parameter_names(net: Classifier, optimiser: torch.optim.Optimizer) -> list[str]:
    """Names of the parameters in the order in which the optimiser numbers them."""
    names = {parameter: name for name, parameter in net.named_parameters()}
    return [names[parameter] for group in optimiser.param_groups for parameter in group["params"]]
