"""Images to time with: random pixels in the sizes of a published long-tailed set, as speed depends on nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from ..data.loader import generator
from ..split import Split, long_tail_counts
from ..training.plan import make_plan
from ..training.run_spec import RunSpec

CLASSES, SIZE, LARGEST, RATIO, TESTS = 10, 32, 5000, 100, 1000  # CIFAR-10-LT


def made_runs(methods: Sequence[str], settings: Sequence[str] = ()) -> list[RunSpec]:
    """One run of each method under the recipe `cifar`, on random pixels in the sizes of CIFAR-10-LT at ratio 100.

    Raises:
        UserError: an unknown method, or a setting that is none.
    """
    tiny = (f"dataset.size={SIZE}", f"dataset.classes={CLASSES}", "dataset.n_max=2", "dataset.test_per_class=1")
    options: dict[str, Any] = {"imbalance": "1", "recipe": "cifar", "settings": [*tiny, *settings]}
    runs = [make_plan([name], ["waves-lt"], **options)[0] for name in dict.fromkeys(methods)]
    train = _pixels(long_tail_counts(LARGEST, CLASSES, RATIO, "exp"))
    test = _pixels([TESTS] * CLASSES)
    whole = dataclasses.replace(runs[0].dataset, name="random pixels", train=train, test=test, imbalance=RATIO)
    part = whole.holding_out() if any(_holds_out(run) for run in runs) else whole
    return [dataclasses.replace(run, dataset=part if _holds_out(run) else whole) for run in runs]


def _holds_out(run: RunSpec) -> bool:
    return run.method.needs(run.recipe.epochs).validation


def _pixels(counts: list[int]) -> Split:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    random = generator(0, "pixels")
    images = torch.randint(256, (len(labels), 3, SIZE, SIZE), dtype=torch.uint8, generator=random)
    return Split(images, labels, len(counts))
