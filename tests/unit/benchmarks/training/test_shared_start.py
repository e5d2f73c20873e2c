"""Shared trainings: trained once, reused, named in the record, and safe to interrupt."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from filelock import FileLock, Timeout
from helpers.callbacks import Counter, StopAfter
from helpers.tiny import carry_out, on_its_own, tiny_run, without_timings
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import Method, Needs
from ltbench.benchmarks.network import CosineHead, Head
from ltbench.benchmarks.sweeps.runner import run_missing
from ltbench.benchmarks.training import checkpoint
from ltbench.benchmarks.training.callbacks import Callback
from ltbench.benchmarks.training.run_spec import RunSpec
from ltbench.benchmarks.training.shared_start import shared_trainings
from ltbench.benchmarks.training.trainer import execute

CPU = torch.device("cpu")


def erm_id(spec: RunSpec) -> str:
    """Id of the ERM run that is the only prerequisite of a run."""
    (shared,) = shared_trainings(spec)
    return shared.spec.id


def test_one_erm_training_serves_all_methods(tmp_path: Path) -> None:
    counter = Counter()
    plan = [tiny_run(name, epochs=5) for name in ("drs", "drw", "m2m", "open", "erm")]
    records, failed = run_missing(plan, CPU, tmp_path / "results", tmp_path / "runs", counter, lambda text: None)
    assert not failed
    assert counter.epochs == {"erm": 5 + 5, "drs": 1, "drw": 1, "m2m": 1, "open": 1}, "m2m needs another ERM network"
    for record in records:
        ids = {"prefix": plan[4].id, "network": tiny_run("erm", seed=1, epochs=5).id}
        assert all(part.id == ids[part.use] for part in record.cost.prerequisites)
        assert all(part.seconds > 0 for part in record.cost.prerequisites)
    assert [len(record.cost.prerequisites) for record in records] == [1, 1, 2, 1, 1]


def test_a_method_that_others_start_from_keeps_its_end(tmp_path: Path) -> None:
    counter = Counter()
    plan = [tiny_run(name, epochs=4) for name in ("mixup", "mislas")]
    records, failed = run_missing(plan, CPU, tmp_path / "results", tmp_path / "runs", counter, lambda text: None)
    assert not failed
    second = plan[1].epochs - 4
    assert counter.epochs == {"mixup": 4, "mislas": second}
    (part,) = records[1].cost.prerequisites
    assert (part.id, part.epochs, part.reused) == (plan[0].id, 4, True)


def test_the_erm_run_of_a_prerequisite_is_the_erm_run(tmp_path: Path) -> None:
    """A later ERM run has the same id, continues from the shared epochs, and has the record of an independent one."""
    drs, erm = tiny_run("drs", epochs=5), tiny_run("erm", epochs=5)
    assert erm_id(drs) == erm.id
    carry_out(drs, tmp_path / "a")
    counter = Counter()
    whole = execute(erm, CPU, tmp_path / "a", counter)
    assert counter.epochs == {"erm": 1}
    assert without_timings(whole) == without_timings(carry_out(tiny_run("erm", epochs=5), tmp_path / "b"))
    assert whole.cost.resumed == 0


def test_another_recipe_seed_or_dataset_is_another_training() -> None:
    run = tiny_run("drs")
    others = [tiny_run("drs", seed=1), tiny_run("drs", settings=("recipe.lr=0.05",)),
              tiny_run("drs", settings=("dataset.holdout=true",)), tiny_run("drs", epochs=4)]  # fmt: skip
    assert len({erm_id(each) for each in [run, *others]}) == 5
    assert erm_id(tiny_run("open", settings=("delta=0.5",))) == erm_id(run)


def test_a_deferral_of_its_own_gets_a_snapshot_of_its_own(tmp_path: Path) -> None:
    carry_out(tiny_run("erm", epochs=5), tmp_path)
    counter = Counter()
    soon = tiny_run("drs", epochs=5, settings=("drs.defer=0.4",))
    shared = execute(soon, CPU, tmp_path, counter)
    assert counter.epochs == {"erm": 2, "drs": 3}
    own = on_its_own(tiny_run("drs", epochs=5, settings=("drs.defer=0.4",)))
    assert without_timings(shared) == without_timings(carry_out(own, tmp_path / "own"))


def test_an_interrupted_erm_run_further_on_keeps_its_progress(tmp_path: Path) -> None:
    erm = tiny_run("erm", epochs=5, settings=("recipe.drops=[[0.2, 0.1]]",))
    with pytest.raises(KeyboardInterrupt):
        execute(erm, CPU, tmp_path, StopAfter(4))
    carry_out(tiny_run("drs", epochs=5, settings=("recipe.drops=[[0.2, 0.1]]", "drs.defer=0.4")), tmp_path)
    left = checkpoint.load(tmp_path / erm.id)
    assert left is not None
    assert left.number == 4


@pytest.mark.parametrize(("method", "prefix"), [("drs", 2), ("m2m", 5)])
def test_an_erm_run_stopped_just_where_others_begin(method: str, prefix: int, tmp_path: Path) -> None:
    """There is a checkpoint but no snapshot, as after a kill between writing the two, or with a changed `defer`."""
    erm = tiny_run("erm", epochs=5)
    with pytest.raises(KeyboardInterrupt):
        execute(erm, CPU, tmp_path, StopAfter(prefix))
    for path in (tmp_path / erm.id).glob("epoch-*.pt"):
        path.unlink()
    settings = ("drs.defer=0.4",) if method == "drs" else ()
    record = carry_out(tiny_run(method, epochs=5, settings=settings), tmp_path)
    plain = carry_out(tiny_run(method, epochs=5, settings=settings), tmp_path / "other")
    assert without_timings(record) == without_timings(plain)


@pytest.mark.parametrize("recipe", [("recipe.momentum=0",), ("recipe.optimiser=adam", "recipe.lr=0.001")])
def test_shared_and_own_beginnings_agree_for_other_optimisers(recipe: tuple[str, ...], tmp_path: Path) -> None:
    shared = carry_out(tiny_run("drs", epochs=5, settings=recipe), tmp_path / "shared")
    own = carry_out(on_its_own(tiny_run("drs", epochs=5, settings=recipe)), tmp_path / "own")
    assert without_timings(shared) == without_timings(own)


def test_an_interrupted_prefix_resumes_though_erm_has_ended(tmp_path: Path) -> None:
    carry_out(tiny_run("erm", epochs=10), tmp_path)
    checkpoint.remove(tmp_path / tiny_run("erm", epochs=10).id)
    soon = tiny_run("drs", epochs=10, settings=("drs.defer=0.5",))
    with pytest.raises(KeyboardInterrupt):
        execute(soon, CPU, tmp_path, StopAfter(4))
    counter = Counter()
    execute(soon, CPU, tmp_path, counter)
    assert counter.epochs == {"erm": 1, "drs": 5}


def test_an_erm_run_made_of_another_run_s_beginning_says_so(tmp_path: Path) -> None:
    carry_out(tiny_run("drs", epochs=5), tmp_path)
    record = carry_out(tiny_run("erm", epochs=5), tmp_path)
    (part,) = record.cost.prerequisites
    assert (part.use, part.epochs, part.reused, part.device) == ("prefix", 4, True, "cpu")
    later = carry_out(tiny_run("blt", epochs=5, settings=("blt.confusion=train_soft", "blt.second=0.2")), tmp_path)
    # the prerequisites of the ERM run itself are not listed
    assert [(part.use, part.epochs) for part in later.cost.prerequisites] == [("prefix", 5)]


def test_a_prerequisite_in_other_hands_is_left_for_later(tmp_path: Path) -> None:
    drs, ldam = tiny_run("drs", epochs=2, settings=("drs.defer=0.5",)), tiny_run("ldam-drw", epochs=2)
    folder = tmp_path / "runs" / erm_id(drs)
    folder.mkdir(parents=True)
    said: list[str] = []
    with FileLock(folder / "run.lock") as lock:
        with pytest.raises(Timeout):
            execute(drs, CPU, tmp_path / "runs", wait=False)

        def say(text: str) -> None:
            said.append(text)
            if "another process" in text:
                lock.release(force=True)

        records, _ = run_missing([drs, ldam], CPU, tmp_path / "results", tmp_path / "runs", Callback(), say)
    assert [record.method for record in records] == ["drs", "ldam-drw"]
    assert any("another process is training its prerequisite" in text for text in said)


def test_a_damaged_snapshot_is_trained_again(tmp_path: Path) -> None:
    first = carry_out(tiny_run("drs", epochs=5), tmp_path)
    for path in (tmp_path / erm_id(tiny_run("drs", epochs=5))).glob("epoch-*.pt"):
        path.write_bytes(path.read_bytes()[:-1000])
    (tmp_path / tiny_run("drs", epochs=5).id).rename(tmp_path / "away")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again = carry_out(tiny_run("drs", epochs=5), tmp_path)
    assert any("damaged" in str(warning.message) for warning in caught)
    assert without_timings(again) == without_timings(first)


class Wrong(Method):
    """Method that declares shared ERM epochs although its network cannot load ERM's weights."""

    def needs(self, epochs: int) -> Needs:
        return Needs(prefix=1)

    def head(self, default: Head) -> Head:
        return CosineHead


def test_a_wrong_claim_is_named(tmp_path: Path) -> None:
    run = tiny_run("drs")
    wrong = RunSpec("wrong", None, Wrong(), {}, run.dataset, run.recipe, 0)
    with pytest.raises(UserError, match=r"needs\(\) declares that it begins as erm, but erm's weights do not fit"):
        carry_out(wrong, tmp_path)
