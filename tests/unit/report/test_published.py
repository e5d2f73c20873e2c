"""results/published.toml: every number has a source and a protocol, and matches our rows of the same dataset."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.report_records import RECIPE, cifar, record
from ltbench.benchmarks.errors import UserError
from ltbench.report.published import FILE, PublishedTable, augmentation, matches, read_published
from ltbench.report.statistics import settings

TABLES = read_published()
GOOD = {
    "source": "Doe 2030", "where": "Table 1", "evidence": "[Doe]", "backbone": "resnet32", "epochs": 3,
    "augmentation": "flip, crop", "metric": "error", "selection": "last epoch", "columns": ["cifar10-lt exp100"],
    "rows": {"erm": [30.0]},
}  # fmt: skip
PLAIN = RECIPE | {"crop_padding": 4, "flip": True}


def value(source: str, where: str, column: str, row: str) -> float | str:
    (table,) = (t for t in TABLES if t.source.startswith(source) and t.where == where and row in t.rows)
    return table.rows[row][table.columns.index(column)]


def test_the_committed_file_is_whole() -> None:
    assert len(TABLES) >= 60
    assert {t.source.split(" ")[0] for t in TABLES} >= {"Wang", "Cao", "Zada", "Kozerawski"}
    assert sum(v != "-" for t in TABLES for row in t.rows.values() for v in row) > 600


@pytest.mark.parametrize(
    ("source", "where", "column", "row", "expected"),
    [
        ("Wang", "Table 6", "cifar10-lt exp100", "rsg", 20.45),
        ("Wang", "Table 6, quoted rows", "cifar100-lt step50", "ldam-drw", 50.97),
        ("Cao", "Tables 2 and 5", "cifar100-lt exp10", "drs", 42.74),
    ],
)
def test_numbers_read_by_hand(source: str, where: str, column: str, row: str, expected: float) -> None:
    assert value(source, where, column, row) == expected


def test_no_cell_stands_twice() -> None:
    cells = set()
    for t in TABLES:
        for row, values in t.rows.items():
            for column, number in zip(t.columns, values, strict=True):
                key = (t.source, t.where, t.backbone, t.epochs, t.augmentation, column, row)
                assert number == "-" or key not in cells, key
                cells.add(key)


@pytest.mark.parametrize("key", sorted(set(GOOD)))
def test_a_number_without_its_source_or_protocol_is_refused(key: str, tmp_path: Path) -> None:
    path = tmp_path / "published.toml"
    lines = [f"{k} = {v!r}" for k, v in GOOD.items() if k not in (key, "rows")]
    rows = "" if key == "rows" else '\n[table.rows]\n"erm" = [30.0]\n'
    path.write_text("[[table]]\n" + "\n".join(lines) + rows)
    with pytest.raises(UserError, match=rf"published\.toml: table 1 \(.*\): {key}: Field required"):
        read_published(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": " "}, "at least 1 character"),
        ({"rows": {"erm": [30.0, 20.0]}}, "row 'erm' has 2 numbers for 1 columns"),
        ({"rows": {"erm": [300.0]}}, "less than 100"),
        ({"columns": ["CIFAR-10"]}, "is not 'dataset profile'"),
        ({"standard_errors": {"drw": [0.1]}}, "a standard error in row 'drw' belongs to no number"),
        ({"dropout": 0.3}, "Extra inputs"),
    ],
)
def test_what_else_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PublishedTable.model_validate(GOOD | change)


def test_a_missing_or_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot read the published numbers in .*nothing\.toml"):
        read_published(tmp_path / "nothing.toml")
    (tmp_path / "bad.toml").write_text("[[table")
    with pytest.raises(UserError, match=r"bad\.toml"):
        read_published(tmp_path / "bad.toml")


def test_errors_become_accuracies_and_equal_protocols_no_mark() -> None:
    table = PublishedTable.model_validate(GOOD | {"standard_errors": {"erm": [0.2]}})
    (setting,) = settings([record(cifar(10, 100), [700] * 10, recipe=PLAIN)])
    (match,) = matches(setting, [table])
    assert (match.label, match.accuracy, match.error, match.differs) == ("erm", 70.0, 0.2, [])
    assert match.ours.mean == pytest.approx(0.7)


def test_every_difference_of_protocol_is_marked() -> None:
    other = {
        "backbone": "wrn-28-10",
        "epochs": 200,
        "augmentation": "crop, flip, Cutout",
        "selection": "best test epoch",
    }
    table = PublishedTable.model_validate(GOOD | other)
    data = cifar(10, 100, changed={"holdout": True}, options={"holdout": True}, verified=False)
    (setting,) = settings([record(data, [700] * 10, recipe=PLAIN)])
    assert matches(setting, [table])[0].differs == [
        "backbone wrn-28-10", "epochs 200", "augmentation crop, flip, Cutout", "best test epoch",
        "our split has holdout=True", "our files are not verified",
    ]  # fmt: skip


def test_another_dataset_ratio_or_row_does_not_meet() -> None:
    table = PublishedTable.model_validate(GOOD)
    others = [
        record(cifar(100, 100), [70] * 100, recipe=PLAIN),
        record(cifar(10, 50), [700] * 10, recipe=PLAIN),
        record(cifar(10, 100), [700] * 10, "drw", recipe=PLAIN),
        record(cifar(10, 100), [700] * 10, changed={"x": 1}, recipe=PLAIN),
    ]
    assert [m for s in settings(others) for m in matches(s, [table])] == []


def test_groups_meet_their_own_columns() -> None:
    columns = ["cifar100-lt exp100", "cifar100-lt exp100 many", "cifar100-lt exp100 few"]
    table = PublishedTable.model_validate(
        GOOD | {"metric": "accuracy", "columns": columns, "rows": {"erm": [40.0, "-", 10.0]}}
    )
    (setting,) = settings([record(cifar(100, 100), [90] * 35 + [30] * 35 + [6] * 30, recipe=PLAIN)])
    assert [(m.group, m.accuracy, round(m.ours.mean, 3)) for m in matches(setting, [table])] == [
        ("", 40.0, 0.438),
        ("few", 10.0, 0.06),
    ]


def test_augmentation_in_the_words_of_papers() -> None:
    assert augmentation(PLAIN) == "crop, flip"
    assert augmentation(PLAIN | {"cutout": 16, "augment": "simclr"}) == "crop, flip, Cutout, SimCLR"
    assert augmentation(PLAIN | {"augment": "autoaugment"}) == "AutoAugment"
    assert augmentation(PLAIN | {"augment": "autoaugment", "keep_base": True}) == "crop, flip, AutoAugment"


def test_the_file_stands_where_the_report_looks() -> None:
    assert FILE.is_file()


@pytest.mark.parametrize("base", ["erm", "focal", "m-drw"])
def test_rsg_on_other_losses_has_the_labels_of_our_rows(base: str) -> None:
    run = record(cifar(10, 50), [700] * 10, "rsg", changed={"base": base}, recipe=PLAIN)
    (match,) = matches(settings([run])[0], TABLES)
    assert match.label == f"rsg (base={base})"
