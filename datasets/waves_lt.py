"""waves-lt: procedural images for tests and demonstrations; no files, any number of classes, any size.

What it is: each class is a sum of a few cosine waves, shown at a random shift and contrast below a second, unrelated
wave pattern and white noise. Classes of a group (about five each) look alike the more, the higher the difficulty, so
that tail classes are taken for head classes of their group.
Terms: made by this program; no rights attached.
Counts: n_k = trunc(n_max * (1/R)^(k/(C-1))), 500 to 5 and 1,236 images by default; the test set has `test_per_class`
a class.
Which images: image i of a class is always the same, whatever else is asked for: a larger set extends a smaller one,
sets of different R are nested, training and test never share a draw.
Preprocessing: pixels are 127.5 + 40 x; mean 0.5, deviation from the difficulty in closed form.
Difficulty: 0.75 (the default) is solved when balanced and hurts the tail when long-tailed, so that rebalancing shows;
0 tests whether anything is learned at all; 1 is hard even when balanced.
Known defects: bytes may differ in rare pixels between platforms (cosine in the last bit) and between versions of
NumPy whose generators differ.
Caveats: no semantic structure and unlimited clean labels: it says nothing about photographs. Never quote its numbers
as evidence for a method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Le

from ..benchmarks.split import DataRoot, Dataset, Profile, Ratio, Source, Split, long_tail_counts

GROUP, CLASS, NUISANCE, IMAGE = range(4)  # roles of a random draw
TRAIN, TEST = range(2)
NUISANCES = 32
WAVES = 6
# Whole periods down and across, length at most 4; the other half plane holds the same waves again.
FREQUENCIES = np.array([(y, x) for y in range(-4, 5) for x in range(5) if 0 < y * y + x * x <= 16 and (x, y) > (0, 0)])


@dataclass
class WavesLT(Source):
    """Procedural images with a long-tailed or step training set.

    Attributes:
        profile: `exp` (long tail) or `step` (two levels).
        imbalance: largest / smallest class; 1 keeps the set balanced.
        classes: number of classes.
        size: height and width in pixels.
        difficulty: 0 (trivial) to 1 (hard).
        n_max: images of the largest class.
        test_per_class: test images of every class.
        seed: which patterns and images are drawn; not the seed of a training run.
    """

    recipe: ClassVar[str] = "waves"

    profile: Profile = "exp"
    imbalance: Ratio = 100
    classes: Annotated[int, Ge(2), Le(10_000)] = 10
    size: Annotated[int, Ge(8), Le(512)] = 32
    difficulty: Annotated[float, Ge(0), Le(1)] = 0.75
    n_max: Annotated[int, Ge(1)] = 500
    test_per_class: Annotated[int, Ge(1)] = 100
    seed: Annotated[int, Ge(0)] = 0

    def load(self, root: DataRoot) -> Dataset:
        """Draw both splits; the data root is not used."""
        counts = long_tail_counts(self.n_max, self.classes, self.imbalance, self.profile)
        # Room around a field, for shifts: prototypes move a little, nuisance fields to anywhere.
        prototypes = [_wrapped(self._prototype(label), self._reach) for label in range(self.classes)]
        bank = [_wrapped(_field(self._generator(NUISANCE, n), self.size), self.size) for n in range(NUISANCES)]
        d = self.difficulty
        variance = 1 + (0.3 * d) ** 2 / 3 + (0.2 + 0.8 * d) ** 2 + (0.1 + 0.7 * d) ** 2 + (0.3 * d) ** 2 / 3
        deviation = 40 / 255 * variance**0.5
        return Dataset(
            name="waves-lt",
            train=self._split(TRAIN, counts, prototypes, bank),
            test=self._split(TEST, [self.test_per_class] * self.classes, prototypes, bank),
            class_names=[f"wave {label}" for label in range(self.classes)],
            mean=(0.5, 0.5, 0.5),
            std=(deviation, deviation, deviation),
            profile=self.profile,
            imbalance=self.imbalance,
            verified=None,
            **self.described(),
        )

    @property
    def _reach(self) -> int:
        """How far an image may be shifted, in pixels."""
        return round(self.difficulty * self.size / 8)

    def _generator(self, *purpose: int) -> np.random.Generator:
        """A generator of its own for each purpose, so that no draw depends on another."""
        return np.random.default_rng((self.seed, *purpose))

    def _prototype(self, label: int) -> np.ndarray:
        """The pattern of a class, float (3, H, W) of unit RMS: part its group's, part its own."""
        own = 1 - 0.6 * self.difficulty
        group = label % -(-self.classes // 5)
        pattern = (1 - own**2) ** 0.5 * _field(self._generator(GROUP, group), self.size)
        return _unit(pattern + own * _field(self._generator(CLASS, label), self.size))

    def _split(self, split: int, counts: list[int], prototypes: list[np.ndarray], bank: list[np.ndarray]) -> Split:
        images = np.empty((sum(counts), 3, self.size, self.size), np.uint8)
        drawn = ((label, index) for label, count in enumerate(counts) for index in range(count))
        for image, (label, index) in zip(images, drawn, strict=True):
            self._draw(image, self._generator(IMAGE, split, label, index), prototypes[label], bank)
        labels = np.repeat(np.arange(self.classes), counts)
        return Split(torch.from_numpy(images), torch.from_numpy(labels), self.classes)

    def _draw(self, image: np.ndarray, rng: np.random.Generator, prototype: np.ndarray, bank: list[np.ndarray]) -> None:
        """Fill `image`, uint8 (3, H, W), with one view of a class."""
        d, size = self.difficulty, self.size
        top, left = rng.integers(2 * self._reach + 1, size=2)
        down, right = rng.integers(size, size=2)
        nuisance = bank[rng.integers(NUISANCES)]
        contrast, offset = 1 + rng.uniform(-0.3, 0.3) * d, rng.uniform(-0.3, 0.3) * d
        x = rng.standard_normal((3, size, size), dtype=np.float32)
        x *= 0.1 + 0.7 * d
        x += prototype[:, top : top + size, left : left + size] * contrast
        x += nuisance[:, down : down + size, right : right + size] * (0.2 + 0.8 * d)
        x += offset
        x *= 40
        x += 127.5
        np.copyto(image, np.clip(np.rint(x, out=x), 0, 255, out=x), casting="unsafe")


def _field(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random pattern without seams, float64 (3, size, size) of unit RMS: six waves a channel, long ones stronger."""
    waves = FREQUENCIES[rng.integers(len(FREQUENCIES), size=(3, WAVES))]  # (3, 6, 2)
    phases = rng.uniform(0, 2 * np.pi, size=(3, WAVES))
    position = 2 * np.pi * np.arange(size) / size
    down, across = waves[..., 0, None, None] * position[:, None], waves[..., 1, None, None] * position
    weights = 1 / np.sqrt((waves**2).sum(-1))
    return _unit((np.cos(down + across + phases[..., None, None]) * weights[..., None, None]).sum(1))


def _unit(field: np.ndarray) -> np.ndarray:
    return field / np.sqrt((field**2).mean())


def _wrapped(field: np.ndarray, reach: int) -> np.ndarray:
    """The field continued cyclically by `reach` pixels on every side, so that a cyclic shift is a slice."""
    return np.pad(field, ((0, 0), (reach, reach), (reach, reach)), mode="wrap").astype(np.float32)
