"""Checkpoints: two slots, validation when read, and refusal of checkpoints of other runs or versions."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.command import Answer
from helpers.tiny import carry_out, tiny_run, without_timings
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.records.environment import environment
from ltbench.benchmarks.records.parts import TrainedEpochs
from ltbench.benchmarks.records.schema import Record
from ltbench.benchmarks.training import checkpoint
from ltbench.benchmarks.training.checkpoint import DIGEST, SLOTS, Checkpoint
from ltbench.benchmarks.training.history import History
from ltbench.benchmarks.training.run_spec import RunSpec

Trained = Callable[[RunSpec, Path], None]

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[RunSpec, Path], None]:
    """Function that copies the files of a trained run to a folder; each run is trained only once."""
    originals: dict[str, Path] = {}

    def copy_of(spec: RunSpec, runs: Path) -> None:
        if spec.id not in originals:
            originals[spec.id] = tmp_path_factory.mktemp("trained")
            carry_out(spec, originals[spec.id])
        shutil.copytree(originals[spec.id], runs, dirs_exist_ok=True)

    return copy_of


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return carry_out(tiny_run(), tmp_path_factory.mktemp("runs"))


def state(folder: Path, number: int) -> Checkpoint:
    net, optimiser = {"weight": torch.full((3,), float(number))}, {"state": {}, "param_groups": []}
    trained = [TrainedEpochs(epochs=number, environment=environment(CPU))]
    return Checkpoint(folder.name, 0, number - 1, net, optimiser, [], History([1.0] * number, trained=trained))


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the contents of a checkpoint and update its digest."""
    values = torch.load(io.BytesIO(path.read_bytes()[DIGEST:]), weights_only=True)
    change(values)
    buffer = io.BytesIO()
    torch.save(values, buffer)
    path.write_bytes(hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())


