"""Records and checkpoints: whole or not at all, checked before they are trusted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import carry_out, tiny_run, without_timings
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.records.schema import Record
from ltbench.benchmarks.records.store import misplaced, read_all, read_record, write_record
from ltbench.benchmarks.training import checkpoint
from ltbench.benchmarks.utils.atomic_write import write_atomically


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return carry_out(tiny_run(), tmp_path_factory.mktemp("runs"))


def test_round_trip(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "record.json"
    write_record(record, path)
    assert read_record(path) == record
    text = path.read_text()
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert [p.name for p in path.parent.iterdir()] == ["record.json"], "no temporary file is left"


def test_the_last_epoch_is_the_result_and_the_best_stands_beside_it(record: Record) -> None:
    assert record.final.epoch == record.recipe["epochs"] - 1 == record.history.evaluated_epochs[-1]
    assert record.history.accuracy[-1] == pytest.approx(sum(record.final.correct) / 500)
    assert sum(record.best.correct) / 500 == pytest.approx(max(record.history.accuracy))
    assert (
        record.best.epoch
        == record.history.evaluated_epochs[record.history.accuracy.index(max(record.history.accuracy))]
    )


def edited(record: Record, **changes: Any) -> str:
    content = json.loads(record.to_json())
    for place, value in changes.items():
        target, *path = place.split("__")[::-1]
        part = content
        for key in reversed(path):
            part = part[key]
        part[target] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "changed by hand"),
        ({"recipe__epochs": 200}, "changed by hand"),
        ({"hyperparameters": {"x": 1}}, "changed by hand"),
        ({"final__correct": [51] + [0] * 9}, "exceeds dataset.test_counts"),
        ({"final__correct": [1] * 9}, "9 entries for 10 classes"),
        ({"final__correct": [1] * 10}, "diagonal"),
        ({"final__epoch": 7}, "final.epoch"),
        ({"final__confusion": [[0] * 10] * 10}, "does not sum"),
        ({"cost__seconds": -1}, "cost.seconds"),
        ({"cost__seconds": float("nan")}, "cost.seconds"),
        ({"history__accuracy": [0.5]}, "differ in length"),
        ({"note": "mine"}, "note"),
        ({"schema": 3}, "schema 3; this version of ltbench reads schema 2"),
        ({"schema": 1}, "records.migrate RESULTS RUNS"),
        ({"dataset__train_counts": [0] * 10}, "train_counts"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_changed_record_is_refused(record: Record, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(edited(record, **changes))
    with pytest.raises(UserError, match=words) as error:
        read_record(path)
    assert str(path) in str(error.value)


def test_a_copied_record_is_misplaced(record: Record, tmp_path: Path) -> None:
    home = tiny_run().path(tmp_path)
    write_record(record, home)
    assert misplaced(tmp_path) == []
    copy = home.with_name(home.name.replace("seed0", "seed1"))
    write_record(record, copy)
    (problem,) = misplaced(tmp_path)
    assert str(copy) in problem


def test_one_bad_file_harms_no_other(record: Record, tmp_path: Path) -> None:
    write_record(record, tmp_path / "good.json")
    (tmp_path / "bad.json").write_text(record.to_json()[:-40])
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / ".good.json.x.tmp").write_text("{")
    records, problems = read_all(tmp_path)
    assert records == [record]
    assert len(problems) == 2
    assert all("not JSON" in problem for problem in problems)


def test_id_depends_on_what_determines_the_run(record: Record, tmp_path: Path) -> None:
    same = tiny_run()
    assert record.id == same.id
    assert same.path(tmp_path) == tiny_run().path(tmp_path)
    others = [
        tiny_run(seed=1),
        tiny_run("drs"),
        tiny_run("oversample", settings=("gamma=0.5",)),
        tiny_run("oversample"),
        tiny_run(settings=("dataset.split_seed=1",)),
        tiny_run(settings=("recipe.lr=0.05",)),
        tiny_run(epochs=4),
    ]
    assert len({run.id for run in [same, *others]}) == len(others) + 1
    assert len({run.path(tmp_path) for run in [same, *others]}) == len(others) + 1


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="no space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def state(number: int) -> dict[str, Any]:
    return {"epoch": number, "net": {"weight": torch.full((3,), float(number))}}


def test_checkpoints_keep_two_and_load_the_newer(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    for number in (1, 2, 3):
        checkpoint.save(tmp_path, state(number), number)
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded["epoch"] == 3
    assert len(list(tmp_path.iterdir())) == 2
    checkpoint.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_it_used(tmp_path: Path, damage: str) -> None:
    for number in (1, 2):
        checkpoint.save(tmp_path, state(number), number)
    newer = tmp_path / checkpoint.SLOTS[0]
    content = bytearray(newer.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    newer.write_bytes({"flip": bytes(content), "truncate": bytes(content[:100]), "empty": b""}[damage])
    with pytest.warns(UserWarning, match="damaged"):
        loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded["epoch"] == 1


def test_resuming_past_a_damaged_checkpoint_gives_the_same_record(record: Record, tmp_path: Path) -> None:
    run = tiny_run()
    carry_out(run, tmp_path)  # leaves both checkpoints of the last two epochs
    newest = tmp_path / run.id / checkpoint.SLOTS[3 % 2]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(bytes(content))
    with pytest.warns(UserWarning, match="damaged"):
        again = carry_out(tiny_run(), tmp_path)
    assert without_timings(again) == without_timings(record)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    run = tiny_run()
    carry_out(run, tmp_path)
    for slot in checkpoint.SLOTS:
        path = tmp_path / run.id / slot
        loaded = checkpoint._read(path)
        assert loaded is not None
        loaded["net"].popitem()
        checkpoint.save(path.parent, {k: v for k, v in loaded.items() if k != "number"}, loaded["number"])
    with pytest.raises(UserError, match="another version"):
        carry_out(tiny_run(), tmp_path)
