"""digits-lt: real handwritten digits, 8x8 greyscale, included in scikit-learn; nothing to download.

Origin: the test part of UCI's "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak), 1,797 images, as
distributed with scikit-learn. Terms: CC BY 4.0.
Counts: per class, in file order, the first 100 images are the training pool, the next 24 are reserved for validation,
and the last 50 are the test set (500 images, balanced). The images are ordered by writer, so the test set contains
mostly other writers; a shuffled split would share writers and raise accuracies by five percentage points. n_k =
trunc(100 * (1/R)^(k/9)): R = 10 leaves 403 images, R = 50 leaves 276 (100 to 2 per class). R = 100 is the limit, with
one image in each of the last two classes.
Selection: `split_seed` = 0 keeps the natural order (0 is the largest class) and the first images of the pool; any other
value draws the order of the classes from head to tail and the images kept from the pool. At this size the choice
matters more than the method: report a mean over at least five values.
Preprocessing: grey levels 0..16 are scaled to 0..255 and repeated in three channels of 8x8; mean 0.3053, standard
deviation 0.3760. Do not flip (a mirrored digit is not a digit); shifts by one pixel are harmless.
Known defects: none; no two images are identical.
Caveats: because the test set is small, the accuracy of a run has a standard error of 1.3 to 2.2 percentage points.
Logistic regression has an accuracy of 70 % at R = 50, and of 83 % with balanced class weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Le

from ..benchmarks.errors import UserError
from ..benchmarks.split import DataRoot, Dataset, Profile, Ratio, Source, Split, long_tail_counts

CLASSES = 10
POOL, VALIDATION, TEST = 100, 24, 50  # images per class; they add up to 174, the size of the smallest class
PIXELS, LABELS = "8f26b2bd9d135c25", "8ba4f891220f5e4c"  # first digits of the SHA-256 of the file's uint8 values


@dataclass
class DigitsLT(Source):
    """scikit-learn's digits with a long-tailed or step training set.

    Attributes:
        profile: `exp` (long tail) or `step` (two levels).
        imbalance: size ratio of the largest to the smallest class; 1 keeps the training set balanced.
        n_max: number of training images of the largest class; fewer than 100 gives a subset for smoke tests.
        split_seed: 0 for the natural order; any other value draws the order of the classes and the images.
    """

    recipe: ClassVar[str] = "digits"

    profile: Profile = "exp"
    imbalance: Ratio = 50
    n_max: Annotated[int, Ge(1), Le(POOL)] = POOL
    split_seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0

    def load(self, root: DataRoot) -> Dataset:
        """Read scikit-learn's file and select the training and test images; the data root is not used.

        Raises:
            UserError: scikit-learn's file differs from the one that the split is defined on.
        """
        images, labels = read()
        pool, _, test = parts(labels)
        counts = long_tail_counts(self.n_max, CLASSES, self.imbalance, self.profile)
        kept = self._keep(pool, counts)

        def split(index: np.ndarray) -> Split:
            return Split(torch.from_numpy(images[index]), torch.from_numpy(labels[index]), CLASSES)

        return Dataset(
            name="digits-lt",
            train=split(kept),
            test=split(test.ravel()),
            class_names=[str(digit) for digit in range(CLASSES)],
            mean=(0.3053, 0.3053, 0.3053),
            std=(0.3760, 0.3760, 0.3760),
            profile=self.profile,
            imbalance=self.imbalance,
            verified=True,
            **self.described(),
        )

    def _keep(self, pool: np.ndarray, counts: list[int]) -> np.ndarray:
        """Positions of the training images, digit by digit.

        Args:
            pool: positions of the training pool, (10, 100).
            counts: images per class to keep, largest first.
        """
        if self.split_seed == 0:
            return np.concatenate([row[:count] for row, count in zip(pool, counts, strict=True)])
        generator = np.random.RandomState(self.split_seed)  # the stream of the legacy generator never changes
        rank = generator.permutation(CLASSES)  # rank[digit]: 0 for the head
        return np.concatenate([generator.permutation(row)[: counts[rank[digit]]] for digit, row in enumerate(pool)])


@cache
def read() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (1797, 3, 8, 8) and labels int64 (1797,) in file order; cached, so do not modify them.

    Raises:
        UserError: the contents of scikit-learn's file have changed.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    levels, labels = data.images.astype(np.uint8), data.target.astype(np.uint8)
    for values, expected, what in ((levels, PIXELS, "pixels"), (labels, LABELS, "labels")):
        digest = hashlib.sha256(values.tobytes()).hexdigest()
        if not digest.startswith(expected):
            raise UserError(
                f"digits-lt: the {what} in scikit-learn's digits file have changed (the SHA-256 should begin with "
                f"{expected} but begins with {digest[:16]}). Install another version of scikit-learn."
            )
    grey = np.rint(levels * (255 / 16)).astype(np.uint8)
    return np.repeat(grey[:, None], 3, axis=1), labels.astype(np.int64)


def parts(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the training pool (10, 100), the validation images (10, 24) and the test images (10, 50)."""
    positions = [np.flatnonzero(labels == digit) for digit in range(CLASSES)]
    return (
        np.stack([of_class[:POOL] for of_class in positions]),
        np.stack([of_class[POOL : POOL + VALIDATION] for of_class in positions]),
        np.stack([of_class[-TEST:] for of_class in positions]),
    )
