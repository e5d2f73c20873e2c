"""Checks of the values that hooks return: an invalid one ends the run with an error that names the hook."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import tiny_run
from ltbench.benchmarks.errors import RunFailed
from ltbench.benchmarks.method import Batch, Method, Needs, Stage
from ltbench.benchmarks.precision import static_shapes
from ltbench.benchmarks.training.run_spec import RunSpec
from ltbench.benchmarks.training.trainer import execute

Hook = Callable[..., Any]
CPU = torch.device("cpu")


def spec_with(hook: str, function: Hook) -> RunSpec:
    """Specification of a run of three epochs whose method has `function` as one of its hooks."""
    method = type("Mine", (Method,), {hook: lambda self, *arguments: function(*arguments)})
    return dataclasses.replace(tiny_run(epochs=3), name="mine", method=method())


def changed(**parts: Any) -> Hook:
    """Hook `transform` that replaces fields of the batch by values or by functions of the batch."""
    return lambda batch, net, now: batch._replace(
        **{name: part(batch) if callable(part) else part for name, part in parts.items()}
    )


def mixed(**parts: Any) -> Hook:
    """Hook `transform` that returns a mixed batch with some of its fields replaced."""
    return changed(**{"second_labels": lambda b: b.labels, "weight": lambda b: torch.ones(len(b.labels))} | parts)


WRONG: dict[str, tuple[str, Hook, str]] = {
    "stages, one": ("stages", lambda epochs: Stage("train", epochs), "a list of stages"),
    "stages, none": ("stages", lambda epochs: [], "a list of stages"),
    "stages, names": ("stages", lambda epochs: [Stage("a", 1), Stage("a", 1)], "different names"),
    "stages, fraction": ("stages", lambda epochs: [Stage("a", epochs / 2)], "stages of 0, 1, 2"),
    "stages, empty": ("stages", lambda epochs: [Stage("a", 0)], "not all 0"),
    "needs": ("needs", lambda epochs: {"prefix": 2}, "an object of type Needs"),
    "needs, prefix": ("needs", lambda epochs: Needs(prefix=epochs + 1), r"a prefix in \[0, epochs\]"),
    "head": ("head", lambda default: default(64, 10), "a class or function that builds a module, not a module"),
    "network": ("network", lambda backbone, classes, head: backbone(), "a Classifier"),
    "sampling, length": ("sampling", lambda counts, now: torch.ones(3), "10 class probabilities"),
    "sampling, per image": ("sampling", lambda counts, now: torch.ones(int(counts.sum())), "10 class prob"),
    "sampling, list": ("sampling", lambda counts, now: [0.1] * 10, "10 class probabilities"),
    "sampling, nan": ("sampling", lambda counts, now: counts / 0 * 0, "finite, not negative"),
    "sampling, negative": ("sampling", lambda counts, now: -counts.float(), "finite, not negative"),
    "sampling, zero": ("sampling", lambda counts, now: 0 * counts, "not all 0"),
    "draws, none": ("draws", lambda counts, now: 0, "a positive integer"),
    "draws, float": ("draws", lambda counts, now: 64.0, "a positive integer"),
    "transform, tuple": ("transform", lambda batch, net, now: (batch.images, batch.labels), "a Batch"),
    "transform, none": ("transform", lambda batch, net, now: None, "a Batch"),
    "transform, bytes": ("transform", changed(images=lambda b: b.images.mul(255).byte()), "images float"),
    "transform, shape": ("transform", changed(images=lambda b: b.images.flatten(1)), "images float"),
    "transform, nan": ("transform", changed(images=lambda b: b.images / 0), "finite images"),
    "transform, rows": ("transform", changed(labels=lambda b: b.labels[:1]), "labels int64"),
    "transform, label": ("transform", changed(labels=lambda b: b.labels + 9), r"labels in \[0, 9\] or -100"),
    "transform, soft": ("transform", changed(labels=lambda b: torch.ones(len(b.labels), 3)), "labels int64"),
    "transform, mask": ("transform", changed(synthetic=lambda b: b.labels), "'synthetic' as a bool vector"),
    "transform, origin": ("transform", changed(origin=lambda b: b.labels.float()), "'origin' as an int64 vector"),
    "transform, pair": ("transform", changed(weight=lambda b: torch.ones(len(b.labels))), "'second_labels' int64"),
    "transform, second": ("transform", mixed(second_labels=lambda b: b.labels.float()), "'second_labels' int64"),
    "transform, pairs": ("transform", mixed(second_labels=lambda b: b.labels[1:]), "'second_labels' int64"),
    "transform, classes": ("transform", mixed(second_labels=lambda b: b.labels + 9), r"'second_labels' in \[0, 9\]"),
    "transform, weight": ("transform", mixed(weight=lambda b: b.labels), "'weight' float"),
    "transform, weights": ("transform", mixed(weight=lambda b: 2 * torch.ones(len(b.labels))), r"'weight' in \[0, 1\]"),
    "transform, a weight": ("transform", mixed(weight=lambda b: torch.ones(())), "'weight' float"),
    "begin_stage, name": (
        "begin_stage",
        lambda stage, net, train: Stage("b", 3),
        "a stage of the same name and length",
    ),
    "begin_stage, number": ("begin_stage", lambda stage, net, train: 3, "None or a stage"),
    "criterion, rows": ("criterion", lambda logits, labels, now: logits.sum(1), "a floating-point scalar"),
    "criterion, number": ("criterion", lambda logits, labels, now: 1.0, "a floating-point scalar"),
    "criterion, detached": ("criterion", lambda logits, labels, now: logits.sum().detach(), "with a gradient"),
    "loss, none": ("loss", lambda net, batch, now: None, "a floating-point scalar"),
    "measures, list": ("measures", lambda net, now: [1.0], "names and finite numbers"),
    "measures, nan": ("measures", lambda net, now: {"x": float("nan")}, "names and finite numbers"),
    "measures, tensor": ("measures", lambda net, now: {"x": torch.ones(3)}, "names and finite numbers"),
    "final_measures, nan": ("final_measures", lambda net: {"x": float("nan")}, "names and finite numbers"),
    "finish, none": ("finish", lambda net, train: None, "a Classifier"),
    "finish, part": ("finish", lambda net, train: net.backbone, "a Classifier"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_names_its_hook(case: str, tmp_path: Path) -> None:
    hook, function, rule = WRONG[case]
    with pytest.raises(RunFailed, match=rf"^Mine\.{hook}\(\) must return .*{rule}"):
        execute(spec_with(hook, function), CPU, tmp_path)


@pytest.mark.parametrize("case", ["transform, nan", "transform, label", "transform, weights"])
def test_values_are_read_late_where_reading_would_wait(case: str, tmp_path: Path) -> None:
    """As on a GPU, values are read after the epoch. On a CPU, an invalid label fails in the loss before that."""
    hook, function, rule = WRONG[case]
    with static_shapes(), pytest.raises((RunFailed, IndexError), match=f"{rule}|out of bounds|loss became nan"):
        execute(spec_with(hook, function), CPU, tmp_path)


def test_what_is_right_passes(tmp_path: Path) -> None:
    def soft(batch: Batch, net: object, now: object) -> Batch:
        labels = torch.nn.functional.one_hot(batch.labels, 10).float()
        return batch._replace(labels=labels, synthetic=batch.labels > 3, origin=batch.labels)

    assert execute(spec_with("transform", soft), CPU, tmp_path / "soft").final.epoch == 2
    assert execute(spec_with("transform", mixed()), CPU, tmp_path / "mixed").final.epoch == 2
    rows = {"measures": lambda net, now: {"steps": 3, "loss": torch.tensor(0.5)}}
    assert execute(spec_with("measures", rows["measures"]), CPU, tmp_path).history.measures["steps"][0] == (0, 3.0)
    final = execute(spec_with("final_measures", lambda net: {"tau": torch.tensor(0.5)}), CPU, tmp_path / "final")
    assert final.history.measures == {"tau": [(2, 0.5)]}
