"""Execution of one run from its specification to its record, and facts that are computed only once."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
import torch
from helpers.tiny import carry_out, tiny_run, without_timings
from ltbench.benchmarks.method import Backbone
from ltbench.benchmarks.network import Classifier, Head
from ltbench.benchmarks.records.environment import ROOT
from ltbench.benchmarks.split import Split
from ltbench.benchmarks.training.history import History
from ltbench.methods.erm import ERM
from torch import Tensor, nn

TESTS = 500


class CountsEvaluations(ERM):
    """ERM that counts the images its network processes in evaluation mode."""

    def network(self, backbone: Backbone, num_classes: int, head: Head) -> Classifier:
        self.images_ = 0

        def count(net: nn.Module, inputs: tuple[Tensor]) -> None:
            self.images_ += len(inputs[0]) * (not net.training)

        net = super().network(backbone, num_classes, head)
        net.register_forward_pre_hook(count)
        return net


class Finishes(CountsEvaluations):
    """Method that changes the network in `finish`."""

    def finish(self, net: Classifier, train: Split) -> Classifier:
        with torch.no_grad():
            net.head.weight.mul_(2)  # type: ignore[operator,union-attr]
        return net


@pytest.mark.parametrize(("method", "evaluations"), [(CountsEvaluations(), 3), (Finishes(), 4)])
def test_the_last_epoch_of_erm_is_evaluated_once(method: CountsEvaluations, evaluations: int, tmp_path: Path) -> None:
    """Only a method that changes the network in `finish` needs a second evaluation."""
    record = carry_out(dataclasses.replace(tiny_run(), method=method), tmp_path)
    assert method.images_ == evaluations * TESTS
    assert record.history.evaluated_epochs == [0, 1, 2]
    assert list((tmp_path / record.id).glob("epoch-*3.pt"))


def test_git_is_asked_once_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git, log = tmp_path / "git", tmp_path / "log"
    git.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {shutil.which("git")} "$@"\n')
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    carry_out(tiny_run("drs", epochs=5), tmp_path)
    calls = log.read_text().splitlines() if log.exists() else []
    assert len(calls) == (ROOT / ".git").exists()


def test_facts_of_a_run_are_computed_once() -> None:
    spec = tiny_run()
    assert spec.facts is spec.facts
    assert spec.id is spec.id
    assert dataclasses.replace(spec, seed=1).id != spec.id, "the id is computed for each run"


def test_a_run_that_only_evaluates_has_the_same_record(tmp_path: Path) -> None:
    """Resume from the last checkpoint, as after a kill between the last epoch and the writing of the record."""
    first = carry_out(tiny_run(), tmp_path)
    assert without_timings(carry_out(tiny_run(), tmp_path)) == without_timings(first)


def test_history_notes_losses_measures_and_evaluations() -> None:
    history = History()
    for epoch, (loss, correct) in enumerate([(3.0, [2, 1]), (2.0, [2, 2]), (1.0, [1, 3])]):
        history.add(loss, 10, 0.5, {"rejected": epoch / 2})
        if epoch != 1:
            history.evaluated(torch.tensor([[correct[0], 3 - correct[0]], [4 - correct[1], correct[1]]]))
    assert (history.epochs, history.images, history.seconds_training, history.images_per_second) == (3, 30, 1.5, 20)
    assert history.measures == {"rejected": [(0, 0.0), (1, 0.5), (2, 1.0)]}
    assert (history.correct, history.tests) == ({0: [2, 1], 2: [1, 3]}, [3, 4])
    assert history.accuracies == [11 / 24, 13 / 24], "the mean over the classes, not over the images"
    assert history.best_epoch == 2
    history.evaluated(torch.tensor([[2, 1], [3, 1]]))
    assert (history.correct[2], history.best_epoch) == ([2, 1], 0), "the later evaluation counts; a tie keeps the first"
    history.evaluated(torch.tensor([[3, 0], [4, 0]]))
    assert history.best_epoch == 2, "1/2 > 11/24; by images both epochs have 3 of 7"
    assert History.from_dict(history.to_dict()) == history


@pytest.mark.parametrize(
    ("method", "settings", "reason"),
    [
        ("drs", (), "defer = 0.8"),
        ("drw", (), "defer = 0.8"),
        ("ldam-drw", (), "defer = 0.8"),
        ("open", (), "start = 0.8"),
        ("rsg", ("rsg.base=ldam-drw", "rsg.start=0"), "base.defer = 0.8"),
        ("ldam-drw", ("ldam-drw.defer=1",), ""),  # LDAM alone, as intended
        ("drs", ("drs.defer=0.5",), ""),
        ("drs", ("drs.defer=1",), "those of erm"),
        ("erm", (), ""),
        ("oversample", (), ""),
    ],
)
def test_a_run_too_short_for_its_method_says_so(method: str, settings: tuple[str, ...], reason: str) -> None:
    short, long = tiny_run(method, epochs=4, settings=settings), tiny_run(method, epochs=5, settings=settings)
    assert (reason in short.inactive) if reason else not short.inactive
    assert bool(long.inactive) == (reason == "those of erm")
    assert any("will not be ranked" in caution for caution in short.cautions) == bool(reason)


def test_the_record_of_a_run_too_short_for_its_method_says_so(tmp_path: Path) -> None:
    records = {epochs: carry_out(tiny_run("drw", epochs=epochs), tmp_path) for epochs in (4, 5)}
    assert records[4].inactive == "none of its 4 epochs reaches defer = 0.8"
    assert records[5].inactive == ""
    erm = carry_out(tiny_run("erm", epochs=4), tmp_path)
    assert records[4].final == erm.final, "bit for bit"
