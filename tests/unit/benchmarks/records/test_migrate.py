"""Migration from schema 1 to schema 2: renamed fields, invalid records, and no loss of data."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import recorded
from ltbench.benchmarks.records import migrate as module
from ltbench.benchmarks.records.migrate import TABLE, converted, invalid, migrate
from ltbench.benchmarks.records.schema import Record
from ltbench.benchmarks.records.store import find_records, read_all
from ltbench.benchmarks.registry import changed, configure, load

OLD = Path(__file__).parents[3] / "data" / "schema-1"
COMMITTED = Path(module.__file__).parents[2] / "results"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "results"))


def old(word: str) -> dict[str, Any]:
    (path,) = (path for path in OLD.rglob("*.json") if word in str(path.relative_to(OLD)))
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def with_id(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"id": module.id_of(values)}


def test_valid_records_and_their_runs_get_their_new_ids(results: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for word in ("drw", "rsg"):
        (runs / old(word)["id"]).mkdir(parents=True)
    rows = {row[0]: row for row in migrate(results, runs)}
    records, problems = read_all(results)
    assert not problems
    assert sorted(record.method for record in records) == ["drw", "rsg"]
    for record in records:
        old_id, new_id, old_path, new_path = rows[old(record.method)["id"]]
        assert new_id == record.id != old_id
        assert (results / new_path).is_file()
        assert not (results / old_path).exists()
        assert (runs / record.id).is_dir()
        assert not (runs / old_id).exists()
    assert migrate(results, runs) == [], "nothing is left to migrate"


def test_the_numbers_stay_and_the_words_change(results: Path) -> None:
    migrate(results)
    records = {record.method: record for record in read_all(results)[0]}
    for method, record in records.items():
        before, after = old(method), json.loads(record.to_json())
        assert before["recipe"]["warmup"] == 0.025
        assert after["recipe"]["warmup"] == 3
        same = ("final", "best", "history", "environment", "dataset", "seed", "method", "source")
        assert {name: before[name] for name in same} == {name: after[name] for name in same}
    assert records["rsg"].hyperparameters["base"] == old("rsg")["hyperparameters"]["criterion"] == "ldam-drw"
    assert "criterion" not in records["rsg"].hyperparameters
    assert records["rsg"].changed == old("rsg")["changed"] == {"recipe.precision": "bf16"}


def test_the_shared_training_is_found_under_its_new_id() -> None:
    table = {row["old id"]: row["new id"] for row in csv.DictReader(TABLE.read_text().splitlines())}
    before, after = old("drw")["cost"]["prerequisites"], converted(old("drw"))["cost"]["prerequisites"]
    assert [table[training["id"]] for training in before] == [training["id"] for training in after]
    assert len(after) == 1


def test_invalid_records_are_moved_and_not_deleted(results: Path) -> None:
    reasons = [row[3] for row in migrate(results) if not row[1]]
    assert sorted(reasons) == [
        "invalid: the arithmetic of the attack is not known",
        "invalid: the warm-up of cifar-short was one epoch",
    ]
    kept = find_records(results.with_name("results-schema-1"))
    assert {json.loads(path.read_text())["method"] for path in kept} == {"m2m", "erm"}
    assert not list(results.glob("cifar10*")), "empty folders are removed"


@pytest.mark.parametrize("name", sorted(module.BASES))
def test_bases_have_the_values_that_their_methods_have(name: str) -> None:
    assert recorded(configure(load("methods", name), {})) == module.BASES[name]


@pytest.mark.parametrize(("criterion", "defer"), [("ldam", 1.0), ("ldam-drw", 0.6)])
def test_m2m_on_a_margin_loss_keeps_its_deferral(criterion: str, defer: float) -> None:
    values = old("m2m")
    values["hyperparameters"] |= {"attack": "fp32", "criterion": criterion, "start": 0.6}
    values["changed"] = {"attack": "fp32", "criterion": criterion, "start": 0.6}
    new = converted(with_id(values))
    assert (new["hyperparameters"]["base"], new["hyperparameters"]["base_values"]["defer"]) == ("ldam-drw", defer)
    method, plugin = configure(load("methods", "m2m"), new["hyperparameters"]), load("methods", "m2m")
    assert changed(method, plugin) == new["changed"]


def test_m2m_in_float32_says_whose_network_it_used() -> None:
    values = old("m2m")
    values["hyperparameters"]["attack"] = values["changed"]["attack"] = "fp32"
    new = converted(with_id(values))
    assert not invalid(values)
    assert (new["hyperparameters"]["source"], new["hyperparameters"]["base"]) == ("own_seed", "erm")
    assert new["changed"] == {"source": "own_seed"}
    Record.model_validate(new)


@pytest.mark.parametrize(("epochs", "changed"), [(120, {}), (20, {"recipe.epochs": 20, "recipe.warmup": 0})])
def test_a_shorter_run_keeps_the_warm_up_it_had(epochs: int, changed: dict[str, int]) -> None:
    values = old("drw")
    values["recipe"]["epochs"] = epochs
    values["changed"] = {"recipe.epochs": 20} if changed else {}
    new = converted(values)
    assert new["recipe"]["warmup"] == round(0.025 * epochs)
    assert new["changed"] == changed


def test_a_record_changed_by_hand_stops_it_before_any_change(results: Path) -> None:
    (path,) = results.rglob("drw/*.json")
    path.write_text(json.dumps(old("drw") | {"seed": 1}))
    before = {path: path.read_bytes() for path in find_records(results)}
    with pytest.raises(UserError, match=r"drw/.*its id does not match its contents"):
        migrate(results)
    assert before == {path: path.read_bytes() for path in find_records(results)}


def test_the_table_names_what_became_of_every_record() -> None:
    table = list(csv.DictReader(TABLE.read_text().splitlines()))
    assert len(table) == 187
    assert sum(not row["new id"] for row in table) == 47
    assert {row["new id"] for row in table if row["new id"]} <= {record.id for record in read_all(COMMITTED)[0]}
    assert len({row["old id"] for row in table}) == 187


def test_as_a_command(results: Path) -> None:
    command = [sys.executable, "-m", "ltbench.benchmarks.records.migrate"]
    done = subprocess.run([*command, str(results)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == 'old id,new id,old path,"new path, or why the record is invalid"'
    assert len(done.stdout.splitlines()) == 5
    missing = subprocess.run([*command, "nowhere"], capture_output=True, text=True, check=False)
    assert (missing.returncode, missing.stdout, missing.stderr) == (2, "", "Error: There is no folder nowhere.\n")
    wrong = subprocess.run([*command], capture_output=True, text=True, check=False)
    assert wrong.returncode != 0
    assert wrong.stderr.startswith("Usage: ")


def test_records_at_two_depths_leave_no_empty_folder(results: Path) -> None:
    (path,) = results.rglob("drw/*.json")
    path.rename(results / "digits-lt-exp50" / "copy.json")
    for other in [*results.rglob("rsg/*.json"), *results.rglob("cifar10*/**/*.json")]:
        other.unlink()
    migrate(results)
    assert [record.method for record in read_all(results)[0]] == ["drw"]
    assert all(any(folder.iterdir()) for folder in results.rglob("*") if folder.is_dir() and "m2m" in folder.name)
