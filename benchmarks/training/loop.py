"""THE loop. It names no method; every method runs through it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from ..data.augment import make_augment
from ..data.loader import Drawn, derive, draw_epoch, epoch_generators, generator
from ..errors import RunFailed, UserError
from ..method import Method, Now
from ..network import Classifier
from ..recipe import Recipe
from ..split import Split
from .cuda_graph import Steps


@dataclass(frozen=True)
class EpochEnd:
    """What the loop reports after each epoch.

    Attributes:
        stage: index of the stage.
        epoch: 0-based, within the stage.
        epochs: length of the stage.
        loss: mean over the epoch's steps.
        images: training images seen.
        seconds: wall time of the epoch's steps.
        optimiser: for the checkpoint.
        measures: what the method noted.
    """

    stage: int
    epoch: int
    epochs: int
    loss: float
    images: int
    seconds: float
    optimiser: torch.optim.Optimizer
    measures: dict[str, float]


def train(
    method: Method,
    net: Classifier,
    split: Split,
    recipe: Recipe,
    seed: int,
    resume: dict[str, Any] | None = None,
    on_step: Callable[[int], None] = lambda images: None,
) -> Iterator[EpochEnd]:
    """Train `net` through the method's stages, yielding after each epoch.

    Args:
        method: the plugin.
        net: on its device, in training mode; changed in place.
        split: the training split, on the same device.
        recipe: all that is equal between methods.
        seed: the run's seed.
        resume: `{"stage", "epoch", "net", "optimiser"}` of a checkpoint: its epoch has ended, the next one begins. With
            `"shared"` it is that of the ERM run that this run begins with, and `"parameters"` are the names behind
            the optimiser's numbers.
        on_step: called after each step with the number of images; must not wait for the device.

    Raises:
        RunFailed: the loss is not finite.
    """
    device = split.labels.device
    augment = make_augment(split.images, recipe)
    for number, stage in enumerate(method.stages(recipe.epochs)):
        torch.manual_seed(derive(seed, "global", stage.name))  # for the weights of modules that a method attaches
        method.begin_stage(stage, net, split)
        net.to(device)
        with frozen_but(net, stage.trained):
            optimiser = make_optimiser(net, recipe, stage.slower)
            first = 0
            if resume is not None and number < resume["stage"]:
                continue
            if resume is not None and number == resume["stage"]:
                restore(net, optimiser, resume)
                first = resume["epoch"] + 1
            steps, random = Steps(method, net, split, augment, optimiser, recipe), torch.Generator(device)
            for epoch in range(first, stage.epochs):
                started = time.perf_counter()
                torch.manual_seed(derive(seed, "global", stage.name, epoch))
                random.manual_seed(derive(seed, "method", stage.name, epoch))
                fresh = partial(augment.fresh, random=generator(seed, "fresh", stage.name, epoch))
                now = Now(stage.name, epoch, stage.epochs, random, fresh)
                method.begin_epoch(net, split, now)
                steps.begin(now, recipe.learning_rate(epoch, stage.epochs, stage.drops))
                probabilities = method.sampling(split.counts, now)
                count = method.draws(split.counts, now)
                drawn = draw_epoch(split, augment, probabilities, epoch_generators(seed, stage.name, epoch), count)
                loss, images = run_epoch(steps, drawn, on_step)
                if not math.isfinite(loss):
                    raise RunFailed(
                        f"The loss became {loss} in epoch {epoch} of stage '{stage.name}'. Lower the learning rate "
                        "(--set recipe.lr=...) or change the method's hyper-parameters."
                    )
                seconds = time.perf_counter() - started
                measures = method.measures(net, now)
                yield EpochEnd(number, epoch, stage.epochs, loss, images, seconds, optimiser, measures)


def run_epoch(steps: Steps, drawn: Drawn, on_step: Callable[[int], None]) -> tuple[float, int]:
    """One epoch's steps; their mean loss and the number of images. No step waits for the device, only the end does."""
    total, images = torch.zeros((), device=steps.device), 0
    for index, parameters in drawn:
        total += steps(index, parameters)
        images += len(index)
        on_step(len(index))
    return float(total) / max(len(drawn), 1), images


@contextmanager
def frozen_but(net: Classifier, trained: tuple[str, ...]) -> Iterator[None]:
    """Freeze, for a stage, the parameters whose names have none of the prefixes; what a method froze stays frozen."""
    held = [p for name, p in net.named_parameters() if p.requires_grad and not name.startswith(trained)]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)


def make_optimiser(
    net: Classifier, recipe: Recipe, slower: tuple[tuple[str, float], ...] = ()
) -> torch.optim.Optimizer:
    """SGD with momentum, or Adam, over the parameters that are not frozen; `slower` as in `Stage`.

    SGD's momentum buffers start as zeros instead of missing, which computes the same and lets a parameter receive its
    first gradient late: torch's fused SGD raises a TypeError otherwise.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            factor = next((factor for prefix, factor in slower if name.startswith(prefix)), 1.0)
            groups.setdefault(factor, []).append(parameter)
    parameters = [{"params": members, "factor": factor} for factor, members in groups.items()]
    kind: dict[str, Any] = {"weight_decay": recipe.weight_decay, "fused": not recipe.plain, "foreach": False}
    if recipe.optimiser == "adam":
        return torch.optim.Adam(parameters, recipe.lr, (recipe.momentum, 0.999), **kind)
    optimiser = torch.optim.SGD(parameters, recipe.lr, recipe.momentum, **kind)
    if recipe.momentum:
        for parameter in sum(groups.values(), []):
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


def names_of(net: Classifier, optimiser: torch.optim.Optimizer) -> list[str]:
    """Names of the parameters in the order in which the optimiser numbers them."""
    names = {parameter: name for name, parameter in net.named_parameters()}
    return [names[parameter] for group in optimiser.param_groups for parameter in group["params"]]


def restore(net: Classifier, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Bring network and optimiser to a checkpoint: the run's own, or one of the ERM run that it begins with.

    What only this method's network has keeps its initial state: in those epochs nothing has touched it.
    """
    if not state.get("shared"):
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        return
    try:
        surplus = ", ".join(net.load_state_dict(state["net"], strict=False).unexpected_keys)
    except RuntimeError as error:
        surplus = str(error)
    if surplus:
        raise UserError(f"The method's needs() says that it begins as ERM, but ERM's weights do not fit: {surplus}.")
    numbers = {name: number for number, name in enumerate(state["parameters"])}
    own = optimiser.state_dict()
    shared = state["optimiser"]["state"]
    for number, name in enumerate(names_of(net, optimiser)):
        if numbers.get(name) in shared:
            own["state"][number] = shared[numbers[name]]
    optimiser.load_state_dict(own)
