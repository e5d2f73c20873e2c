"""The record contains the environment of each part of the training, even if several processes trained the run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.callbacks import StopAfter
from helpers.tiny import carry_out, tiny_run
from ltbench.benchmarks.records.environment import environment
from ltbench.benchmarks.records.parts import Environment, TrainedEpochs
from ltbench.benchmarks.training import checkpoint
from ltbench.benchmarks.training.trainer import execute

CPU = torch.device("cpu")
OLD = environment(CPU).model_copy(update={"commit": "a" * 40, "dirty": True, "threads": 3, "torch": "2.6"})
NEW = environment(CPU).model_copy(update={"commit": "b" * 40, "dirty": False})


@pytest.fixture
def within(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Function that sets the environment of the runs that follow."""

    def set_to(where: Environment) -> None:
        monkeypatch.setattr("ltbench.benchmarks.training.context.environment", lambda device: where)

    return set_to


def parts(trained: list[TrainedEpochs]) -> list[tuple[int, str | None]]:
    return [(part.epochs, part.environment.commit) for part in trained]


def test_a_resumed_run_names_the_circumstances_of_each_part(within, tmp_path: Path) -> None:
    within(OLD)
    with pytest.raises(KeyboardInterrupt):
        execute(tiny_run(epochs=4), CPU, tmp_path, StopAfter(3))
    within(NEW)
    record = carry_out(tiny_run(epochs=4), tmp_path)
    assert record.trained == [TrainedEpochs(epochs=3, environment=OLD), TrainedEpochs(epochs=1, environment=NEW)]
    assert record.environment == NEW


def test_a_run_resumed_under_the_same_circumstances_has_one_part(within, tmp_path: Path) -> None:
    within(NEW)
    for epochs in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            execute(tiny_run(epochs=4), CPU, tmp_path, StopAfter(epochs))
    assert parts(carry_out(tiny_run(epochs=4), tmp_path).trained) == [(4, NEW.commit)]


def test_a_run_that_is_only_evaluated_keeps_who_trained_it(within, tmp_path: Path) -> None:
    within(OLD)
    carry_out(tiny_run(), tmp_path)
    within(NEW)
    record = carry_out(tiny_run(), tmp_path)
    assert parts(record.trained) == [(3, OLD.commit)]
    assert record.environment == NEW


def test_shared_epochs_and_networks_name_theirs(within, tmp_path: Path) -> None:
    within(OLD)
    carry_out(tiny_run("drs", epochs=5), tmp_path)
    other = tiny_run("erm", seed=1, epochs=5)
    with pytest.raises(KeyboardInterrupt):
        execute(other, CPU, tmp_path, StopAfter(2))
    within(NEW)
    record = carry_out(tiny_run("m2m", epochs=5), tmp_path)
    assert parts(record.trained) == [(4, OLD.commit), (1, NEW.commit)]
    prefix, network = record.cost.prerequisites
    assert (parts(prefix.trained), prefix.reused) == ([(4, OLD.commit)], True)
    assert (network.id, parts(network.trained)) == (other.id, [(2, OLD.commit), (3, NEW.commit)])
    assert network.commit == NEW.commit, "the commit is that of the last part"


def test_an_erm_run_made_of_another_runs_beginning_names_it(within, tmp_path: Path) -> None:
    within(OLD)
    carry_out(tiny_run("drs", epochs=5), tmp_path)
    checkpoint.remove(tmp_path / tiny_run("drs", epochs=5).id)
    within(NEW)
    record = carry_out(tiny_run("erm", epochs=5), tmp_path)
    assert parts(record.trained) == [(4, OLD.commit), (1, NEW.commit)]
