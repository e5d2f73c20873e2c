"""`bench show`, `bench compare`, and the command that reproduces a record."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import ltbench.bench
import pytest
from helpers.command import Answer
from helpers.report_records import RECIPE, cifar, dataset, keep_logits, lifelike, record, store
from helpers.tiny import planned
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.records.parts import Prerequisite
from ltbench.benchmarks.records.store import read_all
from ltbench.benchmarks.utils.formatting import duration
from ltbench.report.compare import pairs
from ltbench.report.costs import borrowed_seconds, costs, optimism, total_seconds
from ltbench.report.describe import circumstances, command
from ltbench.report.show import find_record
from ltbench.report.sources import Evidence
from ltbench.report.statistics import Options, settings
from ltbench.report.tables.comparison import comparison
from ltbench.report.text import size

Cli = Callable[..., Answer]
COMMITTED = [r for r in read_all(Path(ltbench.bench.__file__).parent / "results")[0] if r.dataset.name == "digits-lt"]
DATA = cifar(10, 100)


@pytest.mark.parametrize("run", [r for r in COMMITTED if r.seed == 0], ids=lambda r: f"{r.method} {r.changed}")
def test_the_command_of_a_committed_record_plans_the_same_run(run) -> None:
    words = shlex.split(command(run))
    assert words[:2] == ["bench", "run"]
    assert planned(words[1:]) == run.id


def test_the_command_names_changes_and_leaves_gaps_for_paths() -> None:
    data = cifar(10, 50, "step", changed={"holdout": True}, options={"holdout": True}, verified=False)
    changed = {"lam": 0.5, "on": False, "recipe.drops": [[0.5, 0.1]], "recipe.epochs": 9, "word": "a b"}
    text = command(record(data, [1] * 10, "m2m", seed=4, changed=changed), [4, 5])
    assert text == (
        "bench run --method m2m --dataset cifar10-lt --imbalance 50 --profile step --recipe cifar "
        "--set dataset.holdout=true --set lam=0.5 --set on=false --set 'recipe.drops=[[0.5, 0.1]]' "
        "--set recipe.epochs=9 --set 'word=a b' --seed 4,5 --allow-unverified"
    )
    folder = dataset([5, 3], name="folder-cats", profile="natural", verified=None)
    assert command(record(folder, [1, 1], "my_own", source="ab" * 32, recipe=RECIPE | {"name": "mine"})) == (
        "bench run --method PATH/my_own.py --dataset folder:PATH --recipe PATH/mine.toml --seed 0"
    )
    assert "--imbalance 33.33333333 " in command(record(dataset([100, 3], imbalance=33.33333333), [1, 1]))


def test_costs_count_a_shared_training_once() -> None:
    def part(use: str, seconds: float, key: str = "a" * 16) -> Prerequisite:
        return Prerequisite(method="erm", id=key, use=use, epochs=1, seconds=seconds, reused=True, commit=None)

    plain = record(DATA, [1] * 10)
    prefix = record(DATA, [1] * 10, prerequisites=[part("prefix", 1.5)])
    network = record(DATA, [1] * 10, prerequisites=[part("prefix", 1.5), part("network", 7)])
    other = record(DATA, [1] * 10, prerequisites=[part("prefix", 1.5), part("network", 7, "b" * 16)])
    assert [total_seconds(r) for r in (plain, prefix, network, other)] == [2, 2, 7.5, 9]
    assert [borrowed_seconds(r) for r in (plain, prefix, network, other)] == [0, 1.5, 7, 8.5]
    assert "builds on" in circumstances(network)
    assert "builds on" not in circumstances(plain)


def test_optimism_is_best_minus_last() -> None:
    data = dataset([200, 50], test_counts=[100, 50])
    run = record(data, [50, 20], best=[60, 20])
    (row,) = settings([run])[0].rows
    assert optimism(row) == pytest.approx(0.05)
    assert costs(row).epoch == pytest.approx(1 / 3)


def test_durations_and_sizes() -> None:
    assert [duration(s) for s in (0.0421, 9.94, 9.96, 59.4, 61, 3599, 3660)] == [
        "0.042 s", "9.9 s", "10 s", "59 s", "1:01 min", "59:59 min", "1:01 h",
    ]  # fmt: skip
    assert [size(n) for n in (7, 19_218, 464_154, 999_900, 36.5e6, 1.64e9)] == [
        "7",
        "19.2 k",
        "464 k",
        "1 M",
        "36.5 M",
        "1.64 G",
    ]


def test_a_record_is_found_by_file_and_by_the_start_of_its_id(tmp_path: Path) -> None:
    runs = [lifelike(DATA, "erm", seed, 0.0) for seed in range(3)]
    store(runs, tmp_path)
    (tmp_path / "bad.json").write_text("{")
    assert find_record(runs[1].id[:8], tmp_path) == runs[1]
    path = next(p for p in tmp_path.rglob("*seed2.json"))
    assert find_record(str(path), tmp_path) == runs[2]
    for text, words in (("0000", "No record in"), ("ab", "too short"), ("nothing.json", "Cannot read nothing.json")):
        with pytest.raises(UserError, match=words):
            find_record(text, tmp_path)


def test_show_and_compare_as_a_user_sees_them(cli: Cli, tmp_path: Path) -> None:
    runs = [lifelike(DATA, m, s, lift) for m, lift in (("erm", 0.0), ("drw", 0.3)) for s in range(4)]
    store(runs, tmp_path / "results")
    keep_logits(runs, tmp_path / "runs")
    shown = cli("show", runs[0].id[:6])
    assert shown.code == 0
    for word in (
        "erm on cifar10-lt exp100",
        "class 9",
        "last epoch (3)",
        "hyper-parameters",
        "--imbalance 100",
        "--seed",
    ):
        assert word in shown.out
    compared = cli("compare", "drw", "erm", "--out", "pair.svg")
    assert compared.code == 0
    assert compared.out.count("better") >= 3  # overall, medium, G1, ...
    assert "With logits adjusted by tau = 1" in " ".join(compared.out.split())
    assert "cannot be below 0.12" in " ".join(compared.out.split())
    assert Path("pair.svg").stat().st_size > 5000
    assert cli("compare", "drw", "erm", "--groups", "shots").out.count("G1") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("compare", "drw", "erw"), ["Unknown row", "'erw'", "Did you mean 'erm'"]),
        (("compare", "lone", "erm"), ["No setting has both", "lone on", "erm on"]),
        (("compare", "drw", "erm", "--out", "pair.jpg"), ["pair.jpg", ".png"]),
        (("compare", "drw", "erm", "-d", "cifar10"), ["'cifar10'", "cifar10-lt"]),
        (("show", "zzzz"), ["No record in results", "zzzz"]),
        (("report", "--baseline", "ermm"), ["baseline", "'ermm'", "Did you mean 'erm'"]),
        (("report", "--figures", "jpg"), ["figure format 'jpg'", "png"]),
    ],
)
def test_mistakes(cli: Cli, arguments: tuple[str, ...], words: list[str], tmp_path: Path) -> None:
    store([lifelike(DATA, m, 0, 0.1) for m in ("erm", "drw")], tmp_path / "results")
    store([lifelike(cifar(100, 100), "lone", 0, 0.1)], tmp_path / "results")
    answer = cli(*arguments)
    assert answer.code == 2
    assert answer.err.startswith("Error: ")
    for word in words:
        assert word in answer.err


def test_a_method_may_be_called_like_a_column() -> None:
    runs = [record(DATA, [500] * 10, "p"), record(DATA, [400] * 10, "verdict")]
    (setting,) = pairs(runs, "p", "verdict", Options())
    frame = comparison(setting, Evidence()).frame
    assert list(frame) == ["classes", "p (%)", "verdict (%)", "difference", "pairs", "p", "verdict"]
    assert frame.iloc[0].tolist()[1:3] == ["50.0", "40.0"]


def test_a_method_of_several_variants_must_be_named_by_its_label() -> None:
    runs = [record(DATA, [500] * 10), *(record(DATA, [600] * 10, "open", changed={"x": x}) for x in (1, 2))]
    with pytest.raises(UserError, match=r"'open'.*Known: erm, open \(x=1\), open \(x=2\)"):
        pairs(runs, "open", "erm", Options())
    (setting,) = pairs(runs, "open (x=2)", "erm", Options())
    assert [row.label for row in setting.rows] == ["open (x=2)", "erm"]
    (setting,) = pairs(runs[:2], "open", "erm", Options())
    assert setting.rows[0].label == "open (x=1)"
