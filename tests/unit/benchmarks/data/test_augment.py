"""Colour operations and Cutout compared with torchvision image by image; randomness of the whole chain."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers.augmentation import CHAINS, recipe_of
from ltbench.benchmarks.data.augment import Augment, Parameters
from ltbench.benchmarks.data.augment import colour as ops
from ltbench.benchmarks.data.loader import generator
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.transforms import functional

TIGHT = {"rtol": 0, "atol": 1e-5}


def uniform(*shape: int, name: str = "numbers") -> Tensor:
    return torch.rand(*shape, generator=generator(0, name), dtype=torch.float64)


def floats(count: int, size: int = 12) -> Tensor:
    """Random images, some of them black, white, grey or of a single colour."""
    images = uniform(count, 3, size, size + 1, name="images").float()
    images[0], images[1], images[2] = 0, 1, 0.3
    images[3] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    images[4] = images[4].round()  # corners of the colour cube, with ties between channels
    return images


def random(seed: int = 0) -> Callable[[str], torch.Generator]:
    return lambda purpose: generator(seed, purpose, "test")


def test_every_order_of_the_jitter_equals_torchvision() -> None:
    orders = torch.cartesian_prod(*[torch.arange(4)] * 4)
    orders = orders[orders.sort(1)[0].eq(torch.arange(4)).all(1)].repeat(8, 1)  # 24 orders, each with 8 sets of factors
    images = floats(len(orders))
    factors, hue = 0.6 + 0.8 * uniform(len(orders), 3), (0.2 * uniform(len(orders), name="hue") - 0.1).float()
    out = ops.recolour(images, ops.arrange(orders, factors).float(), hue, torch.zeros(len(orders)))
    parts = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    for k, order in enumerate(orders.tolist()):
        image = images[k]
        for part in order:
            value = float(hue[k] if part == 3 else factors[k, part])
            image = functional.adjust_hue(image, value) if part == 3 else parts[part](image, value)
        torch.testing.assert_close(out[k], image, **TIGHT)


def test_any_hue_equals_torchvision() -> None:
    images, turns = floats(100), torch.linspace(-0.5, 0.5, 100)
    out = ops.turn_hue(images, turns)
    for image, turn, result in zip(images, turns.tolist(), out, strict=True):
        torch.testing.assert_close(result, functional.adjust_hue(image, turn), **TIGHT)


def test_grey_and_idle_blends() -> None:
    images = floats(20)
    grey = ops.blend(images, torch.tensor([[0.0, 1.0, 0.0]]).expand(20, -1))
    torch.testing.assert_close(grey, functional.rgb_to_grayscale(images, 3), **TIGHT)
    assert torch.equal(ops.blend(images, torch.tensor([[1.0, 0.0, 0.0]]).expand(20, -1)), images)


def test_blur_equals_torchvision() -> None:
    images, sigma = floats(60), torch.linspace(0.1, 2.0, 60)
    out = ops.blur(images, ops.side_weight(sigma))
    for image, width, result in zip(images, sigma.tolist(), out, strict=True):
        torch.testing.assert_close(result, functional.gaussian_blur(image, [3, 3], [width, width]), **TIGHT)
    assert torch.equal(ops.blur(images, torch.zeros(60)), images)


@pytest.mark.parametrize("side", [1, 4, 5, 40])
def test_cutout_equals_a_loop_over_pixels(side: int) -> None:
    images = floats(156) + 1
    centres = torch.cartesian_prod(torch.arange(12), torch.arange(13))  # every pixel once
    expected = images.clone()
    for image, (row, column) in zip(expected, centres.tolist(), strict=True):
        for r in range(row - side // 2, row - side // 2 + side):
            for c in range(column - side // 2, column - side // 2 + side):
                if 0 <= r < 12 and 0 <= c < 13:
                    image[:, r, c] = 0
    assert torch.equal(ops.cutout(images, centres, side), expected)


def test_coins_strengths_and_orders_have_their_distributions() -> None:
    count = 40_000
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    drawn = Augment(images, recipe_of(augment="simclr", cutout=16)).draw(count, random())
    for coin, probability in (
        (drawn.hue != 0, ops.JITTERED),
        (drawn.blends[:, 6, 0] == 0, ops.GREY),
        (drawn.side != 0, ops.BLURRED),
    ):
        assert abs(float(coin.double().mean()) - probability) < 5 * (probability * (1 - probability) / count) ** 0.5
    jittered = drawn.hue != 0
    before = (drawn.blends[:, :3] != torch.tensor([1.0, 0.0, 0.0])).any(2).sum(1)[jittered]
    positions = torch.bincount(before, minlength=4) / len(before)
    assert positions.tolist() == pytest.approx([0.25] * 4, abs=5 * (0.1875 / len(before)) ** 0.5), "position of hue"
    factors = drawn.blends[jittered, :6, 0]
    assert 0.6 <= float(factors.min()) < 0.61
    assert 1.39 < float(factors.max()) <= 1.4
    assert 0.099 < float(drawn.hue.abs().max()) <= 0.1
    sides = drawn.side[drawn.side > 0]  # the side weight of a narrow Gaussian is tiny but positive
    assert float(sides.max()) <= float(ops.side_weight(torch.tensor(2.0))) + 1e-6


def test_hole_has_the_area_of_a_clipped_square() -> None:
    images = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    augment = Augment(images, recipe_of(cutout=16, crop_padding=0))
    drawn = augment.draw(20_000, random())
    area = 1 - augment(torch.zeros(20_000, dtype=torch.int64), drawn)[:, 0].mean((1, 2))
    sides = torch.tensor([min(32, centre + 8) - max(0, centre - 8) for centre in range(32)]).double() / 32
    assert float(area.mean()) == pytest.approx(float(sides.mean() ** 2), abs=5 * float(area.std()) / 20_000**0.5)
    assert float(area.min()) == 1 / 16, "a quarter of the hole is left in a corner"
    for axis in (0, 1):
        assert (torch.bincount(drawn.hole[:, axis], minlength=32) - 625).abs().max() < 5 * 625**0.5


@pytest.mark.parametrize("changes", CHAINS, ids=str)
def test_chain_is_random_per_image_repeatable_and_within_bounds(changes: dict[str, object]) -> None:
    images = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8, generator=generator(0, "images"))
    recipe = recipe_of(**changes)
    augment = Augment(images, recipe)
    index = torch.arange(2).repeat(256)
    drawn = augment.draw(512, random())
    out = augment(index, drawn)
    assert out.dtype == torch.float32
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    assert out.is_contiguous(memory_format=layout)
    assert torch.equal(out, augment(index, augment.draw(512, random()))), "equal generators give equal batches"
    assert not torch.equal(out, augment(index, augment.draw(512, random(1))))
    parts = [augment(index[k : k + 64], drawn.rows(slice(k, k + 64))) for k in range(0, 512, 64)]
    torch.testing.assert_close(torch.cat(parts), out, rtol=0, atol=1e-6)  # images are independent of one another
    many = {"basic": 90, "simclr": 450, "autoaugment": 80}[recipe.augment]  # basic: 2 images, 81 shifts, 2 flips
    assert len(out.flatten(1).unique(dim=0)) > many


@pytest.mark.parametrize("changes", CHAINS, ids=str)
def test_chain_reads_nothing_back_from_the_device(changes: dict[str, object]) -> None:
    augment = Augment(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), recipe_of(**changes))
    drawn = augment.draw(8, random())
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = Parameters(*(mode.from_tensor(part) for part in drawn))
        out = augment(mode.from_tensor(torch.zeros(8, dtype=torch.int64)), fake)
        assert out.shape == (8, 3, 16, 16)


def test_crops_are_the_same_with_and_without_colours() -> None:
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    drawn = [Augment(images, recipe_of(**changes)).draw(50, random()) for changes in CHAINS]
    for changes, other in zip(CHAINS, drawn, strict=True):
        replaced = changes == {"augment": "autoaugment"}
        assert torch.equal(other.crop, torch.zeros_like(other.crop) if replaced else drawn[0].crop)


def test_cutout_position_decides_whether_colours_reach_the_hole() -> None:
    images = torch.full((1, 3, 32, 32), 200, dtype=torch.uint8)
    index = torch.zeros(64, dtype=torch.int64)
    before, after = (
        Augment(images, recipe_of(augment="simclr", cutout=8, crop_padding=0, cutout_position=position))
        for position in ("before", "after")
    )
    holes = [(augment(index, augment.draw(64, random())) == 0).all(1).sum((1, 2)) for augment in (before, after)]
    assert int(holes[1].min()) >= 16
    assert int((holes[0] < holes[1]).sum()) > 16, "contrast and blur lighten a hole that was cut before them"


def test_autoaugment_replaces_cutout_unless_the_base_is_kept() -> None:
    images = torch.full((1, 3, 32, 32), 200, dtype=torch.uint8)
    drawn = [
        Augment(images, recipe_of(augment="autoaugment", cutout=8, keep_base=keep)).draw(5, random())
        for keep in ("false", "true")
    ]
    assert [part.hole.shape[1] for part in drawn] == [0, 2]
