"""Atomic writing of records, and validation when they are read."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ltbench.bench
import pytest
import torch
from helpers.tiny import carry_out, tiny_run
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.records.environment import ROOT, checkout, environment, processor
from ltbench.benchmarks.records.parts import Prerequisite
from ltbench.benchmarks.records.schema import DatasetFacts, Record, RunFacts
from ltbench.benchmarks.records.store import (
    find_records,
    misplaced,
    read_all,
    read_folder,
    read_record,
    record_path,
    write_record,
)
from ltbench.benchmarks.utils.atomic_write import write_atomically

RESULTS = Path(ltbench.bench.__file__).parent / "results"


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


def test_the_last_epoch_is_the_result_beside_the_best_one(record: Record) -> None:
    assert record.final.epoch == record.recipe["epochs"] - 1 == record.history.evaluated_epochs[-1]
    assert record.history.accuracy[-1] == pytest.approx(sum(record.final.correct) / 500)
    assert sum(record.best.correct) / 500 == pytest.approx(max(record.history.accuracy))
    assert (
        record.best.epoch
        == record.history.evaluated_epochs[record.history.accuracy.index(max(record.history.accuracy))]
    )


def edited(record: Record, **changes: Any) -> str:
    content = json.loads(record.to_json())
    for name, value in changes.items():
        target, *path = name.split("__")[::-1]
        part = content
        for key in reversed(path):
            part = part[key]
        part[target] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "edited by hand"),
        ({"recipe__epochs": 200}, "edited by hand"),
        ({"hyperparameters": {"x": 1}}, "edited by hand"),
        ({"final__correct": [51] + [0] * 9}, "exceeds dataset.test_counts"),
        ({"final__correct": [1] * 9}, "9 entries for 10 classes"),
        ({"final__correct": [1] * 10}, "diagonal"),
        ({"final__epoch": 7}, "final.epoch"),
        ({"final__confusion": [[0] * 10] * 10}, "do not sum"),
        ({"cost__seconds": -1}, "cost.seconds"),
        ({"cost__seconds": float("nan")}, "cost.seconds"),
        ({"history__accuracy": [0.5]}, "differ in length"),
        ({"note": "mine"}, "note"),
        ({"schema": 6}, "schema 6; this version of ltbench reads schema 2 to 5"),
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
    assert misplaced(read_folder(tmp_path)) == []
    copy = home.with_name(home.name.replace("seed0", "seed1"))
    write_record(record, copy)
    (problem,) = misplaced(read_folder(tmp_path))
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


def test_every_committed_id_follows_from_the_facts_of_its_record() -> None:
    for path in find_records(RESULTS):
        values = json.loads(path.read_text())
        facts = RunFacts(**{field.name: values[field.name] for field in dataclasses.fields(RunFacts)})
        facts = dataclasses.replace(facts, dataset=DatasetFacts(**values["dataset"]))
        assert facts.id == values["id"]
        assert record_path(RESULTS, facts) == path
        assert facts.setting_id[:8] in path.name


def test_runs_that_differ_in_the_seed_share_their_setting(record: Record) -> None:
    other = tiny_run(seed=1).facts
    assert (other.setting_id, record.facts.setting_id) == (record.facts.setting_id, tiny_run().facts.setting_id)
    assert other.id != record.id == record.facts.id


def test_a_prerequisite_without_a_seed_is_of_an_earlier_record(record: Record) -> None:
    facts = {"method": "erm", "id": record.id, "use": "prefix", "epochs": 1, "seconds": 1.0, "reused": False}
    assert Prerequisite(**facts, commit=None).seed is None


def test_environment_names_the_commit_of_the_checkout() -> None:
    """The commit must be found wherever the module is in the package; None would mean that there is no checkout."""
    root = RESULTS.parent
    words = ["git", "-C", str(root), "rev-parse", "HEAD"]
    head = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ROOT.samefile(root)
    assert environment(torch.device("cpu")).commit == (head.stdout.strip() if (root / ".git").exists() else None)


def test_environment_sees_uncommitted_changes_of_the_code_alone(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert checkout(tmp_path) == (None, None)
    git("init", "-q")
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "mine.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "one")
    head = git("rev-parse", "HEAD").strip()
    assert checkout(tmp_path) == (head, False)
    (tmp_path / "notes.txt").write_text("1")
    assert checkout(tmp_path) == (head, False)
    (tmp_path / "methods" / "other.py").write_text("1")
    assert checkout(tmp_path) == (head, True)


def test_a_folder_that_cannot_be_read_is_named(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(record, tmp_path / "good.json")
    walk = os.walk

    def closed(top: Path, onerror: Any) -> Any:
        onerror(PermissionError(13, "Permission denied", str(top / "closed")))
        return walk(top)

    monkeypatch.setattr(os, "walk", closed)
    assert read_all(tmp_path) == ([record], [f"Cannot read {tmp_path / 'closed'}: permission denied."])


def test_environment_names_the_libraries_and_the_processor(record: Record, tmp_path: Path) -> None:
    for package in ("torchvision", "timm", "numpy"):
        assert getattr(record.environment, package) == version(package)
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Ryzen: 5 \nprocessor\t: 1\nmodel name\t: other\n")
    assert processor(tmp_path / "cpuinfo") == "Ryzen: 5"
    (tmp_path / "cpuinfo").write_text("Hardware : BCM\n")
    assert processor(tmp_path / "cpuinfo") is None
    assert processor(tmp_path / "nothing") == (platform.processor() or None)


def test_bf16_is_not_measured(record: Record) -> None:
    assert record.environment.bf16 is None
