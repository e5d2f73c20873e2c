"""OPeN: fraction of noise in each class, noise images and their statistics."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.open_batches import after_start, batch_of, ready
from helpers.tiny import carry_out, tiny_run
from ltbench.benchmarks.data.loader import draw, generator
from ltbench.benchmarks.split import Split, channel_moments, long_tail_counts
from ltbench.benchmarks.training.plan import RunRequest, make_plan
from ltbench.methods._shared.noise import additive_noise, choose_noise, noise_fraction, pure_noise

COUNTS = torch.tensor([100, 10, 1])
CIFAR = pytest.mark.skipif("LTBENCH_DATA" not in os.environ, reason="needs real CIFAR: set LTBENCH_DATA")


@pytest.mark.parametrize(("delta", "expected"), [(1 / 3, (0, 0.3, 0.33)), (1, (0, 0.9, 0.99)), (0, (0, 0, 0))])
def test_fraction_of_noise(delta: float, expected: tuple[float, ...]) -> None:
    assert noise_fraction(COUNTS, delta).tolist() == pytest.approx(expected, abs=1e-7)


def test_fraction_uses_the_largest_class_wherever_it_stands() -> None:
    assert noise_fraction(COUNTS.flip(0), 1 / 3).tolist() == pytest.approx((0.33, 0.3, 0), abs=1e-7)
    assert noise_fraction(torch.tensor([7, 7, 7]), 1 / 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("size", "classes", "ratio", "mean"),
    [(5000, 10, 100, 0.250627), (5000, 10, 50, 0.240027), (500, 100, 100, 0.261020), (500, 100, 50, 0.249280)],
)
def test_mean_fraction_of_noise_in_a_batch(size: int, classes: int, ratio: float, mean: float) -> None:
    fraction = noise_fraction(torch.tensor(long_tail_counts(size, classes, ratio)), 1 / 3)
    assert float(fraction.double().mean()) == pytest.approx(mean, abs=6e-7)


def test_class_fractions_among_natural_images() -> None:
    natural = 1 - noise_fraction(torch.tensor(long_tail_counts(5000, 10, 100)), 1 / 3)
    assert (natural / natural.sum())[[0, -1]].tolist() == pytest.approx([0.1334, 0.0894], abs=6e-5)


def test_expected_counts_top_every_class_up_to_the_largest() -> None:
    """With C x n_max draws, the expected number of noise images of a class is delta x (n_max - n), as in the paper."""
    counts = torch.tensor(long_tail_counts(5000, 10, 100))
    noise = noise_fraction(counts, 1 / 3).double() * 5000
    torch.testing.assert_close(noise, (5000 - counts).double() / 3, atol=1e-3, rtol=0)


def test_worked_mask() -> None:
    fraction = noise_fraction(COUNTS, 1 / 3)[torch.tensor([0, 1, 2, 2])]
    assert choose_noise(fraction, torch.tensor([0.0, 0.31, 0.29, 0.331])).tolist() == [False, False, True, False]


def test_worked_noise() -> None:
    normal = torch.tensor([-3.0, -1, 0, 1, 2.5]).expand(1, 3, 1, 5)
    noise = pure_noise(normal, torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25))
    assert noise[0, 0, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    method, net, _ = ready()
    net.normalise.set((0.5,) * 3, (0.25,) * 3)
    assert net.normalise(noise)[0, 0, 0].tolist() == [-2, -1, 0, 1, 2]
    noise = method._noise(torch.rand(1, 3, 1, 5), net, after_start())
    method.noise_space = "normalised"
    torch.testing.assert_close(net.normalise(method._noise(torch.rand(1, 3, 1, 5), net, after_start())), noise)


def test_worked_additive_noise() -> None:
    normal = torch.tensor([-3.0, -1, 0, 1, 2.5]).expand(1, 3, 1, 5)
    noisy = additive_noise(torch.full((1, 3, 1, 5), 0.5), normal, 51.0)
    assert noisy[0, 0, 0].tolist() == pytest.approx([0, 0.3, 0.5, 0.7, 1])


def test_clipped_noise_has_the_statistics_of_a_clipped_normal() -> None:
    method, net, _ = ready()
    method.mean_, method.std_ = torch.full((3, 1, 1), 0.4989), torch.full((3, 1, 1), 0.2513)
    noise = method._noise(torch.empty(200, 3, 64, 64), net, after_start())
    assert float(noise.mean()) == pytest.approx(0.49895, abs=8e-4)
    assert float(noise.std()) == pytest.approx(0.24086, abs=8e-4)
    assert float((noise == 0).float().mean()) == pytest.approx(0.02356, abs=5e-4)
    assert float((noise == 1).float().mean()) == pytest.approx(0.02307, abs=5e-4)


def test_statistics_are_those_of_all_training_pixels() -> None:
    images = torch.randint(256, (2000, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = channel_moments(images)
    pixels = images.numpy().astype(np.float64) / 255
    torch.testing.assert_close(mean, torch.from_numpy(pixels.mean((0, 2, 3))), atol=1e-12, rtol=0)
    torch.testing.assert_close(std, torch.from_numpy(pixels.std((0, 2, 3))), atol=1e-12, rtol=0)


def test_noise_has_the_statistics_of_each_channel() -> None:
    method, net, split = ready()
    spread = torch.randint(-9, 10, (len(split), 3, 8, 8), generator=generator(0, "spread"))
    levels = torch.tensor([40, 120, 200])[:, None, None] + spread
    method.begin_stage(method.stages(10)[0], net, Split(levels.byte(), split.labels, 10))
    noise = method._noise(torch.empty(500, 3, 8, 8), net, after_start())
    assert (255 * noise.mean((0, 2, 3))).tolist() == pytest.approx([40, 120, 200], abs=0.5)
    own = levels.double().std((0, 2, 3)).tolist()
    assert own == pytest.approx([5.48] * 3, abs=0.2)
    assert (255 * noise.std((0, 2, 3))).tolist() == pytest.approx(own, abs=0.1)


@CIFAR
@pytest.mark.parametrize(
    ("dataset", "imbalance", "mean", "std"),
    [
        ("cifar10-lt", "1", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ("cifar10-lt", "100", (0.4989, 0.5044, 0.4926), (0.2513, 0.2485, 0.2734)),
        ("cifar100-lt", "100", (0.5228, 0.4929, 0.4420), (0.2677, 0.2617, 0.2780)),
        ("cifar100-lt", "50", (0.5202, 0.4916, 0.4415), (0.2676, 0.2609, 0.2778)),
    ],
)
def test_statistics_of_real_cifar(
    dataset: str, imbalance: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    plan = make_plan(["erm"], [dataset], RunRequest(imbalance=imbalance, allow_unverified=True))
    matches = channel_moments(plan[0].dataset.train.images)
    assert matches[0].tolist() == pytest.approx(mean, abs=6e-5)
    assert matches[1].tolist() == pytest.approx(std, abs=6e-5)


def test_noise_is_fresh_and_its_fraction_as_expected() -> None:
    """The fraction of noise in each class, over 400 batches, is within five standard deviations of its expectation."""
    method, net, split = ready()
    now, batch = after_start(), batch_of(split)
    observed, drawn, first = torch.zeros(10), torch.zeros(10), None
    for _ in range(400):
        changed = method.transform(batch, net, now)
        assert changed.labels is batch.labels
        assert torch.equal(changed.images[~changed.synthetic], batch.images[~changed.synthetic])
        observed.index_add_(0, batch.labels, changed.synthetic.float())
        drawn.index_add_(0, batch.labels, torch.ones(len(batch.labels)))
        noise = changed.images[changed.synthetic]
        if first is not None and len(noise) and len(first):
            assert not torch.equal(noise[0], first[0])
        first = noise
    spread = (method.fraction_ * (1 - method.fraction_) / drawn).sqrt()
    assert ((observed / drawn - method.fraction_).abs() <= 5 * spread).all()
    assert observed[0] == 0


def test_same_seed_same_noise_and_another_another() -> None:
    method, net, split = ready()
    images = [method.transform(batch_of(split), net, after_start(seed)).images for seed in (0, 0, 1)]
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


def test_memory_format_of_the_batch_is_kept() -> None:
    method, net, split = ready()
    batch = batch_of(split)
    batch = batch._replace(images=batch.images.contiguous(memory_format=torch.channels_last))
    assert method.transform(batch, net, after_start()).images.is_contiguous(memory_format=torch.channels_last)


def test_draws_of_an_epoch_are_balanced() -> None:
    method, _, split = ready()
    labels = split.labels[draw(split, method.sampling(split.counts, after_start()), generator(0, "draw"), 5000)]
    assert len(labels) == 5000
    assert ((torch.bincount(labels) - 500).abs() < 5 * (5000 * 0.1 * 0.9) ** 0.5).all()


def test_the_record_tells_how_much_noise_an_epoch_drew(tmp_path: Path) -> None:
    record = carry_out(tiny_run("open", epochs=5), tmp_path)
    measures = record.history.measures
    assert [epoch for epoch, _ in measures["open_noise"]] == [4]
    observed, expected = measures["open_noise"][0][1], measures["open_noise_expected"][0][1]
    assert 0 < observed < sum(record.dataset.train_counts)
    assert abs(observed - expected) < 5 * expected**0.5
