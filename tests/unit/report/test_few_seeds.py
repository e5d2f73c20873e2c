"""In every output, one seed allows no verdict, and rows with fewer seeds than others are not ranked with them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from helpers.command import Answer
from helpers.report_records import cifar, keep_logits, lifelike, record, store
from ltbench.benchmarks.records.schema import Record
from ltbench.benchmarks.utils.formatting import counted
from ltbench.report.build import build
from ltbench.report.compare import pairs
from ltbench.report.describe import circumstances
from ltbench.report.logits import read_scores
from ltbench.report.notes import notes
from ltbench.report.paired_tests import paired
from ltbench.report.ranks import ranks
from ltbench.report.sources import Evidence, Sources
from ltbench.report.statistics import Options, settings
from ltbench.report.tables import tables
from ltbench.report.tables.comparison import comparison
from rich.console import Console

DATA = cifar(10, 100)
SEEDS = {"erm": 3, "drw": 3, "two": 2, "lucky": 1}  # the fewer seeds, the higher the accuracy
LIFTS = {"erm": 0.0, "drw": 0.1, "two": 0.2, "lucky": 0.3}
ORDER = ["drw", "erm", "two", "lucky"]


def runs() -> list[Record]:
    return [lifelike(DATA, method, seed, LIFTS[method]) for method, seeds in SEEDS.items() for seed in range(seeds)]


def places(text: str, *words: str) -> list[int]:
    """Position in `text` of the first whole-word occurrence of each word."""
    return [re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text).start() for word in words]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [([0.5], "one seed"), ([-0.5], "one seed"), ([0.0], "one seed"), ([0.5, 0.5], "not separable")],
)
def test_one_pair_has_no_verdict(differences: list[float], verdict: str) -> None:
    assert paired(differences).verdict == verdict


def test_rows_of_fewer_seeds_stand_apart_in_every_table(tmp_path: Path) -> None:
    records = runs()
    keep_logits(records, tmp_path)
    (setting,) = settings(records)
    for table in tables(setting, Evidence(read_scores(records, tmp_path)[0])):
        if table.lines:
            names = {reason: [line["method"] for line in lines] for reason, lines in table.parts}
            assert names == {"": ORDER[:2], "fewer seeds": ORDER[2:]}, table.name
    assert [row.apart for row in setting.rows] == ["", "", "fewer seeds", "fewer seeds"]
    assert all(row.apart == "" for row in settings(records[:6])[0].rows)


def test_every_output_shows_them_apart_with_their_pairs(tmp_path: Path) -> None:
    store(runs(), tmp_path / "results")
    report = build(Sources(tmp_path / "results"), tmp_path / "out", formats=[])
    console = Console(width=100, file=io.StringIO())
    console.print(report.printed)
    texts = {name: (tmp_path / "out" / name).read_text("utf-8") for name in ("leaderboard.md", "leaderboard.tex")}
    texts["page"] = (tmp_path / "out" / "index.html").read_text("utf-8").split('<table class="board"', 1)[1]
    texts["terminal"] = console.file.getvalue()  # type: ignore[attr-defined]
    for name, text in texts.items():
        body = text.split("midrule", 1)[1] if name.endswith("tex") else text
        order = places(body, "drw", "erm", "fewer seeds", "two", "lucky")
        assert order == sorted(order), name
        assert re.search(r"(\| +|> ?|& |\d +)one seed", text), name  # in a cell
        assert "Fewer seeds than 3: two 2, lucky 1." in text, name
    frame = pd.read_csv(tmp_path / "out" / "leaderboard.csv").set_index("label")
    assert list(frame.index) == ORDER
    assert frame["apart"].fillna("").to_dict() == dict(zip(ORDER, ["", "", "fewer seeds", "fewer seeds"], strict=True))
    assert frame["pairs"].fillna(-1).to_dict() == {"drw": 3, "erm": -1, "two": 2, "lucky": 1}
    assert frame.loc["lucky", "verdict"] == "one seed"


def test_compare_shows_the_pairs_and_no_verdict() -> None:
    (setting,) = pairs(runs(), "lucky", "erm", Options())
    table = comparison(setting, Evidence())
    assert set(table.frame["pairs"]) == {"1"}
    assert set(table.frame["verdict"]) == {"one seed"}
    text = " ".join(table.notes)
    assert "1 shared seed (0)" in text
    assert "One seed allows no verdict." in text
    assert "Fewer seeds than 3: lucky 1." in text
    apart = [lifelike(DATA, "a", 0, 0), lifelike(DATA, "b", 1, 0)]
    frame = comparison(pairs(apart, "a", "b", Options())[0], Evidence()).frame
    assert (set(frame["pairs"]), set(frame["verdict"])) == ({"0"}, {"no seed in common"})


def test_numbers_of_one_have_no_plural() -> None:
    single, many = (record(DATA, [500] * 10, epochs=epochs) for epochs in (1, 3))
    assert circumstances(single)["epochs"] == "1 (train 1); the result is that of the last epoch"
    assert circumstances(single)["speed"].endswith("1 thread")
    assert "after 1 epoch." in " ".join(notes(settings([single])[0]))
    assert "after 3 epochs." in " ".join(notes(settings([many])[0]))
    assert [counted(n, "epoch") for n in (0, 1, 2, 1000)] == ["0 epochs", "1 epoch", "2 epochs", "1,000 epochs"]


def test_the_convention_of_groups_is_explained(cli: Callable[..., Answer]) -> None:
    for rule, words in (("A", "medium: 20 to 100"), ("B", "medium: 21 to 100"), ("C", "medium: 21 to 99")):
        (setting,) = settings(runs(), Options(rule=rule))
        numbers = tables(setting, Evidence())[0].numbers["erm"]
        assert words in numbers["shots_rule"]
        assert f"convention {rule}" in numbers["shots_rule"]
        assert numbers["five_rule"].startswith("G1 to G5")
    shown = re.sub(r"[^\w.:;]+", " ", cli("report", "--help").out)
    assert "A: 20 to 100; B: 21 to 100; C: 21 to 99." in shown


def test_the_narrowest_terminal_shows_the_pairs() -> None:
    (setting,) = settings(runs())
    for table in tables(setting, Evidence()):
        assert "pairs" not in table.spare


def test_ranks_over_datasets_take_rows_of_equally_many_seeds() -> None:
    records = [
        record(cifar(10, ratio), [accuracy] * 10, method, seed)
        for ratio in (10, 20, 50, 100, 150, 200)
        for method, accuracy, seeds in (("a", 500, 2), ("b", 600, 2), ("c", 700, 2), ("lucky", 900, 1), ("long", 1, 9))
        for seed in range(seeds)
    ]
    assert ranks(settings(records)).mean.to_dict() == {"c": 1, "b": 2, "a": 3}


def test_an_inactive_row_is_last_and_gets_no_verdict() -> None:
    """Its numbers equal the base's bit for bit, so a difference of 0.0 with a verdict would be misleading."""
    reason = "none of its 3 epochs begins after defer = 0.8"
    inactive = [lifelike(DATA, "m-drw", k, 0.9).model_copy(update={"inactive": reason}) for k in range(3)]
    (setting,) = settings([*runs(), *inactive])
    assert [row.label for row in setting.rows] == [*ORDER, "m-drw"]
    assert setting.apart["m-drw"] == "inactive"
    cost = next(table for table in tables(setting, Evidence()) if table.name == "cost")
    (line,) = (line for line in cost.lines if line["method"] == "m-drw")
    assert (line["verdict"], cost.numbers["m-drw"]["verdict"]) == ("inactive", "inactive")
    assert f"m-drw is inactive and not ranked: {reason}." in notes(setting)


def test_the_best_epoch_of_unequal_test_classes_is_not_below_the_last() -> None:
    """Over all images, the first evaluation is better (901 of 1010 correct); averaged over classes, the last one is."""
    from helpers.report_records import dataset

    data = dataset([100, 10]).model_copy(update={"test_counts": [1000, 10]})
    with pytest.raises(ValueError, match=r"best\.epoch does not have the highest value"):
        record(data, [500, 9], best=[900, 1])
    assert record(data, [900, 1], best=[500, 9]).history.accuracy == [0.7, 0.5]
