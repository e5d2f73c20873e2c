"""Data and options of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ..records import parts
from ..records.environment import environment
from ..split import Split
from .callbacks import Callback
from .feature_store import FeatureStore
from .run_spec import RunSpec


@dataclass(frozen=True)
class Options:
    """Options of a run that do not affect its result.

    Attributes:
        runs: folder that contains one folder per run.
        callback: notified of the progress of training.
        wait: whether to wait for another process that makes a prerequisite; if not, `Timeout` is raised.
        interval: seconds between checkpoints at least.
    """

    runs: Path
    callback: Callback
    wait: bool
    interval: float


@dataclass(frozen=True)
class Context(Options):
    """Data and options shared by a run and its prerequisite trainings.

    Attributes:
        split: training split, on the device.
        test: test split, on the device.
        environment: software versions, hardware and state of the checkout.
        features: features of a frozen backbone that replace the images of both splits; empty if they are images.
    """

    split: Split
    test: Split
    environment: parts.Environment
    features: Sequence[parts.Prerequisite] = ()


def make_context(spec: RunSpec, device: torch.device, options: Options) -> Context:
    """Data and options of a run; for errors see `trainer.execute`.

    If the recipe says so, the splits contain features of the frozen backbone, which are computed if they are missing.

    Args:
        spec: specification of the run.
        device: device to train on.
        options: further options.
    """
    train, test, features = spec.dataset.train, spec.dataset.test, []
    if spec.recipe.cache and train.images.dim() > 2:
        store = FeatureStore(spec, device, options.runs, partial(options.callback.features, spec), options.wait)
        train, test, features = store.split(train), store.split(test), store.used
    return Context(
        **vars(options),
        split=train.to(device),
        test=test.to(device),
        environment=environment(device),
        features=features,
    )
