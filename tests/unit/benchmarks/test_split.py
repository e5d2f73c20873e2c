"""Imbalance profiles, selection of images as in the reference code, and types of datasets; needs no data files."""

import hashlib
import itertools

import numpy as np
import pytest
import torch
from helpers import expected_counts as expected
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.split import DataRoot, Dataset, Split, long_tail_counts, pixel_statistics, select

SHAPES = {"cifar10": (10, 5000), "cifar100": (100, 500)}


def ranks(name: str, counts: list[int], selection: str = "shuffled") -> list[np.ndarray]:
    """Positions of the selected images within their class, one array for each class, for sorted labels."""
    classes, size = SHAPES[name]
    kept = select(np.repeat(np.arange(classes), size), counts, selection)
    assert (np.repeat(np.arange(classes), counts) == kept // size).all()
    return np.split(kept % size, np.cumsum(counts)[:-1])


def profile(name: str, ratio: float, kind: str = "exp") -> list[int]:
    classes, size = SHAPES[name]
    return long_tail_counts(size, classes, ratio, kind)


@pytest.mark.parametrize("ratio", expected.CIFAR10)
def test_exponential_counts_of_cifar10(ratio):
    assert profile("cifar10", ratio) == expected.CIFAR10[ratio]
    assert sum(profile("cifar10", ratio)) == expected.CIFAR10_TOTALS[ratio]


@pytest.mark.parametrize("ratio", expected.CIFAR100_TOTALS)
def test_exponential_counts_of_cifar100(ratio):
    counts = profile("cifar100", ratio)
    assert sum(counts) == expected.CIFAR100_TOTALS[ratio]
    assert counts == expected.CIFAR100.get(ratio, counts)
    assert (counts[0], counts[-1]) == (500, 500 // ratio)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("ratio", [10, 50, 100, 200])
def test_step_counts(name, ratio):
    classes, size = SHAPES[name]
    counts = profile(name, ratio, "step")
    assert counts == [size] * (classes // 2) + [expected.STEP_TAIL[name][ratio]] * (classes // 2)
    assert sum(counts) == expected.STEP_TOTALS[name][ratio]


@pytest.mark.parametrize("ratio", expected.DIGITS)
def test_counts_of_digits(ratio):
    assert long_tail_counts(100, 10, ratio) == expected.DIGITS[ratio]


def test_ratio_one_is_balanced_and_odd_numbers_lengthen_the_tail():
    assert long_tail_counts(7, 3, 1) == [7, 7, 7]
    assert long_tail_counts(8, 3, 4, "step") == [8, 2, 2]
    assert long_tail_counts(8, 1, 4) == [8]


@pytest.mark.parametrize(("ratio", "sentence"), [(0.5, "out of range"), (101, "without an image")])
def test_impossible_ratios_are_errors(ratio, sentence):
    with pytest.raises(UserError, match=sentence):
        long_tail_counts(100, 10, ratio)


@pytest.mark.parametrize("name", SHAPES)
def test_first_positions_of_the_reference_selection(name):
    kept = ranks(name, profile(name, 1))
    for label, first in expected.POSITIONS[name].items():
        assert kept[label][:5].tolist() == first


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("ratio", [10, 50, 100, 200])
def test_digest_of_all_kept_positions(name, ratio):
    kept = np.concatenate(ranks(name, profile(name, ratio)))
    assert hashlib.sha256(kept.astype("<i4").tobytes()).hexdigest()[:16] == expected.RANK_DIGESTS[name][ratio]


@pytest.mark.parametrize(("name", "kind"), expected.RANK_SUMS)
def test_sum_of_kept_positions(name, kind):
    for ratio, total in expected.RANK_SUMS[name, kind].items():
        assert sum(int(kept.sum()) for kept in ranks(name, profile(name, ratio, kind))) == total


@pytest.mark.parametrize("selection", ["shuffled", "first", "seed:7"])
def test_a_larger_ratio_keeps_a_subset(selection):
    nested = [np.concatenate(ranks("cifar10", profile("cifar10", ratio), selection)) for ratio in (200, 100, 50, 10)]
    with_class = [
        set(zip(np.repeat(np.arange(10), profile("cifar10", ratio)), kept, strict=True))
        for ratio, kept in zip((200, 100, 50, 10), nested, strict=True)
    ]
    for smaller, larger in itertools.pairwise(with_class):
        assert smaller < larger


def test_selections_differ_and_shuffled_means_seed_zero():
    counts = profile("cifar100", 100)
    shuffled, seed_0, seed_1 = (
        np.concatenate(ranks("cifar100", counts, how)) for how in ("shuffled", "seed:0", "seed:1")
    )
    assert (shuffled == seed_0).all()
    assert (shuffled != seed_1).any()
    assert all((kept == np.arange(len(kept))).all() for kept in ranks("cifar100", counts, "first"))


def test_select_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    select(np.zeros(10, int), [5])
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_select_errors():
    with pytest.raises(UserError, match="Class 1 has 2 images"):
        select(np.array([0, 0, 0, 1, 1]), [3, 3])
    for wrong in ("random", "seed:x", "seed:", "seed:-1"):
        with pytest.raises(UserError, match="'first' or 'seed:<number>'"):
            select(np.array([0]), [1], wrong)


def tiny(labels: list[int], classes: int = 2, value: int = 0) -> Split:
    return Split(torch.full((len(labels), 3, 2, 2), value, dtype=torch.uint8), torch.tensor(labels), classes)


def dataset(train: Split, test: Split) -> Dataset:
    return Dataset("toy", train, test, ["a", "b"], (0.5, 0.5, 0.5), (1, 1, 1), "exp", 1, None)


def test_counts_include_classes_without_images():
    assert tiny([0, 2, 2], classes=4).counts.tolist() == [1, 0, 2, 0]


def test_a_class_without_images_is_an_error_that_names_it():
    with pytest.raises(UserError, match="class 'b' has no test image"):
        dataset(tiny([0, 1]), tiny([0, 0]))


def test_checksum_depends_on_pixels_labels_and_order():
    sets = [
        dataset(tiny([0, 1]), tiny([0, 1])),
        dataset(tiny([1, 0]), tiny([0, 1])),
        dataset(tiny([0, 1]), tiny([1, 0])),
        dataset(tiny([0, 1], value=1), tiny([0, 1])),
    ]
    assert len({data.checksum for data in sets}) == 4
    assert sets[0].checksum == dataset(tiny([0, 1]), tiny([0, 1])).checksum


def test_pixel_statistics_agree_with_numpy():
    images = torch.randint(0, 256, (20, 3, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scaled = images.numpy() / 255
    mean, std = pixel_statistics(images)
    assert mean == pytest.approx(scaled.mean((0, 2, 3)))
    assert std == pytest.approx(scaled.std((0, 2, 3)))


def test_pixel_statistics_of_constant_images_allow_division():
    assert min(pixel_statistics(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))[1]) > 0


def test_data_root_from_the_option_the_variable_or_the_default(monkeypatch):
    monkeypatch.setenv("LTBENCH_DATA", "/from/variable")
    assert (str(DataRoot.find("/from/option").path), DataRoot.find("/x").origin) == ("/from/option", "--data-root")
    assert str(DataRoot.find().path) == "/from/variable"
    assert "LTBENCH_DATA" in DataRoot.find().origin
    monkeypatch.delenv("LTBENCH_DATA")
    assert str(DataRoot.find().path) == "data"
