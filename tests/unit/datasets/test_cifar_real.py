"""Long-tailed CIFAR from the published files, compared with digests of the output of the reference code."""

import hashlib
import os

import numpy as np
import pytest
import torchvision.datasets
from helpers import expected_counts as expected
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.split import DataRoot, long_tail_counts, select
from ltbench.datasets.cifar10_lt import Cifar10LT
from ltbench.datasets.cifar100_lt import Cifar100LT

SOURCES = {"cifar10": Cifar10LT, "cifar100": Cifar100LT}


def real(name: str) -> DataRoot:
    """Data root of the real files, with unverified files allowed; skips the test if the files do not exist."""
    if not os.environ.get("LTBENCH_DATA"):
        pytest.skip("needs the real CIFAR files: set LTBENCH_DATA to the folder that contains them")
    root = DataRoot.find()
    folder = root.path / SOURCES[name]()._published.base_folder
    if not folder.is_dir():
        pytest.skip(f"needs the real CIFAR files: there is no {folder}")
    return DataRoot(root.path, root.origin, allow_unverified=True)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    root = real("cifar10")
    published = torchvision.datasets.CIFAR10
    return Cifar10LT()._read_all(root.path / published.base_folder, published.train_list, 10)[1]


@pytest.mark.parametrize("ratio", [10, 50, 100, 200])
@pytest.mark.parametrize("name", SOURCES)
def test_pixels_of_the_long_tailed_set(name, ratio):
    data = SOURCES[name](imbalance=ratio).load(real(name))
    pixels = data.train.images.permute(0, 2, 3, 1).contiguous().numpy()
    assert hashlib.sha256(pixels.data).hexdigest()[:16] == expected.PIXEL_DIGESTS[name][ratio]
    assert data.train.counts.tolist() == getattr(expected, name.upper())[ratio]
    assert set(data.test.counts.tolist()) == {10_000 // data.train.num_classes}
    assert data.class_names == sorted(data.class_names)


def test_cifar10_is_verified():
    root = real("cifar10")
    data = Cifar10LT().load(DataRoot(root.path, root.origin))
    assert data.verified is True
    assert data.class_names[:3] == ["airplane", "automobile", "bird"]
    assert data.test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]


def test_cifar100_is_verified_or_refused():
    root = real("cifar100")
    strict = DataRoot(root.path, root.origin)
    if Cifar100LT().load(root).verified:
        assert Cifar100LT().load(strict).verified
    else:
        with pytest.raises(UserError, match="--allow-unverified"):
            Cifar100LT().load(strict)


def test_labels_of_cifar10_in_file_order(labels):
    assert labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest() == expected.CIFAR10_LABELS


@pytest.mark.parametrize(("profile", "ratio"), expected.CIFAR10_INDICES)
def test_kept_positions_of_cifar10(labels, profile, ratio):
    counts = long_tail_counts(5000, 10, ratio, profile)
    for selection, digest in zip(("shuffled", "first"), expected.CIFAR10_INDICES[profile, ratio], strict=True):
        kept = select(labels, counts, selection)
        assert hashlib.sha256(kept.astype("<i4").tobytes()).hexdigest() == digest


def test_first_kept_positions_and_overlap(labels):
    counts = long_tail_counts(5000, 10, 100)
    shuffled = select(labels, counts)
    for label, positions in enumerate(np.split(shuffled, np.cumsum(counts)[:-1])):
        assert positions[:5].tolist() == expected.CIFAR10_FIRST_FIVE[label]
    assert len(np.intersect1d(shuffled, select(labels, counts, "first"))) == 7796