def test_checkpoints_keep_two_and_load_the_newer(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    for number in (1, 2, 3):
        checkpoint.save(tmp_path, state(tmp_path, number))
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded.number == 3
    assert len(list(tmp_path.iterdir())) == 2
    checkpoint.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_instead_of_a_damaged_checkpoint_the_one_before_is_used(tmp_path: Path, damage: str) -> None:
    for number in (1, 2):
        checkpoint.save(tmp_path, state(tmp_path, number))
    newer = max((tmp_path / name for name in checkpoint.SLOTS), key=lambda path: path.stat().st_mtime_ns)
    content = bytearray(newer.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    newer.write_bytes({"flip": bytes(content), "truncate": bytes(content[:100]), "empty": b""}[damage])
    with pytest.warns(UserWarning, match="damaged"):
        loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded.number == 1


def test_resuming_past_a_damaged_checkpoint_changes_nothing(record: Record, tmp_path: Path) -> None:
    run = tiny_run()
    carry_out(run, tmp_path)  # leaves the checkpoints of the last two epochs
    newest = max((tmp_path / run.id / name for name in checkpoint.SLOTS), key=lambda path: path.stat().st_mtime_ns)
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
        rewrite(tmp_path / run.id / slot, lambda values: values["net"].popitem())
    with pytest.raises(UserError, match="another version"):
        carry_out(tiny_run(), tmp_path)


def old_format(values: dict[str, Any]) -> None:
    """Convert the contents of a checkpoint to the format that was used before checkpoints had a typed class."""
    history = values.pop("history")
    values |= {"number": len(history["losses"]), "trail": {"losses": history["losses"]}}
    del values["format"], values["run"]


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "old": (old_format, "written by another version of ltbench"),
    "format": (lambda values: values.update(format=4), "written by another version of ltbench"),
    "run": (lambda values: values.update(run="ab" * 8), "checkpoint of another run, abababababababab"),
    "unknown": (lambda values: values.update(mine=1), "not a valid checkpoint .*mine"),
    "missing": (lambda values: values.pop("parameters"), "not a valid checkpoint .*parameters"),
    "history": (lambda values: values["history"].pop("correct"), "not a valid checkpoint .*correct"),
    "measure": (lambda values: values["history"].update(mine=1), "not a valid checkpoint .*mine"),
    "environment": (
        lambda values: values["history"]["trained"][0]["environment"].update(mine=1),
        "not a valid checkpoint .*mine",
    ),
    "tensor": (lambda values: values["net"].pop("head.bias"), "version of the method .*head.bias is missing"),
    "surplus": (lambda values: values["net"].update(mine=torch.ones(1)), "version of the method .*mine is unknown"),
    "shape": (lambda values: values["net"].update({"head.bias": torch.ones(9)}), "version of the method .*head.bias"),
    "stage": (lambda values: values.update(stage=1), "version of the method .*stage 1 does not exist"),
    "epoch": (lambda values: values.update(epoch=7), "version of the method .*epoch 7 .*does not exist"),
    "losses": (lambda values: values["history"]["losses"].pop(), "version of the method .*losses after"),
    "momentum": (lambda values: values["optimiser"]["state"].popitem(), "state lacks 1 parameters"),
    "factor": (lambda values: values["optimiser"]["param_groups"][0].pop("factor"), "different parameter groups"),
    "optimiser": (lambda values: values["optimiser"].pop("state"), "its optimiser state has the keys param_groups"),
    "groups type": (
        lambda values: values["optimiser"].update(param_groups=3),
        "optimiser state has another format",
    ),
    "group type": (
        lambda values: values["optimiser"].update(param_groups=[3]),
        "optimiser state has another format",
    ),
    "state type": (lambda values: values["optimiser"].update(state=[1]), "optimiser state has another format"),
    "moment type": (lambda values: values["optimiser"]["state"].update({0: 5}), "state has another format"),
    "weightless": (lambda values: values.update(net={}), "version of the method .*head.bias.* missing"),
    "dtype": (lambda values: in_double(values["net"]), "head.bias is float64 .10. instead of float32"),
    "no tensor": (lambda values: values["net"].update({"head.bias": [0.0] * 10}), "not a valid checkpoint .*head.bias"),
    "list": (lambda values: values.update(net=[]), "not a valid checkpoint .*net"),
    "epoch type": (lambda values: values.update(epoch="last"), "not a valid checkpoint .*epoch"),
    "history type": (lambda values: values.update(history=[1.0]), "not a valid checkpoint"),
    "loss type": (lambda values: values["history"].update(losses="none"), "not a valid checkpoint .*losses"),
    "loss value": (
        lambda values: values["history"]["losses"].insert(0, float("nan")),
        "not a valid checkpoint .*losses",
    ),
    "hits": (lambda values: values["history"]["correct"].update({0: [1] * 9}), "correct predictions do not fit"),
    "tests": (lambda values: values["history"].update(tests=[3, 4]), "evaluated on 7 other test images"),
    "parts": (lambda values: values["history"].update(trained=[]), "the environment of every epoch"),
    "moments": (
        lambda values: wider(values["optimiser"]),
        "momentum_buffer of its optimiser is float32 .2, 2. instead",
    ),
}


def in_double(net: dict[str, Any]) -> None:
    net.update({"head.bias": net["head.bias"].double()})


def wider(optimiser: dict[str, Any]) -> None:
    optimiser["state"][0]["momentum_buffer"] = torch.ones(2, 2)


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_that_does_not_fit_is_one_sentence(name: str, trained: Trained, tmp_path: Path) -> None:
    change, words = CHANGES[name]
    run = tiny_run()
    trained(run, tmp_path)
    paths = [tmp_path / run.id / slot for slot in SLOTS]
    for path in [*paths, *(tmp_path / run.id).glob("epoch-*.pt")]:
        rewrite(path, change)
    with pytest.raises(UserError, match=words) as error:
        carry_out(tiny_run(), tmp_path)
    text = str(error.value)
    assert any(str(path) in text for path in (tmp_path / run.id).glob("*.pt"))
    assert f"Move the folder {tmp_path / run.id} away" in text
    assert "\n" not in text


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "factor"])
def test_a_snapshot_that_does_not_fit_is_one_sentence(name: str, trained: Trained, tmp_path: Path) -> None:
    change, words = CHANGES[name]
    erm = tmp_path / tiny_run("erm", epochs=5).id
    trained(tiny_run("drs", epochs=5), tmp_path)
    (tmp_path / tiny_run("drs", epochs=5).id).rename(tmp_path / "away")
    (path,) = erm.glob("epoch-*.pt")
    rewrite(path, change)
    if name in ("surplus", "shape", "dtype"):
        words = r"needs\(\) declares that it begins as erm, but erm's weights do not fit: "
    with pytest.raises(UserError, match=words):
        carry_out(tiny_run("drs", epochs=5), tmp_path)


