"""A stage of training that a method has begun: the one way in which a run is brought to an epoch.

The loop trains through it. Preview, profile and operation counter bring a run to one epoch and look at its steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from ..data.augment import Augment, Parameters, make_augment
from ..data.loader import Drawn, batch_of, derive, draw_epoch, epoch_generators, generator
from ..method import Batch, Now, Stage
from ..network import Classifier
from ..split import Split
from .hook_checks import StepChecks, check_draws, check_sampling
from .optimiser import make_optimiser, set_learning_rate
from .run_spec import RunSpec


@dataclass(frozen=True)
class ActiveStage:
    """All that the steps of a stage need; parameters that the stage does not train are frozen.

    Attributes:
        spec: the run.
        net: its network, on the device of the split.
        split: the training split.
        number: of the stage, from 0.
        stage: its description.
        augment: the recipe's augmentation of the split.
        optimiser: over the parameters that are not frozen.
        generator: of the method's random numbers, on the device, seeded for each epoch.
        checks: of what the method's hooks return in the first step.
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
        """Seed all random numbers of an epoch, call the method's `begin_epoch`, set the learning rate."""
        seed, stage = self.spec.seed, self.stage
        torch.manual_seed(derive(seed, "global", stage.name, epoch))
        self.generator.manual_seed(derive(seed, "method", stage.name, epoch))
        fresh = partial(self.augment.fresh, random=generator(seed, "fresh", stage.name, epoch))
        now = Now(stage.name, epoch, stage.epochs, self.generator, fresh)
        self.spec.method.begin_epoch(self.net, self.split, now)
        set_learning_rate(self.optimiser, self.spec.recipe.learning_rate(epoch, stage.epochs, stage.drops))
        return now

    def draw(self, now: Now) -> Drawn:
        """The images of an epoch, drawn as the method asks for, and their augmentation."""
        counts, method = self.split.counts, self.spec.method
        probabilities, count = method.sampling(counts, now), method.draws(counts, now)
        check_sampling(probabilities, counts, method)
        check_draws(count, method)
        random = epoch_generators(self.spec.seed, now.stage, now.epoch)
        return draw_epoch(self.split, self.augment, probabilities, random, count)

    def batch(self, index: Tensor, parameters: Parameters) -> Batch:
        """The images at `index` (B,), augmented with the parameters of B images, and their labels."""
        return batch_of(self.split, self.augment, index, parameters)


def active_stages(spec: RunSpec, net: Classifier, split: Split) -> Iterator[ActiveStage]:
    """Begin the stages of a run, one after the other; each is left when the next one is asked for.

    Args:
        spec: the run.
        net: on the device of the split; the method's `begin_stage` changes it.
        split: the training split.
    """
    device = split.labels.device
    augment = make_augment(split.images, spec.recipe)
    for number, stage in enumerate(spec.stages):
        torch.manual_seed(derive(spec.seed, "global", stage.name))  # for the weights of modules that a method attaches
        spec.method.begin_stage(stage, net, split)
        net.to(device)
        frozen = [p for name, p in net.named_parameters() if p.requires_grad and not name.startswith(stage.trained)]
        for parameter in frozen:
            parameter.requires_grad_(False)
        optimiser = make_optimiser(net, spec.recipe, stage.slower)
        checks = StepChecks(spec.method, len(split.counts))
        yield ActiveStage(spec, net, split, number, stage, augment, optimiser, torch.Generator(device), checks)
        for parameter in frozen:  # what the method itself froze stays frozen
            parameter.requires_grad_(True)


def begin_stages(spec: RunSpec, net: Classifier, split: Split, number: int) -> ActiveStage:
    """Begin the stages of a run up to one of them, without training."""
    return next(islice(active_stages(spec, net, split), number, None))


def find_epoch(spec: RunSpec, progress: float) -> tuple[int, int]:
    """Number of the stage, and epoch within it, at a fraction of the whole run, `progress` in [0, 1]."""
    epoch = min(int(progress * spec.epochs), spec.epochs - 1)
    for number, stage in enumerate(spec.stages):
        if epoch < stage.epochs:
            return number, epoch
        epoch -= stage.epochs
    raise AssertionError("the epoch is one of the run's")
