"""What runs share: trained once, reused, named in the record, safe to interrupt."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from filelock import FileLock, Timeout
from helpers.tiny import carry_out, on_its_own, tiny_run, without_timings
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import Batch, Method, Needs, Now, Split, Stage
from ltbench.benchmarks.network import Classifier, CosineHead, Head
from ltbench.benchmarks.sweeps.runner import run_missing
from ltbench.benchmarks.training import checkpoint
from ltbench.benchmarks.training.callbacks import Callback
from ltbench.benchmarks.training.history import History
from ltbench.benchmarks.training.run_spec import RunSpec
from ltbench.benchmarks.training.shared_start import shared_trainings
from ltbench.benchmarks.training.trainer import execute
from torch import Tensor

CPU = torch.device("cpu")


class Counter(Callback):
    """Counts epochs by method."""

    def __init__(self) -> None:
        self.epochs: dict[str, int] = {}

    def start(self, spec: RunSpec, epochs: int, done: int) -> None:
        self.name = spec.name

    def epoch(self, history: object) -> None:
        self.epochs[self.name] = self.epochs.get(self.name, 0) + 1


class StopAfter(Callback):
    """Interrupts after some epochs, when the last of them is saved."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def epoch(self, history: History) -> None:
        if history.epochs == self.epochs:
            raise KeyboardInterrupt


def erm_id(spec: RunSpec) -> str:
    """Id of the ERM run that a run builds on."""
    (shared,) = shared_trainings(spec)
    return shared.spec.id


def test_one_erm_training_serves_all_methods(tmp_path: Path) -> None:
    counter = Counter()
    plan = [tiny_run(name, epochs=5) for name in ("drs", "drw", "m2m", "open", "erm")]
    records, failed = run_missing(plan, CPU, tmp_path / "results", tmp_path / "runs", counter, lambda text: None)
    assert not failed
    assert counter.epochs == {"erm": 5, "drs": 1, "drw": 1, "m2m": 1, "open": 1}
    for record in records:
        assert {part.id for part in record.cost.prerequisites} == {plan[4].id}
        assert all(part.seconds > 0 for part in record.cost.prerequisites)
    assert [len(record.cost.prerequisites) for record in records] == [1, 1, 2, 1, 1]


def test_the_erm_run_of_a_prerequisite_is_the_erm_run(tmp_path: Path) -> None:
    """Same id; finished from where the others left it, with the record that it has by itself."""
    drs, erm = tiny_run("drs", epochs=5), tiny_run("erm", epochs=5)
    assert erm_id(drs) == erm.id
    carry_out(drs, tmp_path / "a")
    counter = Counter()
    late = execute(erm, CPU, tmp_path / "a", counter)
    assert counter.epochs == {"erm": 1}
    assert without_timings(late) == without_timings(carry_out(tiny_run("erm", epochs=5), tmp_path / "b"))
    assert late.cost.resumed == 0


def test_another_recipe_seed_or_dataset_is_another_training() -> None:
    run = tiny_run("drs")
    others = [tiny_run("drs", seed=1), tiny_run("drs", settings=("recipe.lr=0.05",)),
              tiny_run("drs", settings=("dataset.holdout=true",)), tiny_run("drs", epochs=4)]  # fmt: skip
    assert len({erm_id(each) for each in [run, *others]}) == 5
    assert erm_id(tiny_run("open", settings=("delta=0.5",))) == erm_id(run)


def test_a_deferral_that_no_other_method_shares_gets_its_own_snapshot(tmp_path: Path) -> None:
    carry_out(tiny_run("erm", epochs=5), tmp_path)
    counter = Counter()
    early = tiny_run("drs", epochs=5, settings=("drs.defer=0.4",))
    shared = execute(early, CPU, tmp_path, counter)
    assert counter.epochs == {"erm": 2, "drs": 3}
    own = on_its_own(tiny_run("drs", epochs=5, settings=("drs.defer=0.4",)))
    assert without_timings(shared) == without_timings(carry_out(own, tmp_path / "own"))


def test_an_interrupted_erm_run_that_is_further_on_keeps_its_progress(tmp_path: Path) -> None:
    erm = tiny_run("erm", epochs=5, settings=("recipe.drops=[[0.2, 0.1]]",))
    with pytest.raises(KeyboardInterrupt):
        execute(erm, CPU, tmp_path, StopAfter(4))
    carry_out(tiny_run("drs", epochs=5, settings=("recipe.drops=[[0.2, 0.1]]", "drs.defer=0.4")), tmp_path)
    left = checkpoint.load(tmp_path / erm.id)
    assert left is not None
    assert left.number == 4


