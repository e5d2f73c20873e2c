"""Warnings about runs whose parts were computed in different environments."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.report_records import cifar, lifelike, record
from ltbench.benchmarks.records.parts import Environment, Prerequisite, TrainedEpochs
from ltbench.benchmarks.records.schema import Record
from ltbench.report.costs import comparable
from ltbench.report.describe import circumstances, detail
from ltbench.report.notes import notes
from ltbench.report.origins import distinct, mixed, parts_in_words
from ltbench.report.statistics import settings

DATA = cifar(10, 100)
PLAIN = lifelike(DATA, "erm", 0, 0.0).environment


def run(**facts: Any) -> Record:
    return record(DATA, [500] * 10, "drs", **facts)


def trained(*parts: tuple[int, dict[str, Any]]) -> list[TrainedEpochs]:
    return [TrainedEpochs(epochs=epochs, environment=PLAIN.model_copy(update=changes)) for epochs, changes in parts]


def shared(changes: dict[str, Any]) -> Prerequisite:
    facts: dict[str, Any] = {"method": "erm", "id": "0" * 16, "seconds": 1.0, "reused": True, "use": "network"}
    return Prerequisite(**facts, epochs=3, commit=PLAIN.commit, trained=trained((3, changes)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"commit": "f" * 40}, ["commit"]),
        ({"dirty": True}, ["uncommitted changes"]),
        ({"torch": "2.5", "threads": 8}, ["threads", "torch"]),
        ({"device": "cuda", "cpu": "other"}, ["device"]),
        ({"numpy": "2.0"}, []),
        ({}, []),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_differs_between_the_parts_of_a_run(changes: dict[str, Any], words: list[str]) -> None:
    """A fact that is recorded for only one of the parts is not a difference, because older records lack it."""
    for record_ in (run(trained=trained((2, changes), (1, {}))), run(prerequisites=[shared(changes)])):
        assert sorted(mixed(record_)) == words


def test_notes_name_the_rows_and_what_differs() -> None:
    runs = [lifelike(DATA, "erm", seed, 0.0) for seed in (0, 1)]
    runs += [run(seed=0), run(seed=1, trained=trained((2, {"commit": "f" * 40, "dirty": True}), (1, {})))]
    (setting,) = settings(runs)
    text = " ".join(notes(setting))
    assert "computed in different environments: drs, seed 1 (commit, uncommitted changes)." in text
    assert "Made with uncommitted changes: drs, seed 1." in text
    assert "commits 12345678, ffffffff" in text
    assert "different environments" not in " ".join(notes(settings(runs[:3])[0]))


def test_earlier_records_differ_in_what_they_name() -> None:
    facts: dict[str, Any] = {"method": "erm", "id": "0" * 16, "seconds": 1.0, "reused": True, "use": "prefix"}
    part = Prerequisite(**facts, epochs=2, commit="f" * 40, torch=PLAIN.torch)
    assert mixed(run(prerequisites=[part])) == ["commit"]


def test_a_record_shows_which_epochs_were_trained_with_what() -> None:
    odd = run(trained=trained((2, {"commit": "f" * 40, "dirty": True, "threads": 4}), (1, {})))
    assert parts_in_words(odd) == circumstances(odd)["parts"] == (
        "epochs 1 to 2: commit ffffffff with uncommitted changes, torch 2.6, cpu, 4 thread(s); "
        "epoch 3: commit 12345678, torch 2.6, cpu, 1 thread(s); "
        "evaluation: commit 12345678, torch 2.6, cpu, 1 thread(s)"
    )  # fmt: skip
    assert "parts" not in circumstances(run())
    (setting,) = settings([odd])
    assert detail(setting.rows[0]).runs[0]["commit"] == "12345678, ffffffff*"
    assert not comparable(setting), "timed with 4 threads and with 1"
    assert distinct([odd], "threads") == ["1", "4"]


def test_the_environment_is_shown_with_its_versions() -> None:
    versions = {"torchvision": "0.21", "timm": "1.0", "numpy": "2.2", "cpu": "Model 5"}
    environment = Environment(**PLAIN.model_dump() | versions)
    shown = circumstances(run().model_copy(update={"environment": environment}))["versions"]
    assert shown == "Python 3.11, torch 2.6, torchvision 0.21, timm 1.0, numpy 2.2, Linux, Model 5"
    assert circumstances(run())["versions"] == "Python 3.11, torch 2.6, Linux"
