"""The optimiser of a stage, its learning rates and the names of its parameters."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..method import Stage
from ..network import Classifier
from ..recipe import Recipe


def make_optimiser(net: Classifier, recipe: Recipe, stage: Stage) -> torch.optim.Optimizer:
    """Create the optimiser of a stage, SGD, Adam or AdamW, for the parameters that are not frozen.

    SGD's momentum buffers start at zero, which does not change the result. Without them, torch's fused SGD would raise
    a TypeError for a parameter that receives its first gradient after the first step.

    Args:
        net: network whose parameters are trained.
        recipe: provides optimiser, learning rate, momentum, weight decay and the factors of the backbone's stages.
        stage: may replace the recipe's weight decay, and multiply the learning rate of some parameters by a factor,
            which their parameter group stores under the key `factor`.
    """
    layers = layer_factors(net, recipe.layer_decay)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            factor = next((factor for prefix, factor in stage.factors if name.startswith(prefix)), 1.0)
            factor *= next((each for prefix, each in layers.items() if name.startswith(prefix)), 1.0)
            groups.setdefault(factor, []).append(parameter)
    parameters = [{"params": members, "factor": factor} for factor, members in groups.items()]
    decay = recipe.weight_decay if stage.weight_decay is None else stage.weight_decay
    options: dict[str, Any] = {"weight_decay": decay, "fused": not recipe.plain, "foreach": False}
    if recipe.optimiser != "sgd":
        kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
        return kind(parameters, recipe.lr, (recipe.momentum, 0.999), **options)
    optimiser = torch.optim.SGD(parameters, recipe.lr, recipe.momentum, **options)
    if recipe.momentum:
        for parameter in chain(*groups.values()):
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


def layer_factors(net: Classifier, decay: float) -> dict[str, float]:
    """Factor of the learning rate of each stage of the backbone that has parameters, by the prefix of their names.

    The last one has the factor `decay`, the one before it `decay`^2, and so on: layers further from the head, which
    are more general, change less (Howard & Ruder 2018).

    Args:
        net: network.
        decay: factor from one stage to the one before it, in (0, 1].
    """
    stages = [
        f"backbone.{name}." for name, stage in net.backbone.named_children() if any(True for _ in stage.parameters())
    ]
    return {prefix: decay**number for number, prefix in enumerate(reversed(stages), 1)} if decay < 1 else {}


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each parameter group to `rate` times the group's factor.

    A rate that is a tensor, as recorded steps need, is changed in place.
    """
    for group in optimiser.param_groups:
        own = group.get("factor", 1.0) * rate
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = own


def clip_gradient(optimiser: torch.optim.Optimizer, largest: float) -> None:
    """Scale the gradient of all trained parameters down to the norm `largest` if it is longer; 0 for no limit."""
    if largest:
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(parameters, largest)


def parameter_names(net: Classifier, optimiser: torch.optim.Optimizer) -> list[str]:
    """Names of the optimiser's parameters, in its order."""
    names = {parameter: name for name, parameter in net.named_parameters()}
    return [names[parameter] for group in optimiser.param_groups for parameter in group["params"]]
