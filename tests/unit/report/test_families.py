"""Families of methods in cards, tables, colours, figures and `bench list`; variants in tables of their own."""

from __future__ import annotations

import colorsys
import csv
import io
from collections.abc import Callable

import ltbench.report.statistics
import pytest
from helpers.command import Answer
from helpers.report_records import cifar, lifelike
from ltbench.benchmarks.records.schema import Record
from ltbench.benchmarks.utils.docstrings import FAMILIES, OTHER, family, method_cards
from ltbench.report.document import Document, section
from ltbench.report.figures import FIGURES, bar_rows, few_rows, line_rows
from ltbench.report.figures.classes import class_differences, class_lines
from ltbench.report.figures.curves import training_curves, training_losses
from ltbench.report.figures.style import look
from ltbench.report.hues import HUES
from ltbench.report.outputs.csv import csv as csv_text
from ltbench.report.outputs.latex import latex
from ltbench.report.sources import Evidence
from ltbench.report.statistics import Setting, settings
from ltbench.report.tables import tables
from ltbench.report.tables.ablations import ablations
from ltbench.report.tables.accuracy import accuracy
from ltbench.report.tables.families import by_family
from ltbench.report.variants import main_rows, variants
from matplotlib.colors import to_rgb

DATA = cifar(10, 100)
SIZES = dict(zip(FAMILIES, (1, 4, 3, 4, 5, 6, 2, 4, 1, 1, 0), strict=True))  # number of methods per family
NAMES = {("erm" if name == "baseline" else f"{name}-{k}"): name for name, size in SIZES.items() for k in range(size)}


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> Setting:
    """A setting of 31 methods, as many in each of the ten families as in the suite."""
    monkeypatch.setattr(ltbench.report.statistics, "_families", lambda: NAMES)
    return settings([lifelike(DATA, name, 0, 0.01 * k) for k, name in enumerate(NAMES)])[0]


@pytest.mark.parametrize("name", method_cards())
def test_every_card_names_its_family(name: str) -> None:
    title, line, *_ = method_cards()[name].split("\n\n", 1)[0], method_cards()[name].split("\n\n", 1)[1]
    assert line.startswith("Family: "), title
    assert family(method_cards()[name]) in set(FAMILIES) - {OTHER}


def test_a_card_without_a_known_family_is_other() -> None:
    assert family("Mine.\n\nFamily: margin\nChanges from ERM: none.") == "margin"
    assert family("Mine.\n\nFamily: magic\n") == family("Mine.\n") == OTHER
    assert set(HUES) == set(FAMILIES)


def test_a_file_of_a_user_is_of_no_family() -> None:
    runs = [lifelike(DATA, "erm", 0, 0.1), lifelike(DATA, "erm", 0, 0.2, source="ab" * 32), lifelike(DATA, "me", 0, 0)]
    assert {row.label: row.family for row in settings(runs)[0].rows} == {
        "erm": "baseline", "erm (file abababab)": OTHER, "me": OTHER,
    }  # fmt: skip


def test_methods_are_listed_by_family(cli: Callable[..., Answer]) -> None:
    words = [line.split()[1] for line in cli("list", "methods").out.splitlines()]
    assert words == sorted(words, key=FAMILIES.index)
    assert words[0] == "baseline"


def test_the_leaderboard_stays_a_ranking_with_a_column(suite: Setting) -> None:
    table = accuracy(suite, Evidence())
    assert [line["method"] for line in table.lines] == [row.label for row in suite.rows]
    assert {line["method"]: line["family"] for line in table.lines} == NAMES
    alone = settings([lifelike(DATA, "erm", 0, 0)])[0]
    assert "family" not in accuracy(alone, Evidence()).headings, "one family needs no column"
    lines = list(csv.DictReader(io.StringIO(csv_text(Document([section(suite, Evidence())])))))
    assert {line["label"]: line["family"] for line in lines} == NAMES
    text = latex(Document([section(suite, Evidence())]))
    assert "family" not in text.split(r"\end{table*}")[0], "no room beside eleven columns"
    assert "Methods by family" in text


def test_the_methods_of_a_family_stand_best_first(suite: Setting) -> None:
    table = by_family(suite, Evidence())
    assert [line["family"] for line in table.lines] == list(FAMILIES[:-1])
    prior = next(line for line in table.lines if line["family"] == "prior")
    order = [row.label for row in suite.rows if row.family == "prior"]
    assert (prior["best"], prior["methods"]) == (order[0], "5")
    assert [word.split()[0] for word in prior["others"].split(", ")] == order[1:]
    few = settings([lifelike(DATA, name, 0, 0) for name in ("erm", "prior-0", "margin-0")])[0]
    assert by_family(few, Evidence()).lines == [], "it would repeat the leaderboard"


