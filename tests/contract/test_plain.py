"""The readable reference path (`--plain`) and the fast path give the same results up to rounding."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.augmentation import CHAINS, recipe_of
from helpers.command import Answer
from helpers.tiny import tiny_run
from ltbench.benchmarks import registry
from ltbench.benchmarks.data.augment import make_augment
from ltbench.benchmarks.data.loader import batches, epoch_generators, generator
from ltbench.benchmarks.speed.op_counter import bring_to
from ltbench.benchmarks.training.loop import step
from ltbench.benchmarks.training.plan import PLAIN
from ltbench.benchmarks.training.run_spec import RunSpec

CPU = torch.device("cpu")
STEPS = 50
# Relative difference of losses. The paths round float32 in different orders; if this flips the sign of a ReLU input,
# the difference jumps and grows (observed over four seeds: 4e-7 in the first steps, at most 7e-3 within fifty).
AT_FIRST, AT_MOST = 1e-5, 2e-2


@pytest.mark.parametrize("changes", CHAINS, ids=str)
def test_every_chain_equals_torchvision_image_by_image(changes: dict[str, object]) -> None:
    images = torch.randint(256, (40, 3, 16, 16), dtype=torch.uint8, generator=generator(0, "images"))
    fast = make_augment(images, recipe_of(**changes))
    plain = make_augment(images, recipe_of(**{**changes, "plain": True, "channels_last": False}))
    index = torch.arange(40).repeat(10)
    drawn = fast.draw(len(index), lambda purpose: generator(0, purpose))
    ours, theirs = fast(index, drawn), plain(index, drawn)
    assert type(plain) is not type(fast)
    if changes["augment"] == "basic":
        assert torch.equal(ours, theirs)
    elif changes["augment"] == "simclr":
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    else:  # a sampling point midway between two pixels may be rounded to either
        assert float((ours != theirs).double().mean()) < 1e-3


@pytest.mark.parametrize("name", registry.names("methods"))
def test_fifty_steps_lose_the_same(name: str) -> None:
    """Near the end of training, when every part of a method is active, batches are equal and losses are close."""
    run, other = (tiny_run(name, epochs=10, settings=("recipe.batch_size=8",)) for _ in range(2))
    plain = dataclasses.replace(run, method=other.method, recipe=run.recipe.model_copy(update=PLAIN))
    (fast_losses, fast_images), (plain_losses, plain_images) = trained(run), trained(plain)
    assert all(torch.equal(a, b) for a, b in zip(fast_images, plain_images, strict=True))
    difference = (fast_losses - plain_losses).abs() / plain_losses
    assert float(difference[:5].max()) < AT_FIRST
    assert float(difference.max()) < AT_MOST


def trained(spec: RunSpec) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Losses (STEPS,) and image batches of STEPS training steps from the initial weights.

    The method is set up as at 99 % of training, when every part of it is active.
    """
    active, now = bring_to(spec, 0.99, CPU)
    losses, images = [], []
    now = dataclasses.replace(now, fresh=partial(active.augment.fresh, random=generator(0, "fresh")))
    for epoch in range(STEPS):
        random, counts = epoch_generators(spec.seed, "train", epoch), active.split.counts
        sampling, streams = spec.method.sampling(counts, now), spec.method.streams(counts, now)
        for batch in batches(active.split, active.augment, sampling, random, streams):
            images.append(batch.images)
            losses.append(step(active, batch, now))
            if len(losses) == STEPS:
                return torch.stack(losses), images
    raise AssertionError("unreachable: every epoch has at least one step")


def test_plain_run_stands_in_a_table_of_its_own(cli: Callable[..., Answer]) -> None:
    words = ("run", "-m", "erm", "-d", "digits-lt", "--epochs", "2", "--set", "dataset.n_max=30", "--imbalance", "5")
    assert cli(*words).code == 0
    assert cli(*words, "--plain").code == 0
    fast, slow = sorted(Path("results").rglob("*.json"), key=lambda path: "plain" in path.name)
    assert json.loads(fast.read_text())["id"] != json.loads(slow.read_text())["id"]
    accuracies = [sum(json.loads(path.read_text())["final"]["correct"]) for path in (fast, slow)]
    assert abs(accuracies[0] - accuracies[1]) <= 5
    assert "plain=True" in cli("report", "--figures", "none").out


def test_plain_in_another_layout_is_refused(cli: Callable[..., Answer]) -> None:
    answer = cli("run", "-m", "erm", "-d", "digits-lt", "--set", "recipe.plain=true")
    assert answer.code == 2
    assert "--plain" in answer.err
    assert "Traceback" not in answer.err
