"""digits-lt: real handwritten digits, 8x8 grey, included in scikit-learn; nothing to download.

Origin: the test part of UCI's "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak), 1,797 images, as
shipped inside scikit-learn. Terms: CC BY 4.0.
Counts: per class, in the order of the data, the first 100 are the training pool, the next 24 are kept for validation,
and the last 50 are the test set (500 images, balanced). The images are ordered by writer, so that a test set at the
end has mostly other writers; a shuffled split shares writers and is five points more accurate. n_k = trunc(100 *
(1/R)^(k/9)): R = 10 leaves 403 images, R = 50 leaves 276 (100 to 2). At R = 100 the last two classes have one image:
the limit.
Which images: `split_seed` = 0 keeps the natural order (0 is the largest class) and the first images of the pool; k >
0 draws the order of the classes from head to tail and the images kept from the pool. At this size that matters more
than the method: report a mean over at least five values.
Preprocessing: levels 0..16 become 0..255, in three equal channels of 8x8; mean 0.3053, standard deviation 0.3760. Do
not flip (a mirrored digit is not a digit); shifts by one pixel are harmless.
Known defects: none; no two images are equal.
Caveats: the test size alone gives a run a standard error of 1.3 to 2.2 points. Logistic regression has an accuracy of
70 % at R = 50, and 83 % with balanced class weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Le

from ..benchmarks.errors import UserError
from ..benchmarks.split import DataRoot, Dataset, Profile, Ratio, Source, Split, long_tail_counts

CLASSES = 10
POOL, VALIDATION, TEST = 100, 24, 50  # images per class; their sum, 174, is the size of the smallest class
PIXELS, LABELS = "8f26b2bd9d135c25", "8ba4f891220f5e4c"  # first digits of the sha256 of the file's uint8 values


@dataclass
class DigitsLT(Source):
    """The digits of scikit-learn with a long-tailed or step training set.

    Attributes:
        profile: `exp` (long tail) or `step` (two levels).
        imbalance: largest / smallest class; 1 keeps the set balanced.
        n_max: images of the largest class; fewer than 100 makes a subset for a smoke test.
        split_seed: 0 for the natural order; any other draws the order of the classes and the images.
    """

    recipe: ClassVar[str] = "digits"

    profile: Profile = "exp"
    imbalance: Ratio = 50
    n_max: Annotated[int, Ge(1), Le(POOL)] = POOL
    split_seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0

    def load(self, root: DataRoot) -> Dataset:
        """Read scikit-learn's file; the data root is not used.

        Raises:
            UserError: scikit-learn's file is not the one of the published split.
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
        """Positions of the training images, digit by digit; counts are head first, pool is (10, 100)."""
        if self.split_seed == 0:
            return np.concatenate([row[:count] for row, count in zip(pool, counts, strict=True)])
        generator = np.random.RandomState(self.split_seed)  # the legacy generator, as its stream never changes
        rank = generator.permutation(CLASSES)  # rank[digit]: 0 for the head
        return np.concatenate([generator.permutation(row)[: counts[rank[digit]]] for digit, row in enumerate(pool)])


def read() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (1797, 3, 8, 8) and labels int64 (1797,) in the order of the file."""
    from sklearn.datasets import load_digits

    data = load_digits()
    levels, labels = data.images.astype(np.uint8), data.target.astype(np.uint8)
    for values, expected, what in ((levels, PIXELS, "pixels"), (labels, LABELS, "labels")):
        digest = hashlib.sha256(values.tobytes()).hexdigest()
        if not digest.startswith(expected):
            raise UserError(
                f"digits-lt: the {what} in scikit-learn's file of digits have changed (sha256 should begin {expected}, "
                f"is {digest[:16]}). Install another version of scikit-learn."
            )
    grey = np.rint(levels * (255 / 16)).astype(np.uint8)
    return np.repeat(grey[:, None], 3, axis=1), labels.astype(np.int64)


def parts(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the training pool (10, 100), the validation part (10, 24) and the test set (10, 50)."""
    positions = [np.flatnonzero(labels == digit) for digit in range(CLASSES)]
    return (
        np.stack([of_class[:POOL] for of_class in positions]),
        np.stack([of_class[POOL : POOL + VALIDATION] for of_class in positions]),
        np.stack([of_class[-TEST:] for of_class in positions]),
    )
