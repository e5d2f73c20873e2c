"""A training stage in progress: the single way to set up a run for an epoch.

The training loop uses it; preview, profile and operation counter use it to inspect the steps of one epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..data.augment import Augment, make_augment
from ..data.loader import Drawn, Picked, batch_of, derive, draw_epoch, epoch_generators, generator
from ..method import Batch, Now, Stage
from ..network import Classifier
from ..nn.average import attach_average, take_average
from ..split import Split
from .hook_checks import check_draws, check_groups, check_sampling, check_streams, checked_stage
from .optimiser import make_optimiser, set_learning_rate
from .run_spec import RunSpec, new_head
from .step_checks import StepChecks


@dataclass(frozen=True)
class ActiveStage:
    """State needed to take steps in a stage; parameters that the stage does not train are frozen.

    Attributes:
        spec: specification of the run.
        net: network of the run, on the device of the split.
        split: training split.
        number: index of the stage, from 0.
        stage: description of the stage.
        augment: the recipe's augmentation for the split.
        optimiser: optimiser of the parameters that are not frozen.
        generator: the method's random generator, on the device, re-seeded every epoch.
        checks: checks of the values that the method's hooks return in the first step.
    """

    spec: RunSpec
    net: Classifier
    split: Split
    number: int
    stage: Stage
    augment: Augment
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    checks: StepChecks

    def begin_epoch(self, epoch: int) -> Now:
        """Seed all random generators for an epoch, call the method's `begin_epoch` and set the learning rate.

        Args:
            epoch: number of the epoch, from 0, within the stage.

        Returns:
            The moment that the hooks of this epoch receive.
        """
        seed, stage = self.spec.seed, self.stage
        torch.manual_seed(derive(seed, "global", stage.name, epoch))
        self.generator.manual_seed(derive(seed, "method", stage.name, epoch))
        fresh = partial(self.augment.fresh, random=generator(seed, "fresh", stage.name, epoch))
        now = Now(stage.name, epoch, stage.epochs, self.generator, fresh)
        self.spec.method.begin_epoch(self.net, self.split, now)
        rate = self.spec.recipe.learning_rate(epoch, stage.epochs, stage.lr, stage.schedule)
        set_learning_rate(self.optimiser, rate)
        return now

    def draw(self, now: Now) -> Drawn:
        """Draw the images of an epoch, as the method's hooks request, and their augmentation parameters.

        Raises:
            RunFailed: `sampling`, `draws` or `streams` returned an invalid value.
            UserError: a batch is smaller than a group of class-aware sampling.
        """
        counts, method = self.split.counts, self.spec.method
        sampling, count, streams = method.sampling(counts, now), method.draws(counts, now), method.streams(counts, now)
        check_sampling(sampling, counts, method)
        check_draws(count, method)
        check_streams(streams, counts, method)
        check_groups((sampling, *streams), self.spec.recipe.batch_size)
        random = epoch_generators(self.spec.seed, now.stage, now.epoch)
        return draw_epoch(self.split, self.augment, sampling, random, count, streams)

    def batch(self, picked: Picked) -> Batch:
        """The augmented images of a batch and their labels."""
        return batch_of(self.split, self.augment, picked)


def active_stages(spec: RunSpec, net: Classifier, split: Split) -> Iterator[ActiveStage]:
    """Begin the stages of a run one after the other; requesting the next stage ends the previous one.

    Args:
        spec: specification of the run.
        net: network of the run, on the device of the split; changed by the method's `begin_stage`.
        split: training split.
    """
    augment = make_augment(split.images, spec.recipe)
    for number, stage in enumerate(spec.stages):
        torch.manual_seed(derive(spec.seed, "global", stage.name))  # initial weights of modules that a method attaches
        if stage.fresh_head:
            net.head = new_head(spec, net)
        stage = checked_stage(spec.method, stage, net, split)
        net.to(split.labels.device)
        frozen, evaluated = freeze(net, stage)
        attach_average(net, ("backbone.",) if spec.recipe.frozen else (), spec.recipe.average)
        optimiser = make_optimiser(net, spec.recipe, stage)
        checks, random = StepChecks(spec.method, len(split.counts)), torch.Generator(split.labels.device)
        yield ActiveStage(spec, net, split, number, stage, augment, optimiser, random, checks)
        for parameter in frozen:  # parameters frozen by the method itself stay frozen
            parameter.requires_grad_(True)
        for norm in evaluated:
            norm.train()
        take_average(net)


def freeze(net: Classifier, stage: Stage) -> tuple[list[nn.Parameter], list[_BatchNorm]]:
    """Freeze the parameters that a stage does not train, and set the mode of frozen batch norms; see `Stage`.

    Returns:
        The parameters that this call has frozen, and the batch norms that it has put into evaluation mode.
    """
    norms = {f"{name}.": module for name, module in net.named_modules() if isinstance(module, _BatchNorm)}
    trained = (*stage.trained, *norms) if stage.frozen_norms == "train" else stage.trained
    frozen = [p for name, p in net.named_parameters() if p.requires_grad and not name.startswith(trained)]
    for parameter in frozen:
        parameter.requires_grad_(False)
    kept = [norm for name, norm in norms.items() if norm.training and not name.startswith(trained)]
    evaluated = kept if stage.frozen_norms == "eval" else []
    for norm in evaluated:
        norm.eval()
    return frozen, evaluated


def begin_stages(spec: RunSpec, net: Classifier, split: Split, number: int) -> ActiveStage:
    """Begin all stages up to stage `number` (from 0) without training, and return that stage."""
    return next(islice(active_stages(spec, net, split), number, None))


def find_epoch(spec: RunSpec, progress: float) -> tuple[int, int]:
    """Stage index and epoch within the stage at a fraction `progress` of the whole run, in [0, 1]."""
    epoch = min(int(progress * spec.epochs), spec.epochs - 1)
    for number, stage in enumerate(spec.stages):
        if epoch < stage.epochs:
            return number, epoch
        epoch -= stage.epochs
    raise AssertionError("every epoch of a run belongs to a stage")
