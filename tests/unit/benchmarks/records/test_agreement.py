"""Consistency within a record, contradictory copies of a record, and records of other versions."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ltbench.bench
import pytest
from helpers.command import Answer
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.records.migrate import id_of
from ltbench.benchmarks.records.schema import OLDEST, VERSION, Record
from ltbench.benchmarks.records.store import find_records, read_all, read_folder, read_record, record_path

RESULTS = Path(ltbench.bench.__file__).parent / "results"
DIGITS = RESULTS / "digits-lt-exp50" / "digits"
Values = dict[str, Any]


def committed(words: str = "drw/recipe.precision*seed0") -> Values:
    values: Values = json.loads(next(DIGITS.glob(f"{words}.json")).read_text())
    return values


def refusal(values: Values, path: Path) -> str:
    """Error message for an invalid record, which is checked to be a single line."""
    path.write_text(json.dumps(values))
    with pytest.raises(UserError) as error:
        read_record(path)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def with_id(values: Values, **changes: Any) -> Values:
    """Copy of a record with changed values and a recomputed id, so that only other checks can find an error."""
    new = copy.deepcopy(values) | changes
    return new | {"id": id_of(new)}


def hits(values: Values) -> Values:
    values["final"]["correct"][0] -= 5
    values["final"]["confusion"][0][0] -= 5
    values["final"]["confusion"][0][1] += 5
    return values


def of_recipe(values: Values, **changes: Any) -> Values:
    return with_id(values, recipe=values["recipe"] | changes)


def without_recipe(values: Values, name: str) -> Values:
    return with_id(values, recipe={key: value for key, value in values["recipe"].items() if key != name})


def of_dataset(values: Values, **changes: Any) -> Values:
    return with_id(values, dataset=values["dataset"] | changes)


def part(values: Values, name: str, **changes: Any) -> Values:
    return values | {name: values[name] | changes}


def shared_with(values: Values, epochs: int) -> Values:
    shared: Values = values["cost"]["prerequisites"][0] | {"epochs": epochs}
    return shared


NO_CLASS: Values = {"class_names": [], "train_counts": [], "test_counts": []}
DISAGREEING: dict[str, tuple[Callable[[Values], Values], str]] = {
    "hits": (hits, "the last value of history.accuracy does not match final.correct"),
    "accuracy": (lambda v: part(v, "history", accuracy=[0.5] * 12), "does not match final.correct"),
    "evaluated": (lambda v: part(v, "history", evaluated_epochs=[0] * 11 + [119]), "not in increasing order"),
    "unevaluated": (lambda v: part(v, "history", accuracy=[], evaluated_epochs=[]), "final.epoch is not the last"),
    "best": (lambda v: part(v, "best", correct=[50] * 10), "history.accuracy at best.epoch"),
    "best epoch": (lambda v: part(v, "best", epoch=78), "history.accuracy at best.epoch"),
    "worst": (lambda v: part(v, "best", epoch=119, correct=v["final"]["correct"]), "does not have the highest"),
    "other best": (lambda v: part(v, "best", epoch=119), "best.correct and final.correct differ"),
    "losses": (lambda v: part(v, "history", loss=[1.0] * 119), "final.epoch is not the last epoch"),
    "stages": (lambda v: part(v, "cost", epochs_per_stage={"train": 119}), "does not sum to the epochs"),
    "measures": (lambda v: part(v, "history", measures={"a": [[120, 1.0]]}), "history.measures names an epoch"),
    "changed": (lambda v: v | {"changed": {"recipe.precision": "fp32"}}, "changed.recipe.precision is \"fp32\", but"),
    "changed type": (lambda v: v | {"changed": {"defer": "0.8"}}, "changed.defer is \"0.8\", but"),
    "changed name": (lambda v: v | {"changed": {"gamma": 2}}, "changed names gamma"),
    "changed base": (lambda v: v | {"changed": {"base.gamma": 2}}, "changed names base.gamma"),
    "dataset changed": (lambda v: part(v, "dataset", changed={"n_max": 5}), "dataset.changed.n_max"),
    "imbalance": (lambda v: of_dataset(v, imbalance=100.0), "profile exp with imbalance 100"),
    "profile": (lambda v: of_dataset(v, profile="step"), "profile step with imbalance 50"),
    "natural": (lambda v: of_dataset(v, profile="natural", imbalance=3.0), "profile natural with imbalance 3"),
    "counts": (lambda v: part(v, "dataset", train_counts=[100] * 10), "profile exp with imbalance 50"),
    "recipe key": (lambda v: of_recipe(v, gamma=2), "gamma"),
    "recipe value": (lambda v: of_recipe(v, optimiser="lion"), "optimiser"),
    "recipe type": (lambda v: of_recipe(v, batch_size="32"), "batch_size"),
    "recipe name": (lambda v: without_recipe(v, "name"), "name"),
    "recipe backbone": (lambda v: without_recipe(v, "backbone"), "backbone"),
    "no recipe": (lambda v: with_id(v, recipe={}), "name"),
    "text": (lambda v: part(v, "final", epoch="119"), "final.epoch"),
    "float": (lambda v: part(v, "final", epoch=119.0), "final.epoch"),
    "truth": (lambda v: part(v, "dataset", verified=1), "dataset.verified"),
    "no class": (lambda v: part(v, "dataset", **NO_CLASS), "class_names"),
    "huge": (lambda v: part(v, "cost", peak_memory_bytes=10**400), "peak_memory_bytes"),
    "prefix": (lambda v: part(v, "cost", prerequisites=[shared_with(v, 121)]), "prefix with more epochs than the run"),
}  # fmt: skip


@pytest.mark.parametrize("name", DISAGREEING)
def test_parts_that_disagree_are_refused(name: str, tmp_path: Path) -> None:
    change, words = DISAGREEING[name]
    text = refusal(change(committed()), tmp_path / "record.json")
    assert words in text
    assert "remove" not in text.lower()


def test_what_each_part_was_made_with_sums_to_the_epochs(tmp_path: Path) -> None:
    values = committed()
    new = values | {"schema": 3, "trained": [{"epochs": 119, "environment": values["environment"]}]}
    assert "record.trained does not sum" in refusal(new, tmp_path / "record.json")
    assert "record.trained does not sum" in refusal(new | {"trained": []}, tmp_path / "record.json")
    new["trained"][0]["epochs"] = 120
    (tmp_path / "record.json").write_text(json.dumps(new))
    assert read_record(tmp_path / "record.json").trained[0].environment.commit == values["environment"]["commit"]


def copies(tmp_path: Path, change: Callable[[Values], Values]) -> list[Path]:
    """Write a record, a changed copy of it and an unchanged record of another seed; return their paths."""
    values, other = committed(), committed("drw/recipe.precision*seed1")
    paths = [tmp_path / "results" / name for name in ("a.json", "b.json", "c.json")]
    paths[0].parent.mkdir()
    for path, content in zip(paths, (values, change(copy.deepcopy(values)), other), strict=True):
        path.write_text(json.dumps(content))
    return paths


def other_hits(values: Values) -> Values:
    """Change the result consistently: one more correct prediction in a class, one fewer in another."""
    correct, confusion = values["final"]["correct"], values["final"]["confusion"]
    for k, step in ((8, 1), (9, -1)):
        correct[k] += step
        confusion[k][k] += step
        wrong = next(j for j in range(10) if j != k and confusion[k][j] >= step)
        confusion[k][wrong] -= step
    return values


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_hits, "differ in final"),
        (lambda v: part(v, "dataset", class_names=list("abcdefghij")), "differ in dataset"),
        (lambda v: v | {"changed": {}}, "differ in changed"),
        (lambda v: part(v, "history", loss=[1.0, *v["history"]["loss"][1:]]), "differ in history"),
    ],
    ids=["hits", "names", "changed", "loss"],
)
def test_contradicting_copies_are_both_named(
    change: Any, words: str, tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    first, second, sound = copies(tmp_path, change)
    folder = read_folder(tmp_path / "results")
    (problem,) = folder.problems
    assert f"{first} and {second} contradict one another" in problem
    assert words in problem
    assert list(folder.records) == [sound], "contradictory records are left out, others are not"
    assert cli("check-records", "results").code == 2
    shown = cli("show", committed()["id"])
    assert (shown.code, "contradict one another" in shown.err) == (2, True)
    report = cli("report", "--figures", "none")
    assert (report.code, "contradict one another" in report.err) == (0, True)


@pytest.mark.parametrize("name", ["cost", "environment"])
def test_a_run_repeated_elsewhere_is_no_contradiction(name: str, tmp_path: Path) -> None:
    facts = {"cost": {"seconds": 99.0}, "environment": {"device": "cuda"}}[name]
    copies(tmp_path, lambda values: part(values, name, **facts))
    records, problems = read_all(tmp_path / "results")
    assert (len(records), problems) == (3, [])


NEWER: dict[str, Callable[[Values], Values]] = {
    "version": lambda v: v | {"schema": VERSION + 1},
    "version and a field": lambda v: v | {"schema": VERSION + 1, "energy": 3},
    "a deeper field": lambda v: part(v | {"schema": VERSION + 5}, "cost", joules=1.0),
    "a field less": lambda v: {key: value for key, value in v.items() if key != "best"} | {"schema": 9},
    "a field and the same version": lambda v: part(v, "environment", ltbench="99.0.0") | {"energy": 3},
    "a recipe's field": lambda v: of_recipe(part(v, "environment", ltbench="99.1"), mixup=0.2),
}


@pytest.mark.parametrize("name", NEWER)
def test_a_newer_record_is_named_and_no_error(name: str, tmp_path: Path, cli: Callable[..., Answer]) -> None:
    values = committed()
    path = record_path(tmp_path / "results", read_record(next(DIGITS.glob("drw/recipe.precision*seed0.json"))).facts)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(NEWER[name](values)))
    sound = path.with_name(path.name.replace("seed0", "seed1"))
    sound.write_text(json.dumps(committed("drw/recipe.precision*seed1")))
    before = path.read_bytes()
    answer = cli("check-records", "results")
    assert answer.code == 0
    assert "1 valid record in results" in answer.out
    assert f"{path.relative_to(tmp_path)} is left out: it was written by a newer ltbench" in answer.err
    assert "by hand" not in answer.err
    run = ("run", "-m", "drw", "-d", "digits-lt", "--imbalance", "50", "--set", "recipe.precision=bf16")
    again = cli(*run, "--seed", "0,1")
    assert (again.code, path.read_bytes()) == (0, before), "the run counts as finished and is not repeated"
    assert "it was written by a newer ltbench" in again.err


@pytest.mark.parametrize(
    "change", [lambda v: v | {"energy": 3}, lambda v: part(v, "environment", ltbench="0.0.9") | {"a": 1}]
)
def test_an_unknown_field_of_this_version_is_refused(change: Callable[[Values], Values], tmp_path: Path) -> None:
    assert "is not a valid record" in refusal(change(committed()), tmp_path / "record.json")


@pytest.mark.parametrize("version", [True, "3", 3.0, None, [3], -1, 0])
def test_a_version_that_is_none_is_refused(version: object, tmp_path: Path) -> None:
    assert "schema" in refusal(committed() | {"schema": version}, tmp_path / "record.json")


def test_committed_records_are_read_and_written_as_they_are() -> None:
    """Some committed records have an older schema with fewer fields; none may be added when they are written."""
    for path in find_records(RESULTS):
        record = read_record(path)
        assert record.to_json() == path.read_text()
        assert OLDEST <= record.version <= VERSION


def test_an_inactive_method_is_no_part_of_the_id(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps(committed() | {"inactive": "none of its epochs"}))
    record = read_record(tmp_path / "record.json")
    assert (record.inactive, record.id) == ("none of its epochs", committed()["id"])
    assert refusal(committed() | {"inactive": 1}, tmp_path / "record.json")


def test_the_id_does_not_depend_on_the_version(tmp_path: Path) -> None:
    values = committed()
    new = values | {"schema": 3, "trained": [{"epochs": 120, "environment": values["environment"]}]}
    assert Record.model_validate(new).facts.id == values["id"] == Record.model_validate(values).facts.id
