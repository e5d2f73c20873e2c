"""AutoAugment compared with torchvision: every operation at every magnitude level, and the overall distribution."""

from __future__ import annotations

import pytest
import torch
from ltbench.benchmarks.data.augment import auto
from ltbench.benchmarks.data.loader import generator
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

NAMES = [
    "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness",
    "Posterize", "Solarize", "AutoContrast", "Equalize", "Invert",
]  # fmt: skip
PLAIN = {"AutoContrast", "Equalize", "Invert"}  # operations without a magnitude
ROUNDED = {"ShearX", "ShearY", "Rotate"}  # operations for which a tie between two pixels may be rounded either way


def pictures(count: int, height: int, width: int) -> Tensor:
    """Random, smooth, constant and few-level images, uint8 (count, 3, H, W)."""
    random = generator(0, "pictures")
    coarse = torch.rand(count, 3, 4, 4, generator=random)
    images = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    images = images * torch.linspace(0.2, 1, count)[:, None, None, None]
    images[::3] = torch.rand(len(images[::3]), 3, height, width, generator=random)
    images = (images * 255).byte()
    images[0], images[1], images[2] = 0, 255, 77
    images[3, :, 0, 0] = 3
    images[4] = images[4] // 128 * 200
    return images


@pytest.mark.parametrize("size", [(32, 32), (9, 14)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_operation_equals_torchvision_at_every_level_and_sign(name: str, size: tuple[int, int]) -> None:
    images = pictures(24, *size)
    space = AutoAugment(AutoAugmentPolicy.CIFAR10)._augmentation_space(10, size)
    wrong = total = 0
    for level in range(10):
        for sign in (1, -1):
            magnitudes, signed = space[name]
            amount = float(magnitudes[level]) if magnitudes.ndim else 0.0
            amount *= sign if signed else 1
            own = auto.strength(name, level if magnitudes.ndim else None, sign, *size)
            assert own == pytest.approx(amount, abs=1e-7)
            row = torch.tensor(auto.operation(name, own, *size)).expand(len(images), -1)
            actual = auto.apply(images, row)
            expected = torch.stack([_apply_op(x, name, amount, InterpolationMode.NEAREST, None) for x in images])
            wrong += int((actual != expected).sum())
            total += actual.numel()
    few = 0.001 if size == (32, 32) else 0.005  # small images have relatively more ties
    assert wrong <= (few * total if name in ROUNDED else 0)


def test_images_of_a_batch_have_operations_of_their_own() -> None:
    images = pictures(len(NAMES), 32, 32)
    rows = torch.tensor(
        [auto.operation(n, auto.strength(n, None if n in PLAIN else 4, 1, 32, 32), 32, 32) for n in NAMES]
    )
    alone = torch.cat([auto.apply(images[k : k + 1], rows[k : k + 1]) for k in range(len(NAMES))])
    assert torch.equal(auto.apply(images, rows), alone)
    idle = torch.tensor(auto.operation("Identity", 0.0, 32, 32)).expand(2, -1)
    assert torch.equal(auto.auto_augment(images, torch.stack([rows, idle[:1].expand_as(rows)], 1)), alone)


def test_draws_follow_the_policy() -> None:
    policy = auto.AutoAugment(32, 32)
    count = 100_000
    drawn = policy.draw(torch.rand(count, 5, generator=generator(0, "auto"), dtype=torch.float64))
    for number in range(2):
        probability = float(policy.probabilities[:, number].mean())
        # One operation of the policy has magnitude 0 and is the identity: Color at level 0, with probability 0.7.
        probability -= 0.7 / 25 if number else 0
        acts = (drawn[:, number] != policy.identity).any(1).double().mean()
        assert abs(float(acts) - probability) < 5 * (probability * (1 - probability) / count) ** 0.5
    turned = drawn[:, 0, list(auto.COLUMNS).index("d")]
    rotated = turned[(turned != 0) & (drawn[:, 0, list(auto.COLUMNS).index("b")] != 0)]
    assert len(rotated) == pytest.approx(count * 0.7 / 25, rel=0.1)
    assert float((rotated > 0).double().mean()) == pytest.approx(0.5, abs=5 * 0.5 / len(rotated) ** 0.5), "both signs"


def test_distribution_equals_torchvision_s() -> None:
    """Mean, standard deviation and fraction of zeros of 3000 outputs for one image, with independent random numbers."""
    image, count = pictures(8, 32, 32)[7], 3000
    policy = auto.AutoAugment(32, 32)
    rows = policy.draw(torch.rand(count, 5, generator=generator(0, "auto"), dtype=torch.float64))
    own = auto.auto_augment(image.expand(count, -1, -1, -1), rows).double()
    whole = AutoAugment(AutoAugmentPolicy.CIFAR10)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = torch.stack([whole(image) for _ in range(count)]).double()
    for statistic in (
        lambda x: x.mean((1, 2, 3)),
        lambda x: x.std((1, 2, 3)),
        lambda x: (x == 0).double().mean((1, 2, 3)),
    ):
        a, b = statistic(own), statistic(theirs)
        assert abs(float(a.mean() - b.mean())) < 5 * float((a.var() + b.var()) / count) ** 0.5
        assert float(a.std()) == pytest.approx(float(b.std()), rel=0.1)