def with_variants() -> list[Record]:
    runs = [lifelike(DATA, name, seed, 0.1) for name in ("erm", "open", "rsg") for seed in range(3)]
    runs += [lifelike(DATA, "open", seed, 0.3, changed={"norm": "standard"}) for seed in range(3)]
    return runs + [lifelike(DATA, "rsg", seed, lift, changed={"p": lift}) for seed in range(3) for lift in (0.2, 0.4)]


def test_variants_stand_beside_the_row_of_their_method_only() -> None:
    (setting,) = settings(with_variants())
    names = {t.name: [line.get("method", "") for line in t.lines] for t in tables(setting, Evidence())}
    assert sorted(names["accuracy"]) == sorted(names["cost"]) == ["erm", "open", "rsg"]
    rows = [["open", "open (norm=standard)"], ["rsg", "rsg (p=0.4)", "rsg (p=0.2)"]]
    assert names["ablations"] in (rows[0] + rows[1], rows[1] + rows[0])
    table = ablations(setting, Evidence()).frame.set_index("method")
    assert table.loc["open", ["minus first", "verdict", "pairs"]].tolist() == ["–", "the first row", "–"]
    accuracies = {row.label: row.overall.mean for row in setting.rows}
    gap = 100 * (accuracies["open (norm=standard)"] - accuracies["open"])
    assert table.loc["open (norm=standard)", "minus first"].startswith(f"+{gap:.1f} [")
    assert table.loc["open (norm=standard)", "pairs"] == "3"
    assert "Variants of a method have a table of their own." in accuracy(setting, Evidence()).notes
    lines = section(setting, Evidence()).numbers
    assert {line["label"] for line in lines} == set(accuracies), "the CSV has all rows"
    assert all("difference" in line for line in lines)


def test_the_best_variant_stands_for_a_method_without_defaults() -> None:
    runs = [lifelike(DATA, "open", 0, lift, changed={"p": lift}) for lift in (0.1, 0.3)]
    runs += [lifelike(DATA, "mine", 0, lift, source="cd" * 32, changed=changed) for lift, changed in (
        (0.1, {}), (0.3, {"a": 1})
    )]  # fmt: skip
    (setting,) = settings(runs)
    assert {row.label for row in main_rows(setting).rows} == {"open (p=0.3)", "mine (file cdcdcdcd)"}
    assert [row.label for row in variants(setting).rows][:2] == ["open (p=0.3)", "open (p=0.1)"]
    assert "minus first" in ablations(setting, Evidence()).headings


def test_a_family_has_shades_of_one_hue(suite: Setting) -> None:
    looks = {row.label: look(suite, row) for row in suite.rows}
    assert looks["erm"]["color"] == "black"
    assert len({shown["color"] for shown in looks.values()}) == 31
    for name, family_of_it in NAMES.items():
        hue, saturation, _ = colorsys.rgb_to_hsv(*to_rgb(looks[name]["color"]))
        if saturation:
            assert hue == pytest.approx(colorsys.rgb_to_hsv(*to_rgb(HUES[family_of_it]))[0], abs=0.02), name
    for of_one in FAMILIES:
        shown = [looks[name] for name, other in NAMES.items() if other == of_one]
        assert len({(each["marker"], str(each["linestyle"])) for each in shown}) == len(shown), (
            "distinct without colour"
        )


def test_no_axes_have_more_than_ten_lines(suite: Setting) -> None:
    rows = line_rows(suite)
    assert len(rows.rows) == 31
    for figure in (class_lines(rows), training_curves(rows), training_losses(rows)):
        assert figure is not None
        assert max(len(axes.lines) for axes in figure.axes) <= 10
        titles = [axes.get_title(loc="left") for axes in figure.axes]
        assert titles == [*(name for name in FAMILIES if SIZES[name] > 1), "families of one method"]
        named = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert sorted([*named, "erm"]) == sorted(NAMES)
    assert training_losses(few_rows(suite)) is None, "with few rows, losses are drawn beside accuracies"


def test_figures_of_few_rows_show_every_family(suite: Setting) -> None:
    chosen = few_rows(suite).rows
    assert {row.family for row in chosen} == set(FAMILIES[:-1])
    assert len(chosen) == 10
    assert all(kind.rows in (bar_rows, few_rows, line_rows) for name, kind in FIGURES.items() if name != "ablations")


def test_long_charts_are_sorted_by_family(suite: Setting) -> None:
    rows = bar_rows(suite)
    assert [row.family for row in rows.rows] == sorted((row.family for row in suite.rows), key=FAMILIES.index)
    figure = class_differences(rows)
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].texts] == list(FAMILIES[1:-1])
