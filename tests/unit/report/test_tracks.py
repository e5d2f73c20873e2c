"""Training from scratch and from pretrained weights are kept apart in every part of a report."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.report_records import RECIPE, cifar, lifelike, store
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.records.schema import Record
from ltbench.report import tracks
from ltbench.report.build import build
from ltbench.report.compare_recipe import compare_across
from ltbench.report.published import matches, read_published
from ltbench.report.sources import Sources
from ltbench.report.statistics import Options, settings

LITE0 = {"weights": "lite0", "weights_sha256": tracks._LITE0}
FROZEN = RECIPE | LITE0 | {"name": "transfer", "frozen": True, "cache": True, "crop_padding": 0, "flip": False}
TUNED = RECIPE | LITE0 | {"name": "finetune"}


def runs(recipe: dict[str, Any], methods: tuple[str, ...] = ("erm", "ncm", "crt"), ratio: float = 100) -> list[Record]:
    lifts = {"erm": 0.0, "ncm": 0.2}
    return [
        lifelike(cifar(10, ratio), method, seed, lifts.get(method, 0.1), recipe=recipe)
        for method in methods
        for seed in (0, 1)
    ]


def test_a_recipe_belongs_to_one_track() -> None:
    assert [tracks.track(recipe) for recipe in (FROZEN, RECIPE, TUNED)] == [
        "pretrained, frozen backbone",
        "from scratch",
        "pretrained, fine-tuned",
    ]


@pytest.mark.parametrize(
    ("weights", "images"),
    [
        ("timm:augreg_in21k_ft_in1k", "ImageNet-21k, ImageNet-1k"),
        ("timm:a1_in1k", "ImageNet-1k"),
        ("timm:openai", "OpenAI's pairs of images and texts"),
        ("timm:laion2b_ft_in12k", "LAION-2B, ImageNet-12k"),
        ("timm:unheard_of", ""),
        ("mine.safetensors", ""),
        ("lite0", ""),  # a file of that name: the digest is another one
    ],
)
def test_what_weights_were_trained_on(weights: str, images: str) -> None:
    recipe = {"weights": weights, "weights_sha256": "ab" * 32}
    assert tracks.pretrained_on(recipe) == images
    assert (images or "images that are not known") in tracks.caution(recipe)[0]
    assert tracks.pretrained_on(LITE0) == "ImageNet-1k"


def test_settings_are_in_the_order_of_the_tracks_and_have_baselines_of_their_own() -> None:
    scratch, frozen, tuned = settings(runs(TUNED) + runs(FROZEN) + runs(RECIPE))
    assert scratch.title == "cifar10-lt exp100, recipe cifar"
    assert frozen.title == "cifar10-lt exp100, recipe transfer, lite0 weights (ImageNet-1k), frozen"
    assert tuned.title == "cifar10-lt exp100, recipe finetune, lite0 weights (ImageNet-1k), fine-tuned"
    assert [each.options.baseline for each in (scratch, frozen, tuned)] == ["erm", "ncm", "erm"]
    (without,) = settings(runs(FROZEN, ("erm", "crt")))
    assert without.options.baseline == "erm"
    (chosen,) = settings(runs(FROZEN), Options(baseline="crt"))
    assert chosen.options.baseline == "crt"


def test_published_numbers_stand_beside_training_from_scratch_only() -> None:
    scratch, frozen = settings(runs(FROZEN, ("erm",)) + runs(RECIPE, ("erm",)))
    assert matches(scratch, read_published())
    assert not matches(frozen, read_published())


def test_a_report_says_what_pretrained_numbers_mean_and_ranks_each_track_alone(tmp_path: Path) -> None:
    ratios = (10, 20, 50, 100, 150, 200)
    store([r for ratio in ratios for r in runs(RECIPE, ratio=ratio)] + runs(FROZEN), tmp_path / "results")
    report = build(Sources(tmp_path / "results"), tmp_path / "out", formats=["svg"])
    assert not report.warnings
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert text.count("Not comparable with training from scratch") == 1
    assert text.count("- From scratch: Average rank (1 is the best): ") == 1
    assert text.count("- Pretrained, frozen backbone: No ranks over datasets") == 1
    assert "figures/ranks.svg" in text
    assert "minus ncm" in text
    assert "Not comparable" in (tmp_path / "out" / "index.html").read_text()
    assert "Not comparable" in (tmp_path / "out" / "leaderboard.tex").read_text()
    table = pd.read_csv(io.StringIO((tmp_path / "out" / "leaderboard.csv").read_text()))
    assert table.groupby("track").size().to_dict() == {"from scratch": 18, "pretrained, frozen backbone": 3}


def test_a_baseline_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    store(runs(FROZEN, ("ncm", "crt")), tmp_path / "results")
    with pytest.raises(UserError, match="erm"):
        build(Sources(tmp_path / "results"), tmp_path / "out", options=Options(baseline="erm"), formats=[])


def test_weights_are_compared_although_their_digests_differ() -> None:
    other = FROZEN | {"weights": "timm:a1_in1k", "weights_sha256": "cd" * 32}
    table = compare_across("weights", "lite0", "timm:a1_in1k", runs(FROZEN) + runs(other))
    assert len(table.lines) == 4