def test_a_checkpoint_of_another_seed_is_not_resumed(cli: Callable[..., Answer]) -> None:
    words = ("run", "-m", "erm", "-d", "digits-lt", "--imbalance", "5", "--epochs", "3", "--set", "dataset.n_max=30")
    runs = Path("runs")
    carry_out(tiny_run(), runs)
    assert cli(*words, "--set", "recipe.evaluate_every=1", "--seed", "1").code == 0
    first, second = tiny_run().id, tiny_run(seed=1).id
    (runs / first / SLOTS[0]).replace(runs / second / SLOTS[0])
    for path in Path("results").rglob("*.json"):
        path.unlink()
    answer = cli(*words, "--set", "recipe.evaluate_every=1", "--seed", "1")
    assert answer.code == 2
    assert f"{runs / second / SLOTS[0]} is a checkpoint of another run, {first}." in answer.err
    assert "Traceback" not in answer.err


def test_something_else_with_a_right_digest_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / SLOTS[0]
    path.write_bytes(hashlib.sha256(b"text").digest() + b"text")
    with pytest.raises(UserError, match="is not a checkpoint"):
        checkpoint.load(tmp_path)


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    run = tiny_run("m2m", epochs=5)
    carry_out(run, tmp_path)
    loaded = checkpoint.load(tmp_path / run.id)
    assert loaded is not None
    checkpoint.save(tmp_path / run.id, loaded)
    again = checkpoint.load(tmp_path / run.id)
    assert again is not None
    for field in dataclasses.fields(Checkpoint):
        if field.name not in ("net", "optimiser"):
            assert getattr(again, field.name) == getattr(loaded, field.name)
    assert all(torch.equal(value, loaded.net[name]) for name, value in again.net.items())
    assert [part.use for part in again.history.prerequisites] == ["prefix", "network"]


def test_a_snapshot_under_the_name_of_another_epoch_is_refused(tmp_path: Path) -> None:
    erm, soon = tiny_run("erm", epochs=5), tiny_run("drs", epochs=5, settings=("drs.defer=0.4",))
    carry_out(erm, tmp_path)
    checkpoint.remove(tmp_path / erm.id)
    checkpoint.snapshot_path(tmp_path / erm.id, 4).rename(checkpoint.snapshot_path(tmp_path / erm.id, 2))
    with pytest.raises(UserError, match="it is the state after 4 epochs, but its file name is that of another epoch"):
        carry_out(soon, tmp_path)


@pytest.mark.parametrize("name", ["surplus", "shape", "dtype", "weightless"])
def test_a_finished_network_that_does_not_fit_is_refused(name: str, trained: Trained, tmp_path: Path) -> None:
    """M2m attaches the finished network of another seed's ERM run to its own network."""
    change, _ = CHANGES[name]
    run = tiny_run("m2m", epochs=5)
    trained(run, tmp_path)
    (tmp_path / run.id).rename(tmp_path / "away")
    rewrite(checkpoint.snapshot_path(tmp_path / tiny_run("erm", seed=1, epochs=5).id, 5), change)
    with pytest.raises(UserError, match="another version of the method"):
        carry_out(tiny_run("m2m", epochs=5), tmp_path)


def test_another_decay_in_the_optimiser_is_refused(trained: Trained, tmp_path: Path) -> None:
    run = tiny_run()
    trained(run, tmp_path)
    for slot in SLOTS:
        rewrite(tmp_path / run.id / slot, lambda values: values["optimiser"]["param_groups"][0].update(weight_decay=1))
    for path in (tmp_path / run.id).glob("epoch-*.pt"):
        path.unlink()
    with pytest.raises(UserError, match="its optimiser has a different weight_decay"):
        carry_out(tiny_run(), tmp_path)


@pytest.mark.parametrize("other", ["seed", "method"])
def test_a_checkpoint_of_another_run_is_refused(other: str, tmp_path: Path) -> None:
    """The checkpoint is undamaged and fits the network; its folder has been renamed to the run's id."""
    run, strange = tiny_run(), {"seed": tiny_run(seed=1), "method": tiny_run("focal")}[other]
    carry_out(strange, tmp_path)
    (tmp_path / strange.id).rename(tmp_path / run.id)
    with pytest.raises(UserError, match=f"is a checkpoint of another run, {strange.id}"):
        carry_out(run, tmp_path)


def test_a_folder_in_place_of_a_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / SLOTS[0]).mkdir()
    with pytest.raises(UserError, match=r"Cannot read .*is a directory"):
        checkpoint.load(tmp_path)
