"""Runs for timing: random pixels in the sizes of a published long-tailed set, as speed depends on nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from ..data.loader import generator
from ..split import Split, long_tail_counts
from ..training.plan import RunRequest, make_plan
from ..training.run_spec import RunSpec

CLASSES, SIZE, LARGEST, RATIO, TESTS = 10, 32, 5000, 100, 1000  # CIFAR-10-LT


def synthetic_specs(methods: Sequence[str], settings: Sequence[str] = ()) -> list[RunSpec]:
    """One run of each method under the recipe `cifar`, on random pixels in the sizes of CIFAR-10-LT at ratio 100.

    Raises:
        UserError: an unknown method, or an invalid setting.
    """
    tiny = (f"dataset.size={SIZE}", f"dataset.classes={CLASSES}", "dataset.n_max=2", "dataset.test_per_class=1")
    request = RunRequest(imbalance="1", recipe="cifar", settings=[*tiny, *settings])
    specs = [make_plan([name], ["waves-lt"], request)[0] for name in dict.fromkeys(methods)]
    train = _pixels(long_tail_counts(LARGEST, CLASSES, RATIO, "exp"))
    test = _pixels([TESTS] * CLASSES)
    whole = dataclasses.replace(specs[0].dataset, name="random pixels", train=train, test=test, imbalance=RATIO)
    part = whole.holding_out() if any(_holds_out(spec) for spec in specs) else whole
    return [dataclasses.replace(spec, dataset=part if _holds_out(spec) else whole) for spec in specs]


def _holds_out(spec: RunSpec) -> bool:
    return spec.method.needs(spec.recipe.epochs).validation


def _pixels(counts: list[int]) -> Split:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    random = generator(0, "pixels")
    images = torch.randint(256, (len(labels), 3, SIZE, SIZE), dtype=torch.uint8, generator=random)
    return Split(images, labels, len(counts))