@pytest.mark.parametrize(("method", "prefix"), [("drs", 2), ("m2m", 5)])
def test_an_erm_run_stopped_just_where_others_begin(method: str, prefix: int, tmp_path: Path) -> None:
    """Its checkpoint is there, no snapshot: as if killed between the two, or with a deferral of one's own."""
    erm = tiny_run("erm", epochs=5)
    with pytest.raises(KeyboardInterrupt):
        execute(erm, CPU, tmp_path, StopAfter(prefix))
    for path in (tmp_path / erm.id).glob("epoch-*.pt"):
        path.unlink()
    settings = ("drs.defer=0.4",) if method == "drs" else ()
    found = carry_out(tiny_run(method, epochs=5, settings=settings), tmp_path)
    plain = carry_out(tiny_run(method, epochs=5, settings=settings), tmp_path / "other")
    assert without_timings(found) == without_timings(plain)


@pytest.mark.parametrize("recipe", [("recipe.momentum=0",), ("recipe.optimiser=adam", "recipe.lr=0.001")])
def test_shared_and_own_beginnings_agree_for_other_optimisers(recipe: tuple[str, ...], tmp_path: Path) -> None:
    shared = carry_out(tiny_run("drs", epochs=5, settings=recipe), tmp_path / "shared")
    own = carry_out(on_its_own(tiny_run("drs", epochs=5, settings=recipe)), tmp_path / "own")
    assert without_timings(shared) == without_timings(own)


def test_a_prefix_that_was_interrupted_resumes_though_the_erm_run_has_ended(tmp_path: Path) -> None:
    carry_out(tiny_run("erm", epochs=10), tmp_path)
    checkpoint.remove(tmp_path / tiny_run("erm", epochs=10).id)
    early = tiny_run("drs", epochs=10, settings=("drs.defer=0.5",))
    with pytest.raises(KeyboardInterrupt):
        execute(early, CPU, tmp_path, StopAfter(4))
    counter = Counter()
    execute(early, CPU, tmp_path, counter)
    assert counter.epochs == {"erm": 1, "drs": 5}


def test_an_erm_run_made_of_another_run_s_beginning_says_so(tmp_path: Path) -> None:
    carry_out(tiny_run("drs", epochs=5), tmp_path)
    record = carry_out(tiny_run("erm", epochs=5), tmp_path)
    (part,) = record.cost.prerequisites
    assert (part.use, part.epochs, part.reused, part.device) == ("prefix", 4, True, "cpu")
    later = carry_out(tiny_run("blt", epochs=5, settings=("blt.confusion=train_soft", "blt.second=0.2")), tmp_path)
    assert [(part.use, part.epochs) for part in later.cost.prerequisites] == [("prefix", 5)]  # nothing of ERM's own


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
            lock.release(force=True)

        records, _ = run_missing([drs, ldam], CPU, tmp_path / "results", tmp_path / "runs", Callback(), say)
    assert [record.method for record in records] == ["drs", "ldam-drw"]
    assert any("another process is training what it starts from" in text for text in said)


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
    """Claims to begin as ERM, with a network that has no place for ERM's."""

    def needs(self, epochs: int) -> Needs:
        return Needs(prefix=1)

    def head(self, default: Head) -> Head:
        return CosineHead


def test_a_wrong_claim_is_named(tmp_path: Path) -> None:
    run = tiny_run("drs")
    wrong = RunSpec("wrong", None, Wrong(), {}, run.dataset, run.recipe, 0)
    with pytest.raises(UserError, match=r"needs\(\) says that it begins as erm, but erm's weights do not fit"):
        carry_out(wrong, tmp_path)


FILE = '''"""LDAM-DRW, whose loss counts double after three epochs."""
from dataclasses import dataclass
from ltbench.benchmarks.method import Needs
from ltbench.benchmarks.registry import load

@dataclass
class Doubled(load("methods", "ldam-drw").cls):
    def needs(self, epochs):
        return Needs(prefix=3, prefix_of="ldam-drw")

    def loss(self, net, batch, now):
        return super().loss(net, batch, now) * (2 if now.epoch >= 3 else 1)
'''


@pytest.fixture
def doubled(tmp_path: Path) -> str:
    """A method in a file whose first epochs are those of ldam-drw."""
    path = tmp_path / "doubled.py"
    path.write_text(FILE)
    return str(path)


def test_a_prefix_may_be_of_any_method(doubled: str, tmp_path: Path) -> None:
    counter, ldam = Counter(), tiny_run("ldam-drw", epochs=5)
    shared = execute(tiny_run(doubled, epochs=5), CPU, tmp_path, counter)
    assert counter.epochs == {"ldam-drw": 3, "doubled": 2}
    (part,) = shared.cost.prerequisites
    assert (part.method, part.id, part.seed, part.use, part.epochs) == ("ldam-drw", ldam.id, 0, "prefix", 3)
    own = carry_out(on_its_own(tiny_run(doubled, epochs=5)), tmp_path / "own")
    assert without_timings(shared) == without_timings(own)
    late = execute(ldam, CPU, tmp_path, counter)
    assert counter.epochs == {"ldam-drw": 5, "doubled": 2}, "the run itself continues from there"
    assert without_timings(late) == without_timings(carry_out(tiny_run("ldam-drw", epochs=5), tmp_path / "own"))
    assert shared.history.loss[:3] == late.history.loss[:3]
    assert shared.history.loss[3:] != late.history.loss[3:]


