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
class Context:
    """Data and options shared by a run and its prerequisite trainings.

    Attributes:
        split: training split, on the device.
        test: test split, on the device.
        runs: folder that contains one folder per run.
        callback: notified of the progress of training.
        wait: whether to wait for another process that trains a prerequisite; if not, `Timeout` is raised.
        environment: software versions, hardware and state of the checkout.
        features: features of a frozen backbone that replace the images of both splits; empty if they are images.
    """

    split: Split
    test: Split
    runs: Path
    callback: Callback
    wait: bool
    environment: parts.Environment
    features: Sequence[parts.Prerequisite] = ()


def make_context(spec: RunSpec, device: torch.device, runs: Path, callback: Callback, wait: bool) -> Context:
    """Data and options of a run; for arguments and errors see `trainer.execute`.

    If the recipe says so, the splits contain features of the frozen backbone, which are computed if they are missing.
    """
    train, test = spec.dataset.train, spec.dataset.test
    if not spec.recipe.cache or train.images.dim() == 2:
        return Context(train.to(device), test.to(device), runs, callback, wait, environment(device))
    store = FeatureStore(spec, device, runs, partial(callback.features, spec), wait)
    return Context(store.split(train), store.split(test), runs, callback, wait, environment(device), store.used)
