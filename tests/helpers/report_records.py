"""Valid records for tests of the report, created without training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ltbench.benchmarks.profiles import held_out_count, long_tail_counts
from ltbench.benchmarks.records.checks import class_mean_accuracy, profile_problem
from ltbench.benchmarks.records.parts import Best, Cost, Environment, Final, History, TrainedEpochs
from ltbench.benchmarks.records.schema import VERSION, DatasetFacts, Record, RunFacts
from ltbench.benchmarks.records.store import record_path, write_record
from ltbench.report.statistics import Setting, settings

METHODS = {"erm": 0.0, "ldam-drw": 0.2, "balanced-softmax": 0.3}
RECIPE = {"name": "cifar", "backbone": "resnet32", "epochs": 3, "batch_size": 128, "precision": "fp32"}


def dataset(counts: list[int], **facts: Any) -> DatasetFacts:
    ratio = max(counts) / min(counts)
    defaults: dict[str, Any] = {
        "name": "toy",
        "profile": "natural" if profile_problem("exp", ratio, counts, holdout=False) else "exp",
        "imbalance": ratio,
        "checksum": "ab" * 32,
        "verified": True,
        "options": {},
        "changed": {},
        "class_names": [f"class {k}" for k in range(len(counts))],
        "train_counts": counts,
        "test_counts": [100] * len(counts),
    }
    return DatasetFacts(**(defaults | facts))


def cifar(classes: int, ratio: float, profile: Any = "exp", **facts: Any) -> DatasetFacts:
    counts = long_tail_counts(50_000 // classes, classes, ratio, profile)
    if facts.get("options", {}).get("holdout"):
        counts = [count - held_out_count(count) for count in counts]
    own = {"name": f"cifar{classes}-lt", "profile": profile, "imbalance": ratio}
    return dataset(counts, **(own | {"test_counts": [10_000 // classes] * classes} | facts))


def record(
    data: DatasetFacts,
    correct: list[int],
    method: str = "erm",
    seed: int = 0,
    changed: dict[str, Any] | None = None,
    **facts: Any,
) -> Record:
    """A record whose last epoch has `correct` correct predictions per class.

    `facts` may include source, recipe, commit, dirty, epochs, best (correct predictions per class in epoch 0),
    prerequisites and trained.
    """
    changed = changed or {}
    values = {k: v for k, v in changed.items() if not k.startswith("recipe.")}
    epochs, source, recipe = facts.pop("epochs", 3), facts.pop("source", None), facts.pop("recipe", RECIPE)
    recipe = recipe | {k.removeprefix("recipe."): v for k, v in changed.items() if k.startswith("recipe.")}
    best = facts.pop("best", None)
    evaluated = {0: best or correct, epochs - 1: correct}
    environment = Environment(
        ltbench="0.1.0", commit=facts.pop("commit", "1234567890abcdef"), dirty=facts.pop("dirty", False),
        python="3.11", torch="2.6", platform="Linux", device="cpu", threads=1,
    )  # fmt: skip
    filled = Record(
        schema=VERSION,
        id=RunFacts(method, source, values, changed, data, recipe, seed).id,
        method=method,
        source=source,
        hyperparameters=values,
        changed=changed,
        seed=seed,
        dataset=data,
        recipe=recipe,
        final=Final(epoch=epochs - 1, correct=correct, confusion=None),
        best=Best(epoch=0, correct=evaluated[0]),
        history=History(
            loss=[1.0] * epochs,
            accuracy=[class_mean_accuracy(hits, data.test_counts) for hits in evaluated.values()],
            evaluated_epochs=list(evaluated),
        ),
        cost=Cost(
            seconds=2, seconds_training=1, images_per_second=10, peak_memory_bytes=1, parameters=1,
            epochs_per_stage={"train": epochs}, resumed=0, prerequisites=facts.pop("prerequisites", []),
        ),
        environment=environment,
        trained=facts.pop("trained", [TrainedEpochs(epochs=epochs, environment=environment)]),
    )  # fmt: skip
    assert not facts, f"unknown facts: {facts}"
    return filled


def lifelike(data: DatasetFacts, method: str, seed: int, lift: float, **facts: Any) -> Record:
    """A record in which rarer classes have lower accuracies; `lift` raises those of the rare classes."""
    counts, tests = np.array(data.train_counts), np.array(data.test_counts)
    noise = np.random.default_rng([seed, len(method)]).normal(0, 0.03, len(counts))
    accuracy = 0.9 - (0.75 - lift) * (1 - np.log(counts) / np.log(counts.max() + 1)) + noise
    return record(data, (tests * accuracy.clip(0, 1)).astype(int).tolist(), method, seed, **facts)


def lifelike_setting(classes: int = 10, seeds: int = 2, methods: int = 3, **facts: Any) -> Setting:
    """A setting with records of the first `methods` of ERM, ldam-drw, balanced-softmax, other-0, other-1 and so on."""
    data = cifar(classes, 100, **facts)
    names = [*METHODS, *(f"other-{k}" for k in range(methods))][:methods]
    return settings([lifelike(data, m, s, METHODS.get(m, 0.1)) for m in names for s in range(seeds)])[0]


@contextmanager
def contents(registry: dict[str, Any], values: dict[str, Any]) -> Iterator[None]:
    """Replace the contents of a registry within a context; restore contents and order afterwards."""
    own = dict(registry)
    registry.clear()
    registry.update(values)
    try:
        yield
    finally:
        registry.clear()
        registry.update(own)


def keep_logits(records: list[Record], runs: Path, scale: float = 4.0) -> None:
    """Write `runs/<id>/logits.npz` for each record, with logits that give the record's correct predictions."""
    for r in records:
        tests, draw = np.array(r.dataset.test_counts), np.random.default_rng(r.seed)
        labels = np.repeat(np.arange(len(tests)), tests)
        logits = draw.normal(0, 0.3, (len(labels), len(tests)))
        right = np.arange(len(labels)) - np.repeat(tests.cumsum() - tests, tests) < np.repeat(r.final.correct, tests)
        chosen = np.where(right, labels, (labels + len(tests) - 1) % len(tests))  # if wrong, the preceding class
        logits[np.arange(len(labels)), chosen] += scale
        path = runs / r.id / "logits.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, logits=logits.astype(np.float16), labels=labels)


def store(records: list[Record], results: Any) -> None:
    for r in records:
        write_record(r, record_path(results, r.facts))
