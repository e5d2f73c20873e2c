"""CIFAR-10-LT: ten classes of 32x32 colour photographs, subsampled to a long tail.

Origin: A. Krizhevsky, V. Nair, G. Hinton, University of Toronto (A. Krizhevsky, "Learning Multiple Layers of Features
from Tiny Images", 2009). The long-tailed version follows Cao et al. 2019 (LDAM).
Terms: published for research without a formal licence; cite the report. The images derive from the 80 Million Tiny
Images collection, which its authors have withdrawn.
How to get it: `bench data download cifar10-lt` (171 MB), or unpack the official "python version" below the data root.
Counts: 5,000 training images per class before subsampling. exp: n_k = trunc(5000 * (1/R)^(k/9)) for label k; R = 100
leaves 12,406 images, 5000 to 50 per class. step: each class of the second half keeps trunc(5000 / R). Labels are in
alphabetical order of the class names; class 0 is the largest.
Selection: `selection` = "shuffled" is the choice of the reference code (NumPy's legacy generator, seed 0), with nested
subsets over R; "seed:<n>" is another random choice; "first" takes the first images of each class in file order (RSG,
M2m). Results differ noticeably between choices.
Test: all 10,000 images, balanced. There is no official validation split.
Preprocessing: normalised with mean 0.4914 0.4822 0.4465 and standard deviation 0.2023 0.1994 0.2010, as in the
reference code.
Known defects: none; no image occurs twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from ._shared.cifar import CifarLT
from ._shared.supply import Supply


@dataclass
class Cifar10LT(CifarLT):
    """CIFAR-10 with a long-tailed or step training set.

    Attributes:
        profile: `exp` (long tail) or `step` (two levels).
        imbalance: size ratio of the largest to the smallest class; 1 keeps the training set balanced.
        selection: choice of the training images, `shuffled`, `first` or `seed:<n>`; see the card.
        n_max: number of training images of the largest class; fewer than 5000 gives a subset for quick runs.
    """

    supply: ClassVar[Supply] = Supply(
        name="cifar10-lt",
        alternatives="no other layout is accepted, neither the binary nor the Matlab version",
        tree="cifar-10-batches-py/\n  data_batch_1 ... data_batch_5\n  test_batch\n  batches.meta",
        source="CIFAR-10 python version, University of Toronto; no account needed; 171 MB.",
        how="bench data download cifar10-lt",
    )
    reference: ClassVar[str] = "CIFAR10"
    labels_key: ClassVar[str] = "labels"

    n_max: Annotated[int, Ge(1), Le(5000)] = 5000
