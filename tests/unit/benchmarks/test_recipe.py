"""Recipes: learning-rate schedules, number of epochs, changed values and invalid values."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ltbench.benchmarks.cli.cards import cards
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.recipe import FOLDER, Schedule, load_recipe, recipe_names
from ltbench.benchmarks.records.suites import read_suite
from ltbench.benchmarks.training.plan import RunRequest, make_plan
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR

TABLE = {  # 0-based epoch of 200 -> learning rate (reference code of LDAM)
    0: 0.02, 1: 0.04, 2: 0.06, 3: 0.08, 4: 0.1, 5: 0.1, 6: 0.1, 158: 0.1, 159: 0.1, 160: 1e-3, 161: 1e-3, 162: 1e-3,
    178: 1e-3, 179: 1e-3, 180: 1e-5, 181: 1e-5, 182: 1e-5, 199: 1e-5,
}  # fmt: skip


@pytest.mark.parametrize(("epoch", "rate"), TABLE.items())
def test_learning_rates_of_the_published_protocol(epoch: int, rate: float) -> None:
    assert load_recipe("cifar")[0].learning_rate(epoch, 200) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 0.02), (3, 0.08), (4, 0.1), (159, 0.1), (160, 1e-3), (179, 1e-3), (180, 1e-5)]
)
def test_learning_rates_of_open(epoch: int, rate: float) -> None:
    recipe = load_recipe("open")[0]
    assert recipe.learning_rate(epoch, 200) == pytest.approx(rate, rel=1e-12)
    assert (recipe.augment, recipe.cutout, recipe.backbone) == ("simclr", 16, "wrn-28-10-dropout")
    assert load_recipe("open-balanced")[0].learning_rate(epoch, 200) == 1e-3


def test_the_short_recipe_has_the_same_shape() -> None:
    short, whole = load_recipe("cifar-short")[0], load_recipe("cifar")[0]
    rates = [short.learning_rate(epoch, 40) for epoch in range(40)]
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08] + [0.1] * 28 + [1e-3] * 4 + [1e-5] * 4)
    same = set(type(whole).model_fields) - {"name", "epochs"}
    assert short.model_dump(include=same) == whole.model_dump(include=same)


def test_a_stage_s_own_drops_replace_the_schedule() -> None:
    recipe, own = load_recipe("cifar")[0], Schedule(drops=((0.5, 0.1),))
    rates = [recipe.learning_rate(epoch, 10, schedule=own) for epoch in (0, 4, 5, 9)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01])
    assert recipe.learning_rate(9, 10, lr=2.0, schedule=own) == pytest.approx(0.2)


def torch_rates(make: Callable[[torch.optim.Optimizer], LRScheduler], lr: float, epochs: int) -> list[float]:
    """Learning rate of each epoch under a scheduler of torch."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr)
    scheduler, rates = make(optimiser), []
    for _ in range(epochs):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def test_cosine_is_that_of_torch() -> None:
    rates = torch_rates(lambda optimiser: CosineAnnealingLR(optimiser, 30), 0.1, 30)
    assert [Schedule("cosine").rate(0.1, epoch, 30) for epoch in range(30)] == pytest.approx(rates, rel=1e-9)


def test_steps_are_those_of_torch() -> None:
    rates = torch_rates(lambda optimiser: MultiStepLR(optimiser, [10, 20], 0.1), 0.2, 30)
    own = Schedule(drops=((1 / 3, 0.1), (2 / 3, 0.1)))
    assert [own.rate(0.2, epoch, 30) for epoch in range(30)] == pytest.approx(rates, rel=1e-12)
    assert {Schedule().rate(0.2, epoch, 30) for epoch in range(30)} == {0.2}


