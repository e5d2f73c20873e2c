"""Suite files: valid contents, line numbers of errors, and the resulting units."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from helpers.report_records import dataset, record
from helpers.tiny import planned
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.records.suites import Block, Suite, read_suite, suite_files
from ltbench.benchmarks.registry import names
from ltbench.benchmarks.sweeps.estimate import estimate, estimates, seconds_per_image, total
from ltbench.benchmarks.sweeps.units import SharedSnapshot, Unit, make_units

TINY = ["dataset.n_max=30"]
HEAD = "[[runs]]\nmethods = ['erm']\n"
GOOD = HEAD + "datasets = ['a']\n"


def units(**changes: object) -> list[Unit]:
    values: dict[str, Any] = {"methods": ["erm"], "datasets": ["digits-lt"], "imbalance": [5], "epochs": 3, "set": TINY}
    return make_units(Suite(runs=[Block(**(values | changes))]))


def test_a_unit_s_command_is_its_run() -> None:
    six = units(methods=["drs", "open", "ldam_drw"], seeds="1..2", set=[*TINY, "drs.defer=0.5", "recipe.lr=0.05"])
    assert [unit.method for unit in six] == ["drs", "drs", "open", "open", "ldam-drw", "ldam-drw"]
    assert "drs.defer=0.5" in six[0].arguments
    assert "drs.defer=0.5" not in six[2].arguments
    for unit in six:
        assert planned(unit.arguments) == unit.id, shlex.join(unit.arguments)


def test_ratios_and_profiles_are_crossed_and_runs_run_once() -> None:
    crossed = units(imbalance=[5, 3], profile=["exp", "step"])
    assert [unit.label.split(" | ")[0] for unit in crossed] == [
        f"digits-lt {profile}{ratio} n_max=30 digits" for ratio in (5, 3) for profile in ("exp", "step")
    ]
    block = Block(methods=["erm"], datasets=["digits-lt"], imbalance=[5], epochs=3, set=TINY)
    both = make_units(Suite(runs=[block, block.model_copy(update={"methods": ["drs", "erm"]})]))
    assert [unit.method for unit in both] == ["erm", "drs"]


@pytest.mark.filterwarnings("ignore:blt needs held-out training images")
def test_a_star_means_every_method() -> None:
    all_units = units(methods=["*"], set=[*TINY, "open.delta=0.25"])
    assert [unit.method for unit in all_units] == names("methods")
    assert [unit.method for unit in all_units if "open.delta=0.25" in unit.arguments] == ["open"]
    assert all(planned(unit.arguments) == unit.id for unit in all_units)


def test_no_digit_of_a_ratio_is_lost() -> None:
    (unit,) = units(imbalance=[3.3333333333])
    assert "3.3333333333" in unit.arguments
    assert planned(unit.arguments) == unit.id


def test_what_units_share() -> None:
    erm, neighbour, drs, _, m2m, _, focal, _ = units(methods=["erm", "drs", "m2m", "focal"], seeds="0..1", epochs=10)
    prefix = SharedSnapshot(erm.id, "erm", 8, own=True, path=Path(erm.id, "epoch-00008.pt"))
    network = SharedSnapshot(neighbour.id, "erm", 10, own=False, path=Path(neighbour.id, "epoch-00010.pt"))
    assert (erm.shared, drs.shared, m2m.shared) == ((), (prefix,), (prefix, network))
    assert focal.shared == ()
    assert drs.epochs == 10


def test_a_method_from_outside(tmp_path: Path) -> None:
    text = '"""Mine."""\nfrom ltbench.benchmarks.method import Method\nclass Mine(Method):\n    pass\n'
    (tmp_path / "my_own.py").write_text(text)
    (unit,) = units(methods=[str(tmp_path / "my_own.py")])
    assert str(tmp_path / "my_own.py") in unit.arguments
    assert planned(unit.arguments) == unit.id


@pytest.mark.filterwarnings("ignore:blt needs held-out training images")
@pytest.mark.parametrize("name", suite_files())
def test_the_suites_that_come_with_ltbench_are_whole(name: str) -> None:
    suite = read_suite(name)
    embedded = {"digits-lt", "waves-lt"}
    assert all(set(block.datasets) <= embedded | {"cifar10-lt", "cifar100-lt"} for block in suite.runs)
    if all(set(block.datasets) <= embedded for block in suite.runs):
        assert make_units(suite)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            GOOD + "sedes = '1'\n",
            ["line 4", "sedes", "known:", "seeds"],
        ),
        (
            HEAD + "\n[[runs]]\nmethods = []\ndatasets = ['a']\n",
            ["line 1", "datasets", "required"],
        ),
        (
            GOOD + "\n[[runs]]\nmethods = []\ndatasets = ['a']\n",
            ["line 6", "methods"],
        ),
        (
            GOOD + "profile = ['log']\n",
            ["line 4", "profile", "'exp' or 'step'"],
        ),
        ("title = 'x'\n" + GOOD, ["line 1", "title", "known: runs"]),
        ("[[runs]\n", ["not a TOML file"]),
        ("", ["line 1", "runs", "required"]),
    ],
)
def test_a_wrong_file_names_line_and_field(text: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_suite(str(path))
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_an_unknown_suite_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"suite 'digit'\. Did you mean 'digits'"):
        read_suite("digit")
    with pytest.raises(UserError, match=r"Cannot read suite .*nothing\.toml"):
        read_suite(str(tmp_path / "nothing.toml"))
    with pytest.raises(UserError, match="'ermm'"):
        units(methods=["ermm"])


def test_estimates_follow_the_records(tmp_path: Path) -> None:
    erm, drs, focal = units(methods=["erm", "drs", "focal"], epochs=10)
    data = dataset([20, 10], name="digits-lt")
    recipe = {"name": "digits", "backbone": "resnet8-narrow", "epochs": 3}
    times = seconds_per_image([record(data, [1, 1], recipe=recipe)])  # 2 s for 30 images and 3 epochs
    each = 2 / 90
    assert estimate(erm, times) == pytest.approx(each * erm.images * 10)
    assert estimate(drs, times, shared_epochs=8) == pytest.approx(each * erm.images * 2)
    work, least, unknown = total(estimates([erm, drs, focal], times, tmp_path), jobs=2)
    assert work == pytest.approx(each * erm.images * 22)
    assert least == pytest.approx(work / 2)
    assert unknown == 0
    assert total(estimates([erm], {}, tmp_path), jobs=1) == (0, 0, 1)
    assert estimates([drs], times, tmp_path) == [pytest.approx(each * erm.images * 10)]
    (tmp_path / erm.id).mkdir()
    (tmp_path / drs.shared[0].path).touch()
    assert estimates([drs], times, tmp_path) == [pytest.approx(each * erm.images * 2)]
