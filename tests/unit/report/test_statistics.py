"""Means, standard deviations, and grouping into settings; all expected numbers are computed by hand."""

from __future__ import annotations

import pytest
from helpers.report_records import RECIPE, dataset, record
from ltbench.benchmarks.records.schema import RunFacts
from ltbench.report.notes import notes
from ltbench.report.statistics import class_accuracies, mean_accuracy, settings, spread

DATA = dataset([200, 44, 10])  # one class each in many, medium, few


def test_spread() -> None:
    result = spread([0.5, 0.6, 0.7])
    assert (result.mean, result.sd, result.n) == (pytest.approx(0.6), pytest.approx(0.1), 3)
    assert spread([0.5, 0.7]).sd == pytest.approx(0.1414213562)  # n - 1 in the denominator
    assert spread([0.5]).sd is None


def test_overall_is_the_mean_over_classes_of_any_test_set() -> None:
    r = record(dataset([200, 50], test_counts=[1000, 10]), [900, 1])
    assert class_accuracies(r).tolist() == [0.9, 0.1]
    assert mean_accuracy(r) == pytest.approx(0.5)  # the plain accuracy would be 901 / 1010 = 0.892


def test_rows_average_over_seeds_and_groups() -> None:
    data = dataset([200, 150, 50, 10])
    runs = [record(data, [90, 70, 50, 10], seed=0), record(data, [80, 60, 60, 40], seed=1)]
    (setting,) = settings(runs)
    (row,) = setting.rows
    assert row.overall.mean == pytest.approx(0.575)  # mean of 0.55 and 0.60
    assert row.overall.sd == pytest.approx(0.05 / 2**0.5)
    assert row.groups["many"] is not None
    assert row.groups["many"].mean == pytest.approx(0.75)  # mean of 0.8 and 0.7
    assert row.groups["few"] is not None
    assert row.groups["few"].mean == pytest.approx(0.25)
    assert row.groups["G1"] is None  # four classes cannot be divided into five groups


def test_best_epoch_plays_no_part() -> None:
    (setting,) = settings([record(DATA, [50, 50, 50], best=[100, 100, 100])])
    assert setting.rows[0].overall.mean == pytest.approx(0.5)


def test_rows_are_sorted_and_labelled_by_what_was_changed() -> None:
    runs = [
        record(DATA, [50, 40, 30]),
        record(DATA, [60, 50, 40], method="ldam-drw", changed={"s": 20.0, "max_m": 0.3}),
        record(DATA, [55, 45, 35], method="mine", source="cd" * 32),
    ]
    (setting,) = settings(runs)
    assert [row.label for row in setting.rows] == ["ldam-drw (max_m=0.3, s=20)", "mine (file cdcdcdcd)", "erm"]


def test_equal_labels_are_made_distinct() -> None:
    """After the default of a field has changed, records with the same `changed` may differ in the field's value."""
    old = record(DATA, [50, 40, 30], changed={"s": 20.0})
    values = {"s": 30.0}
    key = RunFacts("erm", None, values, {}, DATA, RECIPE, 0).id
    new = old.model_copy(update={"id": key, "hyperparameters": values})
    first, second = settings([old, new])[0].rows
    assert first.label.startswith("erm (s=20) [")
    assert first.label != second.label


def test_a_repeated_run_counts_once() -> None:
    first, again = record(DATA, [50, 50, 50]), record(DATA, [90, 90, 90])
    assert first.id == again.id
    (row,) = settings([first, again, record(DATA, [70, 70, 70], seed=1)])[0].rows
    assert (row.overall.n, row.repeats) == (2, 1)
    assert row.overall.mean == pytest.approx(0.6)


@pytest.mark.parametrize(
    "other",
    [
        record(dataset([200, 50, 10], checksum="cd" * 32), [60, 60, 60]),
        record(dataset([200, 50, 10], verified=False), [60, 60, 60]),
        record(dataset([200, 50, 10], profile="measured", imbalance=30), [60, 60, 60]),
        record(DATA, [60, 60, 60], recipe=RECIPE | {"epochs": 9}, changed={"recipe.epochs": 9}),
        record(DATA, [60, 60, 60], recipe=RECIPE | {"lr": 0.5}),
    ],
    ids=["checksum", "verified", "imbalance", "epochs", "unnamed recipe value"],
)
def test_unlike_circumstances_are_never_in_one_table(other) -> None:
    both = settings([record(DATA, [50, 50, 50]), other])
    assert [len(setting.rows) for setting in both] == [1, 1]
    assert both[0].title != both[1].title
    assert both[0].id != both[1].id


def test_a_recipe_field_added_later_separates_no_records() -> None:
    """A record without `augment`, from before this field existed, shares the setting of basic augmentation."""
    old = record(DATA, [50, 50, 50])
    new = record(DATA, [60, 60, 60], seed=1, recipe=RECIPE | {"augment": "basic", "optimiser": "sgd"})
    (setting,) = settings([old, new])
    assert setting.rows[0].overall.n == 2
    other = record(DATA, [60, 60, 60], seed=1, recipe=RECIPE | {"augment": "simclr"})
    assert len(settings([old, other])) == 2
    assert any("augmentation simclr" in note for setting in settings([old, other]) for note in notes(setting))


def test_a_changed_recipe_value_is_in_the_title_not_in_the_label() -> None:
    (setting,) = settings([record(DATA, [60, 60, 60], recipe=RECIPE | {"epochs": 9}, changed={"recipe.epochs": 9})])
    assert setting.title == "toy exp20, recipe cifar (epochs=9)"
    assert setting.rows[0].label == "erm"
