"""waves-lt: procedural images are reproducible, nested and learnable."""

import numpy as np
import pytest
import torch
from ltbench.benchmarks.split import DataRoot, Dataset, pixel_statistics
from ltbench.datasets import waves_lt
from ltbench.datasets.waves_lt import WavesLT

SMALL = {"n_max": 12, "imbalance": 6, "test_per_class": 3, "size": 16}


def load(**options) -> Dataset:
    return WavesLT(**(SMALL | options)).load(DataRoot.find("unused"))


def of_class(split, label: int) -> torch.Tensor:
    return split.images[split.labels == label]


def test_defaults():
    data = WavesLT().load(DataRoot.find("unused"))
    assert data.train.counts.tolist() == [500, 299, 179, 107, 64, 38, 23, 13, 8, 5]
    assert data.test.counts.tolist() == [100] * 10
    assert data.train.images.shape[1:] == (3, 32, 32)
    assert (data.name, data.verified, data.changed) == ("waves-lt", None, {})


def test_two_calls_give_the_same_bytes():
    assert load().checksum == load().checksum
    assert len({load().checksum, load(seed=1).checksum, load(difficulty=0.5).checksum}) == 3


def test_a_larger_set_extends_a_smaller_one():
    small, large = load(), load(n_max=20, imbalance=1, test_per_class=5)
    for label in range(10):
        for few, many in ((small.train, large.train), (small.test, large.test)):
            assert torch.equal(of_class(few, label), of_class(many, label)[: int(few.counts[label])])


def test_images_of_a_class_do_not_depend_on_the_profile():
    step, exp = load(profile="step"), load()
    assert step.train.counts.tolist() == [12] * 5 + [2] * 5
    assert torch.equal(of_class(step.train, 9), of_class(exp.train, 9))


def test_no_image_occurs_twice():
    data = load(n_max=30, imbalance=1, test_per_class=30)
    images = torch.cat([data.train.images, data.test.images]).flatten(1)
    assert len(torch.unique(images, dim=0)) == 600


@pytest.mark.parametrize(("classes", "size", "difficulty"), [(2, 8, 0.0), (7, 9, 0.3), (103, 24, 1.0)])
def test_any_number_of_classes_size_and_difficulty(classes, size, difficulty):
    data = load(classes=classes, size=size, difficulty=difficulty)
    assert data.train.images.shape[1:] == (3, size, size)
    assert data.train.num_classes == len(data.class_names) == classes
    assert data.test.counts.tolist() == [3] * classes


def test_fields_have_unit_power_and_no_seam():
    field = waves_lt._field(np.random.default_rng(0), 16)
    assert np.mean(field**2) == pytest.approx(1)
    spectrum = np.abs(np.fft.fft2(field))
    assert ((spectrum > 1e-6).sum((1, 2)) <= 12).all()  # six waves, each with a frequency and its mirror


def test_shifts_are_slices_of_the_wrapped_field():
    field = waves_lt._field(np.random.default_rng(1), 8).astype(np.float32)
    wrapped = waves_lt._wrapped(field, 3)
    assert np.array_equal(wrapped[:, 5:13, 1:9], np.roll(field, (-2, 2), (1, 2)))


def test_classes_of_a_group_grow_alike_with_difficulty():
    def likeness(difficulty):
        source = WavesLT(difficulty=difficulty)
        return float((source._prototype(0) * source._prototype(2)).mean())  # groups are the even and the odd labels

    assert abs(likeness(0)) < 0.3
    assert likeness(1) > 0.6


@pytest.mark.parametrize("difficulty", [0, 0.75])
def test_mean_and_deviation_fit(difficulty):
    data = load(n_max=60, imbalance=1, difficulty=difficulty)
    mean, std = pixel_statistics(data.train.images)
    assert mean == pytest.approx(data.mean, abs=0.02)
    assert std == pytest.approx(data.std, rel=0.15)


def test_nearest_neighbours_classify_easy_images():
    data = load(n_max=20, imbalance=1, difficulty=0.0)
    train, test = (split.images.flatten(1).float() for split in (data.train, data.test))
    nearest = torch.cdist(test, train).argmin(1)
    assert (data.train.labels[nearest] == data.test.labels).float().mean() > 0.95
