"""Settings, methods, batches and moments of training for the tests of OPeN."""

from __future__ import annotations

from typing import Any

import torch
from ltbench.benchmarks.data.loader import generator
from ltbench.benchmarks.method import Batch, Now
from ltbench.benchmarks.network import Classifier
from ltbench.benchmarks.split import Split
from ltbench.benchmarks.training.run_spec import build_network

from helpers.tiny import tiny_run


def settings(ablation: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"open.{key}={value}" for key, value in ablation.items())


def ready(**fields: Any) -> tuple[Any, Classifier, Split]:
    """The method OPeN at the beginning of training, its network, and the training split."""
    run = tiny_run("open", settings=settings(fields))
    net = build_network(run)
    run.method.begin_stage(run.method.stages(10)[0], net, run.dataset.train)
    return run.method, net, run.dataset.train


def after_start(seed: int = 0) -> Now:
    return Now("train", 9, 10, generator(seed, "test"))


def batch_of(split: Split, count: int = 64) -> Batch:
    index = torch.arange(count) * len(split) // count
    return Batch(split.images[index].float() / 255, split.labels[index])
