"""Crops that are resized: their distribution and their pixels, beside torchvision's."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny import tiny_run
from ltbench.benchmarks.data.augment import make_augment
from ltbench.benchmarks.data.augment.resized_crop import RATIOS, ResizedCrop, resampling
from ltbench.benchmarks.data.loader import generator
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.recipe import load_recipe
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional

IMAGES = torch.randint(0, 256, (6, 3, 20, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_boxes_are_distributed_as_torchvision_s() -> None:
    """Means and standard deviations of top, left, height and width over 4000 boxes each."""
    drawn = ResizedCrop(IMAGES, 0.2, True).draw(4000, torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    theirs = torch.tensor([RandomResizedCrop.get_params(IMAGES[0], [0.2, 1], list(RATIOS)) for _ in range(4000)])
    ours = drawn[:, 1:].float()
    assert torch.allclose(ours.mean(0), theirs.float().mean(0), atol=0.3)
    assert torch.allclose(ours.std(0), theirs.float().std(0), atol=0.3)
    assert (ours[:, 0] + ours[:, 2] <= 20).all()
    assert (ours[:, 1] + ours[:, 3] <= 28).all()
    assert (ours[:, 2:] >= 1).all()
    assert drawn[:, 0].float().mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("box", [(0, 0, 20, 28), (3, 5, 10, 7), (0, 21, 20, 7), (19, 27, 1, 1), (2, 1, 17, 25)])
@pytest.mark.parametrize("mirrored", [0, 1])
def test_pixels_are_torchvision_s(box: tuple[int, int, int, int], mirrored: int) -> None:
    index = torch.tensor([4, 1])
    parameters = torch.tensor([[mirrored, *box], [0, 0, 0, 20, 28]])
    first, second = ResizedCrop(IMAGES, 0.2, True)(index, parameters)
    expected = functional.resized_crop(IMAGES[4].float() / 255, *box, [20, 28], antialias=True)
    expected = expected.flip(2) if mirrored else expected
    torch.testing.assert_close(first, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(second, IMAGES[1].float() / 255, rtol=0, atol=1e-6)


def test_pixels_outside_a_crop_have_no_weight() -> None:
    weights = resampling(torch.tensor([2]), torch.tensor([4]), 8)[0]
    assert torch.allclose(weights.sum(1), torch.ones(8))
    assert (weights[:, :2] == 0).all()
    assert (weights[:, 6:] == 0).all()
    assert torch.allclose(weights[1, 2:4], torch.tensor([0.75, 0.25]))


def test_the_plain_path_gives_the_same_images() -> None:
    settings = {"crop_scale": 0.3, "crop_padding": 0}
    fast, _ = load_recipe("cifar-short", settings)
    plain, _ = load_recipe("cifar-short", {**settings, "plain": True, "channels_last": False})
    images = IMAGES[:, :, :, :20].contiguous()
    index = torch.arange(6)
    batches = []
    for recipe in (fast, plain):
        augment = make_augment(images, recipe)
        parameters = augment.draw(6, lambda purpose: generator(0, purpose))
        batches.append(augment(index, parameters))
    torch.testing.assert_close(batches[0], batches[1], rtol=0, atol=1e-5)


def test_the_neutral_value_changes_nothing_and_others_cannot_be_combined() -> None:
    assert tiny_run(settings=("recipe.crop_scale=0",)).id == tiny_run().id
    for settings in ({"crop_scale": 0.5}, {"crop_scale": 0.5, "crop_padding": 0, "augment": "simclr"}):
        with pytest.raises(UserError, match="crop_scale replaces other crops and colours"):
            load_recipe("cifar-short", settings)
