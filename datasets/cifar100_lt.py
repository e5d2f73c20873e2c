"""CIFAR-100-LT: a hundred classes of 32x32 colour photographs, subsampled to a long tail.

Origin: A. Krizhevsky, V. Nair, G. Hinton, University of Toronto (A. Krizhevsky, "Learning Multiple Layers of Features
from Tiny Images", 2009). The long-tailed version follows Cao et al. 2019 (LDAM).
Terms: published for research without a formal licence; cite the report. The images derive from the 80 Million Tiny
Images collection, which its authors have withdrawn.
How to get it: `bench data download cifar100-lt` (169 MB), or unpack the official "python version" below the data
root.
Counts: 500 training images per class before subsampling. exp: n_k = trunc(500 * (1/R)^(k/99)) for label k; R = 100
leaves 10,847 images, 500 to 5 per class. R = 200 is in fact 250, because 2.5 images become 2. step: each class of the
second half keeps trunc(500 / R). Labels are in alphabetical order of the class names; class 0 is the largest.
Selection: `selection` = "shuffled" is the choice of the reference code (NumPy's legacy generator, seed 0), with nested
subsets over R; "seed:<n>" is another random choice; "first" takes the first images of each class in file order (RSG,
M2m). Results differ noticeably between choices.
Test: all 10,000 images, 100 per class. There is no official validation split.
Preprocessing: normalised with the mean and standard deviation of CIFAR-10, as in the reference code (the true values
for CIFAR-100 are mean 0.507 0.487 0.441, standard deviation 0.267 0.256 0.276).
Known defects: 26 groups of images with identical pixels, 10 of them across training and test, 17 with different labels.
They are part of the published dataset and are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from ._shared.cifar import CifarLT
from ._shared.supply import Supply


@dataclass
class Cifar100LT(CifarLT):
    """CIFAR-100 with a long-tailed or step training set.

    Attributes:
        profile: `exp` (long tail) or `step` (two levels).
        imbalance: size ratio of the largest to the smallest class; 1 keeps the training set balanced.
        selection: choice of the training images, `shuffled`, `first` or `seed:<n>`; see the card.
        n_max: number of training images of the largest class; fewer than 500 gives a subset for quick runs.
    """

    supply: ClassVar[Supply] = Supply(
        name="cifar100-lt",
        alternatives="no other layout is accepted, neither the binary nor the Matlab version",
        tree="cifar-100-python/\n  train\n  test\n  meta",
        source="CIFAR-100 python version, University of Toronto; no account needed; 169 MB.",
        how="bench data download cifar100-lt",
    )
    reference: ClassVar[str] = "CIFAR100"
    labels_key: ClassVar[str] = "fine_labels"

    n_max: Annotated[int, Ge(1), Le(500)] = 500
