"""Drawing the images of an epoch and building batches from them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from ltbench.benchmarks.data.augment import Augment, CropFlip
from ltbench.benchmarks.data.loader import batches, draw, epoch_generators, generator
from ltbench.benchmarks.method import ClassAware, SameImages
from ltbench.benchmarks.recipe import load_recipe
from ltbench.benchmarks.split import Split
from torchvision.transforms import functional


def split_of(counts: list[int], size: int = 8) -> Split:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator(0, "test"))]  # most files are not sorted by class
    images = torch.randint(256, (len(labels), 3, size, size), dtype=torch.uint8, generator=generator(0, "images"))
    return Split(images, labels, len(counts))


@pytest.mark.parametrize(("padding", "flip"), [(4, True), (1, False), (0, True), (0, False)])
def test_crop_and_flip_equal_torchvision_image_by_image(padding: int, flip: bool) -> None:
    split = split_of([30, 10], size=9)
    augment = CropFlip(split.images, padding, flip)
    index = torch.arange(40).repeat(25)
    parameters = augment.draw(len(index), generator(0, "augment"))
    out = augment(index, parameters)
    for image, which, (mirrored, row, column) in zip(out, index.tolist(), parameters.tolist(), strict=True):
        whole = F.pad(split.images[which], (padding,) * 4)
        whole = functional.hflip(whole) if mirrored else whole
        assert torch.equal(image, functional.crop(whole, row, column, 9, 9))
    distinct = parameters.unique(dim=0)
    assert len(distinct) == (2 if flip else 1) * (2 * padding + 1) ** 2, "every combination of flip and shift occurs"


def test_without_probabilities_every_image_comes_once() -> None:
    split = split_of([50, 20, 5])
    index = draw(split, None, generator(0, "draw"))
    assert sorted(index.tolist()) == list(range(75))
    assert index.tolist() != list(range(75))


def test_draws_follow_class_probabilities_uniform_within_classes() -> None:
    split = split_of([60, 30, 10])
    index = torch.cat([draw(split, torch.tensor([1.0, 1.0, 2.0]), generator(0, "draw", e)) for e in range(600)])
    classes = torch.bincount(split.labels[index]) / len(index)
    assert classes.tolist() == pytest.approx([0.25, 0.25, 0.5], abs=0.01)
    per_image = torch.bincount(index, minlength=100).double()
    for label, fraction in enumerate((0.25, 0.25, 0.5)):
        hits = per_image[split.labels == label]
        expected = fraction * len(index) / len(hits)
        assert ((hits - expected).abs() < 5 * expected**0.5).all(), "images of a class are equally likely"


def test_a_class_of_probability_zero_is_never_drawn() -> None:
    split = split_of([60, 30, 10])
    index = draw(split, torch.tensor([1.0, 0.0, 1.0]), generator(0, "draw"))
    assert set(split.labels[index].tolist()) == {0, 2}


@pytest.mark.parametrize(("drop_last", "sizes"), [("false", [32, 32, 11]), ("true", [32, 32])])
def test_batches_keep_or_drop_the_last_short_one(drop_last: str, sizes: list[int]) -> None:
    split = split_of([50, 20, 5])
    recipe = load_recipe("digits", {"batch_size": "32", "drop_last": drop_last})[0]
    augment = Augment(split.images, recipe)
    epoch = list(batches(split, augment, None, epoch_generators(0, "train", 0)))
    assert [len(batch.labels) for batch in epoch] == sizes
    assert all(batch.images.dtype == torch.float32 for batch in epoch)
    assert all(float(batch.images.min()) >= 0 and float(batch.images.max()) <= 1 for batch in epoch)


def test_a_last_batch_of_one_image_joins_the_one_before_it() -> None:
    split = split_of([50, 10, 5])
    recipe = load_recipe("digits", {"batch_size": "32"})[0]
    epoch = batches(split, Augment(split.images, recipe), None, epoch_generators(0, "train", 0))
    assert [len(batch.labels) for batch in epoch] == [32, 33]


def test_batches_depend_on_seed_stage_and_epoch_alone() -> None:
    split = split_of([50, 20, 5])
    recipe = load_recipe("digits")[0]
    augment = Augment(split.images, recipe)

    def first(seed: int, stage: str, epoch: int) -> torch.Tensor:
        return next(iter(batches(split, augment, None, epoch_generators(seed, stage, epoch)))).images

    torch.rand(17)  # the global generator has no effect
    assert torch.equal(first(0, "train", 3), first(0, "train", 3))
    for other in ((1, "train", 3), (0, "head", 3), (0, "train", 4)):
        assert not torch.equal(first(0, "train", 3), first(*other))


@pytest.mark.parametrize("channels_last", ["true", "false"])
def test_basic_batches_are_crops_and_flips_bit_for_bit(channels_last: str) -> None:
    """Committed records depend on these draws, so other augmentations must not change recipes that do not use them."""
    split = split_of([50, 20, 5])
    changes = {"batch_size": "32", "crop_padding": "2", "flip": "true", "channels_last": channels_last}
    recipe = load_recipe("digits", changes)[0]
    epoch = list(batches(split, Augment(split.images, recipe), None, epoch_generators(3, "train", 2)))
    index = draw(split, None, generator(3, "draw", "train", 2))
    crops = CropFlip(split.images, 2, True)
    images = crops(index, crops.draw(75, generator(3, "augment", "train", 2)))
    assert torch.equal(torch.cat([batch.images for batch in epoch]), images.float().div(255))
    layout = torch.channels_last if channels_last == "true" else torch.contiguous_format
    assert all(batch.images.is_contiguous(memory_format=layout) for batch in epoch)


def test_images_keep_their_labels() -> None:
    split = split_of([50, 20, 5])
    split.images[:] = split.labels.view(-1, 1, 1, 1).byte()  # pixels equal the label
    recipe = load_recipe("digits", {"crop_padding": "0", "flip": "true"})[0]
    for probabilities in (None, torch.ones(3)):
        for batch in batches(split, Augment(split.images, recipe), probabilities, epoch_generators(0, "train", 0)):
            assert torch.equal((batch.images[:, 0, 0, 0] * 255).round().long(), batch.labels)


def test_class_aware_draws_cycle_through_classes_and_images() -> None:
    """Groups of 4 images of a class; a class recurs only after all others, an image after all others of its class."""
    split = split_of([50, 20, 5])
    index = draw(split, ClassAware(4), generator(0, "draw"), 240)
    groups = split.labels[index].view(-1, 4)
    assert (groups == groups[:, :1]).all(), "a group has images of one class"
    assert all(sorted(turn) == [0, 1, 2] for turn in groups[:, 0].view(-1, 3).tolist())
    assert len({tuple(turn) for turn in groups[:, 0].view(-1, 3).tolist()}) > 1, "the order of classes varies"
    for label, size in enumerate((50, 20, 5)):
        images = index[split.labels[index] == label]
        assert all(len(turn.unique()) == len(turn) for turn in images.split(size))
        assert len(images) == 80
    assert not torch.equal(index, draw(split, ClassAware(4), generator(1, "draw"), 240))


@pytest.mark.parametrize("per_class", [1, 3, 100])
def test_class_aware_draws_any_number(per_class: int) -> None:
    """The last group may be incomplete, groups may be larger than their class, and empty classes are skipped."""
    split = split_of([50, 0, 20, 5])
    index = draw(split, ClassAware(per_class), generator(0, "draw"))
    assert len(index) == 75
    assert not (split.labels[index] == 1).any()


def test_further_streams_have_their_own_images() -> None:
    split = split_of([50, 20, 5])
    split.images[:] = torch.arange(75).view(-1, 1, 1, 1).byte()  # pixels equal the position
    recipe = load_recipe("digits", {"batch_size": "32", "crop_padding": "0"})[0]
    augment = Augment(split.images, recipe)
    streams = [torch.tensor([0.0, 0.0, 1.0]), None, SameImages(), ClassAware(4)]
    epoch = list(batches(split, augment, None, epoch_generators(0, "train", 0), streams))
    for batch, plain in zip(epoch, batches(split, augment, None, epoch_generators(0, "train", 0)), strict=True):
        assert torch.equal(batch.images, plain.images), "further streams do not change the first one"
        rare, whole, again, _ = batch.further
        assert all(len(each.labels) == len(batch.labels) for each in batch.further)
        assert set(rare.labels.tolist()) == {2}
        assert torch.equal(again.labels, batch.labels)
        positions = (whole.images[:, 0, 0, 0] * 255).round().long()
        assert torch.equal(whole.labels, split.labels[positions])
    every = torch.cat([(batch.further[1].images[:, 0, 0, 0] * 255).round().long() for batch in epoch])
    assert sorted(every.tolist()) == list(range(75))


def test_a_second_view_is_augmented_differently() -> None:
    split = split_of([50, 20, 5])
    recipe = load_recipe("digits", {"batch_size": "32", "crop_padding": "2"})[0]
    batch = next(batches(split, Augment(split.images, recipe), None, epoch_generators(0, "train", 0), [SameImages()]))
    differing = (batch.images != batch.further[0].images).flatten(1).any(1)
    assert differing.float().mean() > 0.8
