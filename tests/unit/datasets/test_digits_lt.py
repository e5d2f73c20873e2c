"""digits-lt: class sizes, the fixed split of scikit-learn's digits, pixels and split seeds."""

import hashlib

import numpy as np
import pytest
import sklearn.datasets
import torch
from helpers import expected_counts as expected
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.split import DataRoot, pixel_statistics
from ltbench.datasets import digits_lt
from ltbench.datasets.digits_lt import DigitsLT

ROOT = DataRoot.find("unused")


@pytest.mark.parametrize("ratio", expected.DIGITS)
def test_counts(ratio):
    data = DigitsLT(imbalance=ratio).load(ROOT)
    assert data.train.counts.tolist() == expected.DIGITS[ratio]
    assert data.test.counts.tolist() == [50] * 10


def test_description():
    data = DigitsLT().load(ROOT)
    assert (data.name, data.verified, data.imbalance, data.class_names[7]) == ("digits-lt", True, 50, "7")
    assert data.options == {"n_max": 100, "split_seed": 0}
    assert data.changed == {}
    assert data.train.images.shape == (276, 3, 8, 8)


def test_step_profile_and_smaller_sets():
    data = DigitsLT(profile="step", n_max=20, imbalance=10).load(ROOT)
    assert data.train.counts.tolist() == [20] * 5 + [2] * 5
    assert data.changed == {"n_max": 20}


def test_split_is_the_fixed_one():
    pool, validation, test = digits_lt.parts(digits_lt.read()[1])
    assert hashlib.sha256(test.astype("<i4").tobytes()).hexdigest().startswith("89c6d01e9f5cbc57")
    everything = np.concatenate([pool.ravel(), validation.ravel(), test.ravel()])
    assert len(np.unique(everything)) == len(everything) == 1740


def test_pixels_are_the_levels_stretched_to_three_equal_channels():
    digits = sklearn.datasets.load_digits()
    data = DigitsLT(imbalance=1).load(ROOT)
    zeros = torch.from_numpy(np.rint(digits.images[digits.target == 0][:100] * 255 / 16)).to(torch.uint8)
    for channel in range(3):
        assert torch.equal(data.train.images[:100, channel], zeros)
    assert data.train.images.max() == 255


def test_mean_and_deviation_are_those_of_all_images():
    mean, std = pixel_statistics(torch.from_numpy(digits_lt.read()[0]))
    data = DigitsLT().load(ROOT)
    assert data.mean == pytest.approx(mean, abs=1e-3)
    assert data.std == pytest.approx(std, abs=1e-3)


def test_split_seeds_permute_head_and_tail_and_keep_the_test_set():
    natural, first, second = (DigitsLT(split_seed=seed).load(ROOT) for seed in range(3))
    for drawn in (first, second):
        assert sorted(drawn.train.counts.tolist()) == sorted(natural.train.counts.tolist())
        assert drawn.train.counts.tolist() != natural.train.counts.tolist()
        assert torch.equal(drawn.test.images, natural.test.images)
    assert first.checksum != second.checksum
    assert first.checksum == DigitsLT(split_seed=1).load(ROOT).checksum
    assert first.changed == {"split_seed": 1}


@pytest.mark.parametrize("seed", [0, 3])
def test_sets_are_nested_and_images_keep_their_label(seed):
    def images(ratio):
        train = DigitsLT(imbalance=ratio, split_seed=seed).load(ROOT).train
        return {
            (label, image.tobytes()) for image, label in zip(train.images.numpy(), train.labels.tolist(), strict=True)
        }

    everything, labels = digits_lt.read()
    pool = {(label, image.tobytes()) for image, label in zip(everything, labels.tolist(), strict=True)}
    assert images(50) < images(10) < images(1) < pool


def test_a_changed_file_is_an_error(monkeypatch):
    digits = sklearn.datasets.load_digits()
    digits.images[0, 0, 0] += 1
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: digits)
    monkeypatch.setattr(digits_lt, "read", digits_lt.read.__wrapped__)  # without the cache
    with pytest.raises(UserError, match="pixels in scikit-learn's digits file have changed"):
        DigitsLT().load(ROOT)
