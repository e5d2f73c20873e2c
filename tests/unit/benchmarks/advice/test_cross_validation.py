"""Folds, `bench advise` from the command line, its errors, and what happens after an interruption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.command import Answer
from helpers.frozen import BACKBONE, write_weights
from ltbench.benchmarks.advice.cross_validation import FOLDS, assign_folds
from PIL import Image

Cli = Callable[..., Answer]
RECIPE = """
backbone = "{backbone}"
weights = "{weights}"
frozen = true
cache = true
epochs = 3
batch_size = 16
lr = 0.1
crop_padding = 0
flip = false
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    weights = write_weights(tmp_path / "narrow.safetensors")
    path = tmp_path / "quick.toml"
    path.write_text(RECIPE.format(backbone=BACKBONE, weights=weights))
    return str(path)


def photographs(folder: Path, counts: dict[str, int]) -> Path:
    """A folder of images of two brightnesses, with `counts` training images and two test images per class."""
    random = np.random.default_rng(0)
    for level, (name, count) in enumerate(counts.items()):
        for part, number in (("train", count), ("test", 2)):
            (folder / part / name).mkdir(parents=True)
            for k in range(number):
                pixels = random.integers(0, 60, (8, 8, 3)) + 90 * level
                Image.fromarray(pixels.astype(np.uint8)).save(folder / part / name / f"{k}.png")
    return folder


@pytest.mark.parametrize("counts", [(50, 20, 5, 2), (7, 3), (1000, 999)])
def test_each_class_is_spread_over_the_folds(counts: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    folds = assign_folds(labels, FOLDS, seed=0)
    for label, count in enumerate(counts):
        sizes = np.bincount(folds[labels == label], minlength=FOLDS)
        assert sizes.sum() == count
        assert sizes.max() - sizes.min() <= 1
    assert np.ptp(np.bincount(folds, minlength=FOLDS)) <= 1
    assert (folds == assign_folds(labels, FOLDS, seed=0)).all()
    assert (folds != assign_folds(labels, FOLDS, seed=1)).any()


def test_advice_for_a_folder(cli: Cli, recipe: str) -> None:
    """Counts, a table and a recommendation; repeated, nothing is trained; test images do not matter."""
    folder = photographs(Path("photos"), {"dark": 30, "light": 6})
    words = ("advise", f"folder:{folder}", "--recipe", recipe, "--set", "dataset.size=8", "-m", "ncm,crt", "-s", "0,1")
    first = cli(*words, "--set", "crt.second=2")
    assert first.code == 0
    assert "folder-photos: 36 training images in 2 classes, 30 to 6 per class" in first.out
    assert "Fewer than 10 images, too few to judge alone: light." in first.out
    assert all(name in first.out for name in ("erm", "ncm", "crt"))
    assert "Five-fold cross-validation" in first.out
    assert first.out.strip().splitlines()[-1].endswith(".")
    assert not Path("results").exists()
    records = {path: path.stat().st_mtime_ns for path in Path("runs/advice").rglob("*.json")}
    assert len(records) == 3 * 2 * FOLDS
    for path in sorted(records)[::7]:
        path.unlink()  # as if it had been interrupted
    for image in Path("photos/test").rglob("*.png"):
        image.write_bytes((Path("photos/train/dark/0.png")).read_bytes())
    again = cli(*words, "--set", "crt.second=2")
    assert again.out == first.out
    kept = [path for k, path in enumerate(sorted(records)) if k % 7]
    assert all(path.stat().st_mtime_ns == records[path] for path in kept)
    assert len(list(Path("runs").glob("features-*"))) == 1, "features of training images only"


@pytest.mark.parametrize(
    ("counts", "words", "message"),
    [
        ({"a": 9, "b": 1}, (), "b has a single training image, but cross-validation needs"),
        ({"a": 9, "b": 4}, ("-m", "erm"), "bench advise compares methods with erm; name another one"),
        ({"a": 9, "b": 4}, ("-m", "mixup"), "mixup needs the images in every step"),
        ({"a": 9, "b": 4}, ("--recipe", "folder"), "bench advise needs a recipe that computes features once"),
        ({"a": 9}, (), "class"),
    ],
)
def test_what_cannot_be_advised_on(
    counts: dict[str, int], words: tuple[str, ...], message: str, cli: Cli, recipe: str
) -> None:
    folder = photographs(Path("photos"), counts)
    words = words if "--recipe" in words else (*words, "--recipe", recipe)
    answer = cli("advise", f"folder:{folder}", "--set", "dataset.size=8", *words)
    assert answer.code == 2
    assert message in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_a_missing_folder(cli: Cli) -> None:
    answer = cli("advise", "folder:nowhere")
    assert answer.code == 2
    assert "There is no folder nowhere" in answer.err


def test_a_folder_that_is_trained_from_scratch_gets_a_hint(cli: Cli) -> None:
    """It names the time of the features, only if no recipe was chosen; other datasets get none."""
    folder = photographs(Path("photos"), {"dark": 9, "light": 4})
    words = ("run", "-m", "erm", "-d", f"folder:{folder}", "--epochs", "1", "--quiet")
    error = cli(*words).err
    assert "With --recipe transfer, a pretrained one stays frozen: the features of 17 images take about" in error
    assert "'bench advise' compares methods that way." in error
    assert "--recipe transfer" not in cli(*words, "--recipe", "folder").err
    assert "--recipe transfer" not in cli("run", "-m", "erm", "-d", "digits-lt", "--epochs", "1", "--quiet").err
