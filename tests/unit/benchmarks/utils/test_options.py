"""Command-line options that are given twice, are empty or contain a comma."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.command import Answer
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.training.plan import RunRequest, make_plan
from ltbench.benchmarks.utils.options import escape_name, split_names

Cli = Callable[..., Answer]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("erm", ["erm"]),
        ("erm, drw", ["erm", "drw"]),
        (r"folder:/a\,b,digits-lt", ["folder:/a,b", "digits-lt"]),
        (r"folder:C:\data", [r"folder:C:\data"]),
        (r"a\,b\,c", ["a,b,c"]),
    ],
)
def test_names_are_split_at_commas_that_are_not_escaped(text: str, names: list[str]) -> None:
    assert split_names(text) == names
    assert split_names(",".join(map(escape_name, names))) == names


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_a_list_without_names_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        split_names(text)


TWICE: list[tuple[tuple[str, ...], str]] = [
    (("run", "-m", "erm", "-d", "digits-lt", "--epochs", "1", "--epochs", "2"), "--epochs is given 2 times: 1, 2"),
    (("run", "-m", "erm", "-d", "digits-lt", "--recipe", "digits", "--recipe", "waves"), "--recipe is given 2 times"),
    (("run", "-m", "erm", "-d", "digits-lt", "--device", "cpu", "--device", "cpu"), "--device is given 2 times"),
    (
        ("run", "-m", "erm", "-d", "digits-lt", "--epochs", "1", "--set", "recipe.epochs=7"),
        "recipe.epochs is set twice",
    ),
    (
        ("run", "-m", "erm", "-d", "digits-lt", "--imbalance", "5", "--set", "dataset.imbalance=7"),
        "dataset.imbalance is set twice",
    ),
    (("run", "-m", "drs", "-d", "digits-lt", "--set", "defer=.5", "--set", "defer=.6"), "drs.defer is set twice"),
    (("run", "-m", "drs", "-d", "digits-lt", "--set", "defer=.5", "--set", "drs.defer=.6"), "drs.defer is set twice"),
    (("run", "-m", "", "-d", "digits-lt"), "'' contains no name"),
    (("run", "-m", "erm", "-d", ","), "',' contains no name"),
    (("speed", "--methods", " "), "' ' contains no name"),
    (("report", "--figures", ""), "Unknown figure format ''"),
    (("run", "-m", "erm", "-d", "digits-lt", "-s", ""), "Cannot parse '' in seeds ''"),
    (("report", "-d", " "), "contains no name"),
    (("report", "--results", "a", "--results", "b"), "--results is given 2 times: a, b"),
    (("sweep", "demo", "--jobs", "1", "--jobs", "2"), "is given 2 times"),
]


@pytest.mark.parametrize(("words", "message"), TWICE, ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_no_value_is_dropped_in_silence(words: tuple[str, ...], message: str, cli: Cli) -> None:
    answer = cli(*words)
    assert answer.code == 2
    assert message in " ".join(answer.err.split())


def test_methods_datasets_and_seeds_can_be_repeated(cli: Cli) -> None:
    words = ("run", "-m", "erm", "-m", "drw", "-d", "digits-lt", "-s", "0", "-s", "3..4", "--epochs", "1", "--quiet")
    assert cli(*words).code == 0
    assert len(list(Path("results").rglob("*.json"))) == 6


def test_a_folder_with_a_comma_in_its_path(tmp_path: Path, images: Callable[[Path], None]) -> None:
    folder = tmp_path / "cats, dogs"
    images(folder)
    (run,) = make_plan(["erm"], [f"folder:{folder}"], RunRequest(epochs="1"))
    assert run.dataset.name == "folder-cats-dogs"
    with pytest.raises(UserError, match="There is no folder"):
        make_plan(["erm"], [f"folder:{folder}x"])


@pytest.fixture
def images() -> Callable[[Path], None]:
    from PIL import Image

    def write(folder: Path) -> None:
        for part in ("train", "test"):
            for number, name in enumerate("ab"):
                (folder / part / name).mkdir(parents=True)
                for k in range(3):
                    Image.new("RGB", (8, 8), (80 * number, 40 * k, 9)).save(folder / part / name / f"{k}.png")

    return write


def test_a_suite_hands_a_comma_on(tmp_path: Path, images: Callable[[Path], None]) -> None:
    from ltbench.benchmarks.records.suites import read_suite
    from ltbench.benchmarks.sweeps.units import make_units

    folder: Any = tmp_path / "cats, dogs"
    images(folder)
    text = f'[[runs]]\nmethods = ["erm"]\ndatasets = ["folder:{folder}"]\nseeds = "0"\n'
    (tmp_path / "suite.toml").write_text(text)
    (unit,) = make_units(read_suite(str(tmp_path / "suite.toml")))
    position = unit.arguments.index("--dataset") + 1
    assert split_names(unit.arguments[position]) == [f"folder:{folder}"]