def test_the_end_of_a_run_that_finish_changes_serves_others(tmp_path: Path) -> None:
    """Its own accuracy there is that after `finish`, the others' the one before."""

    @dataclass
    class Longer(Method):
        def stages(self, epochs: int) -> list[Stage]:
            return [Stage("train", epochs), Stage("more", 1)]

        def needs(self, epochs: int) -> Needs:
            return Needs(prefix=epochs, prefix_of="ldam-drw")

        def head(self, default: Head) -> Head:
            return CosineHead

    spec = tiny_run("ldam-drw", epochs=2)
    longer = carry_out(dataclasses.replace(spec, name="longer", source="ab" * 32, method=Longer()), tmp_path)
    assert longer.history.evaluated_epochs == [0, 1, 2]
    late = carry_out(spec, tmp_path)
    assert without_timings(late) == without_timings(carry_out(tiny_run("ldam-drw", epochs=2), tmp_path / "own"))


@dataclass
class BeginsAs(Method):
    """Begins as any other method."""

    other: str = "erm"
    prefix: int = 1

    def needs(self, epochs: int) -> Needs:
        return Needs(prefix=self.prefix, prefix_of=self.other)


@pytest.mark.parametrize(("prefix", "first"), [(3, "erm"), (4, "erm"), (5, "drs")])
def test_the_prefix_of_a_prefix_is_shared_with_the_first_method(prefix: int, first: str) -> None:
    """drs begins as erm for four of five epochs."""
    spec = dataclasses.replace(tiny_run(epochs=5), name="mine", method=BeginsAs("drs", prefix))
    (shared,) = shared_trainings(spec)
    assert (shared.spec.id, shared.epochs) == (tiny_run(first, epochs=5).id, prefix)


def test_a_chain_of_shared_beginnings_trains_each_epoch_once(tmp_path: Path) -> None:
    counter = Counter()
    spec = dataclasses.replace(tiny_run(epochs=5), name="mine", source="ab" * 32, method=BeginsAs("drs", 5))
    record = execute(spec, CPU, tmp_path, counter)
    assert counter.epochs == {"erm": 4, "drs": 1}
    assert [(part.method, part.epochs) for part in record.cost.prerequisites] == [("drs", 5)]
    drs = carry_out(tiny_run("drs", epochs=5), tmp_path / "own")
    assert (record.history, record.final) == (drs.history, drs.final)


def test_methods_that_begin_as_each_other_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two plugins of an installed package."""
    (tmp_path / "pair-1.dist-info").mkdir()
    (tmp_path / "pair-1.dist-info" / "entry_points.txt").write_text("[ltbench.methods]\nleft = left\nright = right\n")
    for name, other in (("left", "right"), ("right", "left")):
        code = FILE.replace('"ldam-drw")\n\n', f'"{other}")\n\n').replace("Doubled", name.title())
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"left begins as right begins as left: needs\(\) must name another method"):
        shared_trainings(tiny_run("left"))


@dataclass
class FromAnotherSeed(Method):
    """Needs the ERM network of the neighbouring seed."""

    def needs(self, epochs: int) -> Needs:
        return Needs(network=True, other_seed=True)

    def loss(self, net: Classifier, batch: Batch, now: Now) -> Tensor:
        return super().loss(net, batch, now) + 0 * net.source(batch.images).sum()  # type: ignore[operator]

    def finish(self, net: Classifier, train: Split) -> Classifier:
        self.source_ = net.source.net.state_dict()  # type: ignore[operator,union-attr]
        del net.source
        return net


@pytest.mark.parametrize(("seed", "other"), [(0, 1), (1, 0), (6, 7)])
def test_the_network_of_another_seed(seed: int, other: int, tmp_path: Path) -> None:
    spec = dataclasses.replace(tiny_run(seed=seed, epochs=2), name="mine", source="ab" * 32, method=FromAnotherSeed())
    record, erm = carry_out(spec, tmp_path), tiny_run(seed=other, epochs=2)
    (part,) = record.cost.prerequisites
    assert (part.method, part.id, part.seed, part.use, part.epochs) == ("erm", erm.id, other, "network", 2)
    carry_out(erm, tmp_path)
    expected = torch.load(tmp_path / erm.id / "network.pt", weights_only=True)
    weights = spec.method.source_  # type: ignore[attr-defined]
    assert all(torch.equal(weights[key], value) for key, value in expected.items())
