"""Features of a frozen backbone: what they equal, where they are stored, when they are shared, and damaged files."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock, Timeout
from helpers.command import Answer
from helpers.frozen import frozen_run, write_weights
from helpers.tiny import carry_out, without_timings
from ltbench.benchmarks.cli.progress import ProgressLine
from ltbench.benchmarks.errors import RunFailed, UserError
from ltbench.benchmarks.recipe import load_recipe
from ltbench.benchmarks.records.suites import Block, Suite
from ltbench.benchmarks.speed.op_counter import count_step
from ltbench.benchmarks.sweeps.status import finished
from ltbench.benchmarks.sweeps.units import make_units
from ltbench.benchmarks.training.callbacks import Callback
from ltbench.benchmarks.training.feature_store import (
    FILE,
    FeatureStore,
    compute_features,
    feature_folder,
    feature_folders,
    read_features,
)
from ltbench.benchmarks.training.run_spec import RunSpec, build_network
from ltbench.benchmarks.training.trainer import execute
from rich.console import Console

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "narrow.safetensors")


def store(run: RunSpec, runs: Path, wait: bool = True) -> FeatureStore:
    return FeatureStore(run, CPU, runs, lambda done, total: None, wait)


def test_features_are_those_of_the_backbone_on_images_that_are_not_augmented(weights: Path) -> None:
    run = frozen_run(weights)
    net, split = build_network(run), run.dataset.train
    images = split.images.float() / 255
    with torch.no_grad():
        naive = torch.cat([net.backbone.eval()(net.normalise(image[None])) for image in images])
    assert torch.allclose(compute_features(net, split, run.recipe), naive, atol=1e-5)
    assert net.training


def test_a_split_of_features_has_the_labels_and_the_held_out_images(weights: Path, tmp_path: Path) -> None:
    run = frozen_run(weights, settings=("dataset.holdout=true",))
    split = store(run, tmp_path).split(run.dataset.train)
    own = run.dataset.train
    assert torch.equal(split.labels, own.labels)
    assert split.images.shape == (len(own), 32)
    assert split.validation is not None
    assert own.validation is not None
    assert split.validation.images.shape == (len(own.validation), 32)


def test_runs_share_features_unless_images_or_network_differ(weights: Path, tmp_path: Path) -> None:
    plain = frozen_run(weights)
    folders = feature_folders(plain)
    same = [
        frozen_run(weights, "crt"),
        frozen_run(weights, settings=("recipe.lr=0.01", "recipe.batch_size=8")),
        dataclasses.replace(plain, seed=5),
    ]
    assert all(feature_folders(run) == folders for run in same)
    other = write_weights(tmp_path / "other.safetensors", seed=1)
    networks = [frozen_run(other), frozen_run(weights, settings=("recipe.size=16",))]
    networks += [frozen_run(weights, settings=("recipe.precision=bf16",))]
    assert all(not set(feature_folders(run)) & set(folders) for run in networks)
    fewer = frozen_run(weights, settings=("dataset.holdout=true",))  # the same test images, other training images
    assert len(set(feature_folders(fewer)) & set(folders)) == 1
    assert feature_folders(frozen_run(weights, cache=False)) == []


class Computed(Callback):
    """Counts the images whose features are computed."""

    def __init__(self) -> None:
        self.images = 0

    def features(self, spec: RunSpec, done: int, total: int) -> None:
        self.images += total if done == total else 0


def test_features_are_computed_once_and_the_record_says_so(weights: Path, tmp_path: Path) -> None:
    first, second = Computed(), Computed()
    run = frozen_run(weights)
    record = execute(run, CPU, tmp_path, first)
    reused = execute(frozen_run(weights, "ncm"), CPU, tmp_path, second)
    assert (first.images, second.images) == (len(run.dataset.train) + len(run.dataset.test), 0)
    uses = [[part for part in each.cost.prerequisites if part.use == "features"] for each in (record, reused)]
    assert [[part.reused for part in parts] for parts in uses] == [[False, False], [True, True]]
    assert [part.id for part in uses[0]] == feature_folders(run) == [part.id for part in uses[1]]
    assert uses[0][0].seconds == uses[1][0].seconds
    assert uses[0][0].method == weights.name
    assert record.cost.parameters > 1000, "the backbone counts"


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-5], lambda content: content[:-1] + b"\x55", lambda _: b""]
)
def test_damaged_features_are_computed_again(damage: Callable[[bytes], bytes], weights: Path, tmp_path: Path) -> None:
    run = frozen_run(weights)
    whole = carry_out(run, tmp_path)
    path = tmp_path / feature_folders(run)[0] / FILE
    content = path.read_bytes()
    path.write_bytes(damage(content))
    for file in (tmp_path / run.id).glob("*.pt"):
        file.unlink()
    with pytest.warns(UserWarning, match=r"features.safetensors is damaged \(.*\); the features are computed again"):
        again = carry_out(frozen_run(weights), tmp_path)
    assert without_timings(again) == without_timings(whole)
    assert read_features(path, len(run.dataset.train)) is not None


def test_features_that_cannot_be_read(weights: Path, tmp_path: Path) -> None:
    run = frozen_run(weights)
    path = tmp_path / feature_folder(run.dataset.train, run) / FILE
    path.mkdir(parents=True)
    with pytest.raises(RunFailed, match=r"Cannot read .*features\.safetensors"):
        store(run, tmp_path).split(run.dataset.train)


def test_another_process_computes_them(weights: Path, tmp_path: Path) -> None:
    run = frozen_run(weights)
    folder = tmp_path / feature_folder(run.dataset.train, run)
    folder.mkdir()
    with FileLock(folder / "run.lock"), pytest.raises(Timeout):
        store(run, tmp_path, wait=False).split(run.dataset.train)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frozen": True}, "frozen needs weights"),
        ({"weights": "lite0", "cache": True}, "cache needs frozen = true"),
        ({"weights": "lite0", "frozen": True, "cache": True}, "cache needs images that are not augmented"),
    ],
)
def test_recipes_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("cifar-short", settings)


def test_units_of_a_sweep_wait_for_the_first_to_compute_the_features(weights: Path) -> None:
    settings = [f"recipe.weights={weights}", "recipe.frozen=true", "recipe.cache=true", "recipe.crop_padding=0"]
    block = Block(methods=["erm", "crt"], datasets=["digits-lt"], imbalance=[5], epochs=3, set=settings)
    erm, crt = make_units(Suite(runs=[block]))
    features = [snapshot for snapshot in erm.shared if snapshot.path.name == FILE]
    assert len(features) == 2
    assert set(features) <= set(crt.shared)
    assert not any(snapshot.own for snapshot in features)
    assert not finished(erm, Path("nowhere"))


def test_a_step_on_features_is_counted(weights: Path) -> None:
    """A step with a frozen backbone costs less than a forward pass of it once its features are stored."""
    features, images = (count_step(frozen_run(weights, cache=cache), 0.5) for cache in (True, False))
    assert features.flops < images.flops / 100


def test_progress_of_the_computation_is_shown(weights: Path, tmp_path: Path) -> None:
    out = io.StringIO()
    line = ProgressLine(Console(file=out, width=100))
    run = frozen_run(weights)
    execute(run, CPU, tmp_path, line)
    assert f"features of {len(run.dataset.train)} images" in out.getvalue()
    line.features(run, 10, 1200)
    line.features(run, 20, 1200)
    assert "features of 20/1,200 images | " in line._line().plain
    assert line._line().plain.endswith(" left")


def test_clean_deletes_the_features_of_a_finished_suite(cli: Callable[..., Answer], weights: Path) -> None:
    settings = f'["recipe.weights={weights}", "recipe.frozen=true", "recipe.cache=true", "recipe.crop_padding=0"]'
    words = f'[[runs]]\nmethods = ["ncm"]\ndatasets = ["digits-lt"]\nimbalance = [5]\nepochs = 3\nset = {settings}\n'
    Path("mine.toml").write_text(words)
    assert cli("sweep", "mine.toml", "--jobs", "1").code == 0
    assert len(list(Path("runs").glob(f"features-*/{FILE}"))) == 2
    assert "Deleted 3 files" in cli("clean", "mine.toml", "--yes").out  # and the snapshot of ERM
    assert not list(Path("runs").glob(f"features-*/{FILE}"))
