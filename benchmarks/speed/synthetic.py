"""Runs for timing: random pixels in the shape of a published long-tailed dataset; speed depends only on the shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..data.loader import generator
from ..split import Split, long_tail_counts
from ..training.plan import RunRequest, make_plan
from ..training.run_spec import RunSpec

CLASSES, SIZE = 10, 32  # number of classes and side of the images in pixels, as in CIFAR-10-LT


@dataclass(frozen=True)
class Scale:
    """Size of the measurements.

    Attributes:
        largest: number of training images of the largest class.
        ratio: size of the largest class / size of the smallest class.
        tests: number of test images per class.
        settings: settings of the runs, "NAME=VALUE" as for `--set`.
        rounds: number of rounds per measurement.
        batches: number of batches per round of the image-by-image path; a whole epoch would take too long.
        workers: number of workers of the baseline's DataLoader.
    """

    largest: int = 5000
    ratio: int = 100
    tests: int = 1000
    settings: tuple[str, ...] = ()
    rounds: int = 5
    batches: int = 10
    workers: int = 4


CIFAR_10_LT = Scale()
QUICK = Scale(60, 10, 3, ("recipe.backbone=resnet8-narrow", "recipe.batch_size=32"), rounds=2, batches=1, workers=1)


def synthetic_specs(methods: Sequence[str], scale: Scale = CIFAR_10_LT) -> list[RunSpec]:
    """One run of each method with the recipe `cifar`, on random 32x32 images with the class sizes of `scale`.

    Raises:
        UserError: a method is unknown.
    """
    tiny = (f"dataset.size={SIZE}", f"dataset.classes={CLASSES}", "dataset.n_max=2", "dataset.test_per_class=1")
    request = RunRequest(imbalance="1", recipe="cifar", settings=[*tiny, *scale.settings])
    specs = [make_plan([name], ["waves-lt"], request)[0] for name in dict.fromkeys(methods)]
    train = _pixels(long_tail_counts(scale.largest, CLASSES, scale.ratio, "exp"))
    test = _pixels([scale.tests] * CLASSES)
    whole = dataclasses.replace(specs[0].dataset, name="random pixels", train=train, test=test, imbalance=scale.ratio)
    part = whole.holding_out() if any(_holds_out(spec) for spec in specs) else whole
    return [dataclasses.replace(spec, dataset=part if _holds_out(spec) else whole) for spec in specs]


def _holds_out(spec: RunSpec) -> bool:
    return spec.needs.validation


def _pixels(counts: list[int]) -> Split:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    random = generator(0, "pixels")
    images = torch.randint(256, (len(labels), 3, SIZE, SIZE), dtype=torch.uint8, generator=random)
    return Split(images, labels, len(counts))
