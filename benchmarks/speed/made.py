"""Images to time with: random pixels in the sizes of a published long-tailed set, as speed depends on nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from ..loader import generator
from ..plan import make_plan
from ..setting import Run
from ..split import Dataset, Split, long_tail_counts

CLASSES, SIZE, LARGEST, RATIO, TESTS = 10, 32, 5000, 100, 1000  # CIFAR-10-LT


def made_runs(methods: Sequence[str], settings: Sequence[str] = ()) -> list[Run]:
    """One run of each method under the recipe `cifar`, on random pixels in the sizes of CIFAR-10-LT at ratio 100.

    Raises:
        UserError: an unknown method, or a setting that is none.
    """
    tiny = (f"dataset.size={SIZE}", f"dataset.classes={CLASSES}", "dataset.n_max=2", "dataset.test_per_class=1")
    runs = make_plan(methods, ["waves-lt"], imbalance="1", recipe="cifar", settings=[*tiny, *settings])
    train = _pixels(long_tail_counts(LARGEST, CLASSES, RATIO, "exp"))
    whole = dataclasses.replace(
        runs[0].dataset, name="random pixels", train=train, test=_pixels([TESTS] * CLASSES), imbalance=RATIO
    )
    held: list[Dataset] = []
    made = []
    for run in runs:
        dataset = whole
        if run.method.needs(run.recipe.epochs).validation:
            held = held or [whole.holding_out()]
            dataset = held[0]
        made.append(dataclasses.replace(run, dataset=dataset))
    return made


def _pixels(counts: list[int]) -> Split:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    random = generator(0, "pixels")
    images = torch.randint(256, (len(labels), 3, SIZE, SIZE), dtype=torch.uint8, generator=random)
    return Split(images, labels, len(counts))