@pytest.mark.parametrize("start", [0.0, 0.5, 1.0])
def test_warm_up_and_cosine_are_those_of_torch(start: float) -> None:
    """torch's LinearLR starts at its first factor; here, the first epoch is one step above `warmup_from`."""

    def make(optimiser: torch.optim.Optimizer) -> LRScheduler:
        rise = LinearLR(optimiser, start + (1 - start) / 5, 1.0, total_iters=4)
        return SequentialLR(optimiser, [rise, CosineAnnealingLR(optimiser, 25)], [5])

    own = Schedule("cosine", warmup=5, warmup_from=start)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)  # SequentialLR uses a deprecated argument
        expected = torch_rates(make, 0.1, 30)
    assert [own.rate(0.1, epoch, 30) for epoch in range(30)] == pytest.approx(expected, rel=1e-9)


def test_a_cosine_has_no_drops() -> None:
    with pytest.raises(UserError, match=r"has no drops; set drops = \[\]"):
        load_recipe("cifar", {"schedule": "cosine"})
    assert load_recipe("cifar", {"schedule": "cosine", "drops": []})[0].learning_rate(5, 200) == 0.1


# name -> base learning rate, weight decay, batch size, rates of some 0-based epochs (reference code of each paper)
PUBLISHED: dict[str, tuple[float, float, int, dict[int, float]]] = {
    "bbn": (0.1, 2e-4, 128, {0: 0.02, 119: 0.1, 120: 1e-3, 159: 1e-3, 160: 1e-5}),
    "mislas": (0.1, 2e-4, 128, {0: 0.02, 159: 0.1, 160: 0.01, 179: 0.01, 180: 1e-3}),
    "lade": (0.2, 5e-4, 256, {0: 0.04, 4: 0.2, 119: 0.2, 120: 2e-3, 160: 2e-5}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes_of_other_papers(name: str) -> None:
    recipe = load_recipe(name)[0]
    lr, decay, batch, rates = PUBLISHED[name]
    assert (recipe.lr, recipe.weight_decay, recipe.batch_size) == (lr, decay, batch)
    assert (recipe.backbone, recipe.epochs, recipe.augment) == ("resnet32", 200, "basic")
    for epoch, rate in rates.items():
        assert recipe.learning_rate(epoch, 200) == pytest.approx(rate, rel=1e-12)


def test_balms_trains_for_a_number_of_steps() -> None:
    """13,000 steps of 512 images; the first 800 raise the rate from 0.05 to 0.1, then a cosine lowers it to 0."""
    recipe = load_recipe("balms")[0].lengthened(12_406)
    assert recipe.epochs == 520
    assert recipe.steps_per_epoch(12_406) * recipe.warmup == 800
    rates = [recipe.learning_rate(epoch, 520) for epoch in (0, 31, 32, 276, 519)]
    assert rates == pytest.approx([0.05 + 0.05 / 32, 0.1, 0.1, 0.05, 0], abs=1e-5)
    assert (recipe.augment, recipe.keep_base, recipe.cutout, recipe.weight_decay) == ("autoaugment", True, 16, 5e-4)


def test_evaluates_every_tenth_epoch_and_the_last() -> None:
    recipe = load_recipe("cifar")[0]
    assert [e for e in range(25) if recipe.evaluates(e, 25)] == [9, 19, 24]


def test_changes_are_parsed_and_named() -> None:
    recipe, changed = load_recipe("cifar", {"epochs": "3", "precision": "fp32", "flip": "false"})
    assert (recipe.epochs, recipe.flip) == (3, False)
    assert changed == {"epochs": 3, "flip": False}


def test_augment_on_the_command_line_is_a_change_of_the_recipe() -> None:
    short = make_plan(["erm"], ["digits-lt"], RunRequest(augment="simclr", settings=("recipe.cutout=2",)))[0]
    long = make_plan(["erm"], ["digits-lt"], RunRequest(settings=("recipe.augment=simclr", "recipe.cutout=2")))[0]
    assert (short.recipe.augment, short.recipe.cutout) == ("simclr", 2)
    assert (short.id, short.changed) == (long.id, long.changed)
    basic = make_plan(["erm"], ["digits-lt"], RunRequest(augment="basic"))[0]
    assert basic.id == make_plan(["erm"], ["digits-lt"])[0].id


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": "0"}, "epochs = '0'"),
        ({"lr": "fast"}, "lr = 'fast'"),
        ({"lr": "nan"}, "lr = 'nan'"),
        ({"precision": "fp8"}, "precision = 'fp8'"),
        ({"augment": "simCLR"}, "augment = 'simCLR'"),
        ({"cutout": "-1"}, "cutout = '-1'"),
        ({"epoch": "3"}, "Did you mean 'epochs'"),
        ({"batch_size": "1"}, "batch_size = '1'"),
    ],
)
def test_bad_changes_are_refused(changes: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_recipe("cifar", changes)


def test_own_recipe_by_path_and_a_broken_one(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('backbone = "resnet20"\nepochs = 7\n')
    assert load_recipe(str(mine))[0].name == "mine"
    mine.write_text("epochs = = 7")
    with pytest.raises(UserError, match="is not TOML"):
        load_recipe(str(mine))
    with pytest.raises(UserError, match="no recipe file"):
        load_recipe(str(tmp_path / "other.toml"))
    with pytest.raises(UserError, match="Did you mean 'cifar'"):
        load_recipe("cifra")


def test_own_recipe_must_not_pass_for_one_of_the_suite(tmp_path: Path) -> None:
    (tmp_path / "cifar.toml").write_text('backbone = "resnet8-narrow"\nepochs = 1\n')
    with pytest.raises(UserError, match="Rename it"):
        load_recipe(str(tmp_path / "cifar.toml"))


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid(name: str) -> None:
    recipe = load_recipe(name)[0]
    assert all(recipe.learning_rate(epoch, recipe.epochs) > 0 for epoch in range(recipe.epochs))


@pytest.mark.parametrize("epochs", [10, 40, 200])
def test_the_warm_up_does_not_shrink_with_the_run(epochs: int) -> None:
    recipe = load_recipe("cifar", {"epochs": str(epochs)})[0]
    assert [recipe.learning_rate(e, epochs) for e in range(6)] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])


