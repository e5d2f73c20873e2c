"""Runs that share their first epochs with a method other than ERM, or use a network of another seed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from helpers.callbacks import Counter
from helpers.tiny import carry_out, on_its_own, tiny_run, without_timings
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import Batch, Method, Needs, Now, Split, Stage
from ltbench.benchmarks.network import Classifier, CosineHead, Head
from ltbench.benchmarks.training.shared_start import shared_trainings
from ltbench.benchmarks.training.trainer import execute
from torch import Tensor

CPU = torch.device("cpu")
FILE = '''"""M-DRW, whose loss counts double after three epochs."""
from dataclasses import dataclass
from ltbench.benchmarks.method import Needs
from ltbench.benchmarks.registry import load

@dataclass
class Doubled(load("methods", "m-drw").cls):
    def needs(self, epochs):
        return Needs(prefix=3, prefix_of="m-drw")

    def loss(self, net, batch, now):
        return super().loss(net, batch, now) * (2 if now.epoch >= 3 else 1)
'''


@pytest.fixture
def doubled(tmp_path: Path) -> str:
    """Path of the file of a method that shares its first epochs with m-drw."""
    path = tmp_path / "doubled.py"
    path.write_text(FILE)
    return str(path)


def test_a_prefix_may_be_of_any_method(doubled: str, tmp_path: Path) -> None:
    counter, other = Counter(), tiny_run("m-drw", epochs=5)
    shared = execute(tiny_run(doubled, epochs=5), CPU, tmp_path, counter)
    assert counter.epochs == {"m-drw": 3, "doubled": 2}
    (part,) = shared.cost.prerequisites
    assert (part.method, part.id, part.seed, part.use, part.epochs) == ("m-drw", other.id, 0, "prefix", 3)
    own = carry_out(on_its_own(tiny_run(doubled, epochs=5)), tmp_path / "own")
    assert without_timings(shared) == without_timings(own)
    whole = execute(other, CPU, tmp_path, counter)
    assert counter.epochs == {"m-drw": 5, "doubled": 2}, "the run itself continues from there"
    assert without_timings(whole) == without_timings(carry_out(tiny_run("m-drw", epochs=5), tmp_path / "own"))
    assert shared.history.loss[:3] == whole.history.loss[:3]
    assert shared.history.loss[3:] != whole.history.loss[3:]


def test_the_end_of_a_run_that_finish_changes_serves_others(tmp_path: Path) -> None:
    """The record of the run has the accuracy after `finish`; runs that continue from it have the accuracy before."""

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
    whole = carry_out(spec, tmp_path)
    assert without_timings(whole) == without_timings(carry_out(tiny_run("ldam-drw", epochs=2), tmp_path / "own"))


@dataclass
class BeginsAs(Method):
    """Method that shares its first `prefix` epochs with the method named `other`."""

    other: str = "erm"
    prefix: int = 1

    def needs(self, epochs: int) -> Needs:
        return Needs(prefix=self.prefix, prefix_of=self.other)


@pytest.mark.parametrize(("prefix", "first"), [(3, "erm"), (4, "erm"), (5, "drs")])
def test_the_prefix_of_a_prefix_is_shared_with_the_first_method(prefix: int, first: str) -> None:
    """`drs` shares the first four of its five epochs with `erm`."""
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
    """The methods are two plugins of an installed package."""
    (tmp_path / "pair-1.dist-info").mkdir()
    (tmp_path / "pair-1.dist-info" / "entry_points.txt").write_text("[ltbench.methods]\nleft = left\nright = right\n")
    for name, other in (("left", "right"), ("right", "left")):
        code = FILE.replace('"m-drw")\n\n', f'"{other}")\n\n').replace("Doubled", name.title())
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"left begins as right begins as left: needs\(\) must name another method"):
        shared_trainings(tiny_run("left"))


@dataclass
class FromAnotherSeed(Method):
    """Method that needs the finished ERM network of the neighbouring seed."""

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
