"""Resizing of images inside the network."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny import tiny_run
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.network import Normalise
from ltbench.benchmarks.training.run_spec import build_network
from torchvision.transforms.v2.functional import InterpolationMode, resize


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [16, 48])
def test_it_equals_torchvision_s_with_antialiasing(interpolation: str, size: int) -> None:
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = resize(images, [size, size], InterpolationMode(interpolation), antialias=True).clamp(0, 1)
    torch.testing.assert_close(Normalise(size, interpolation)(images), expected, rtol=0, atol=1e-6)


def test_edges_do_not_leave_the_range_of_pixels() -> None:
    images = torch.zeros(1, 3, 8, 8)
    images[..., 4:] = 1
    resized = Normalise(64)(images)
    assert (resized.min(), resized.max()) == (0, 1)


def test_the_size_of_the_images_changes_no_bit() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(Normalise(8)(images), images)
    assert torch.equal(Normalise()(images), images)


def test_a_recipe_s_size_reaches_the_network_and_the_id() -> None:
    run = tiny_run("erm", settings=("recipe.size=24", "recipe.interpolation=bilinear"))
    net = build_network(run)
    assert (net.normalise.size, net.normalise.interpolation) == (24, "bilinear")
    assert run.changed["recipe.size"] == 24
    assert len({run.id, tiny_run("erm").id, tiny_run("erm", settings=("recipe.size=24",)).id}) == 3
    assert tiny_run("erm", settings=("recipe.size=0",)).id == tiny_run("erm").id


def test_a_size_that_the_backbone_cannot_use_is_one_sentence() -> None:
    backbone = "recipe.backbone=timm:vit_tiny_patch16_224"
    with pytest.raises(UserError, match=r"does not accept 64x64 images .* Set another size by recipe.size."):
        tiny_run("erm", settings=(backbone, "recipe.size=64"))
    assert tiny_run("erm", settings=(backbone, "recipe.size=224")).recipe.size == 224