@pytest.mark.parametrize("value", [0.025, "0.025", -1, 1.5])
def test_a_warm_up_that_is_no_number_of_epochs_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"Recipe 'cifar': warmup = .*"):
        load_recipe("cifar", {"warmup": value})


@pytest.mark.parametrize(
    ("images", "settings", "epochs"),
    [
        (106, {}, 1000),  # two batches of 64
        (65, {}, 2000),  # the last image joins the batch before it
        (64, {}, 2000),
        (3, {}, 2000),
        (3200, {}, 40),  # 50 batches: 40 epochs are 2000 steps
        (3201, {}, 40),
        (12_000, {}, 40),
        (106, {"least_steps": "3"}, 40),
        (106, {"drop_last": "true"}, 2000),
    ],
)
def test_a_small_dataset_is_trained_for_more_epochs(images: int, settings: dict[str, str], epochs: int) -> None:
    recipe = load_recipe("folder", settings)[0].lengthened(images)
    assert recipe.epochs == epochs
    assert recipe.lengthened(images) == recipe


@pytest.mark.parametrize("name", sorted(set(recipe_names()) - {"folder", "balms", "transfer", "finetune"}))
def test_the_length_of_other_recipes_is_in_epochs(name: str) -> None:
    recipe = load_recipe(name)[0]
    assert recipe.lengthened(2) == recipe


def test_a_byte_order_mark_is_no_part_of_a_recipe_or_a_suite(tmp_path: Path) -> None:
    recipe, suite = tmp_path / "mine.toml", tmp_path / "suite.toml"
    recipe.write_bytes(b"\xef\xbb\xbf" + (FOLDER / "digits.toml").read_bytes())
    suite.write_bytes(b'\xef\xbb\xbf[[runs]]\nmethods = ["erm"]\ndatasets = ["digits-lt"]\n')
    assert load_recipe(str(recipe))[0].epochs == load_recipe("digits")[0].epochs
    assert read_suite(str(suite)).runs[0].methods == ["erm"]
    assert not str(cards(str(recipe))[0]).startswith("\ufeff")


def test_a_named_pipe_is_neither_recipe_nor_suite(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for read in (load_recipe, read_suite):
        with pytest.raises(UserError, match=r"pipe\.toml"):
            read(str(tmp_path / "pipe.toml"))
