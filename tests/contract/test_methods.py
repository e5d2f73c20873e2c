"""Requirements on every method; a new method is covered as soon as its file exists."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import carry_out, on_its_own, tiny_run, without_timings
from ltbench.benchmarks import registry
from ltbench.benchmarks.data.loader import generator
from ltbench.benchmarks.method import HOOKS, Batch, Method, Now
from ltbench.benchmarks.records.schema import Record
from ltbench.benchmarks.split import Split
from ltbench.benchmarks.training.callbacks import Callback
from ltbench.benchmarks.training.history import History
from ltbench.benchmarks.training.loop import train
from ltbench.benchmarks.training.run_spec import RunSpec, build_network
from ltbench.benchmarks.training.shared_start import attach_source
from ltbench.benchmarks.training.trainer import execute
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensor, FakeTensorMode

small_run = partial(tiny_run, n_max=16, evaluate_every=4)  # three steps per epoch


@pytest.fixture(params=registry.names("methods"))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def plain_runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Record, Path]]:
    """Function that trains a method for five epochs without interruption; returns the record and the `runs` folder.

    Each method is trained only once, at the first call. Tests compare with these runs and must not change them.
    """

    @cache
    def plain_run(name: str) -> tuple[Record, Path]:
        runs = tmp_path_factory.mktemp(name)
        return carry_out(small_run(name, epochs=5), runs), runs

    return plain_run


@pytest.fixture
def plain(name: str, plain_runs: Callable[[str], tuple[Record, Path]]) -> tuple[Record, Path]:
    return plain_runs(name)


def test_trains_to_a_finite_record_that_survives_json(plain: tuple[Record, Path]) -> None:
    record, _ = plain
    again = type(record).model_validate(json.loads(record.to_json()))
    assert again == record
    assert all(math.isfinite(loss) for loss in record.history.loss)
    assert record.final.epoch == sum(record.cost.epochs_per_stage.values()) - 1


def test_trains_in_bfloat16(name: str, tmp_path: Path) -> None:
    """Losses are finite in all epochs, and the loss of the first epoch is close to the one in float32."""
    settings = ("recipe.precision=bf16", "recipe.batch_size=16")
    record = carry_out(small_run(name, settings=settings, epochs=5), tmp_path)
    assert all(math.isfinite(loss) for loss in record.history.loss)
    assert record.history.loss[0] == pytest.approx(
        _first_loss(small_run(name, settings=settings[1:], epochs=5)), rel=0.1
    )


def test_same_seed_same_record_and_another_seed_another(name: str, plain: tuple[Record, Path], tmp_path: Path) -> None:
    first, second = plain[0], carry_out(small_run(name, epochs=5), tmp_path)
    other = small_run(name, seed=1, epochs=5)
    assert without_timings(first) == without_timings(second)
    assert first.history.loss[0] != _first_loss(other)
    assert first.id != other.id


def _first_loss(run: RunSpec) -> float:
    """Mean training loss of the first epoch, trained with the method's own hooks."""
    net = build_network(run)
    attach_source(run, net)
    return next(train(run, net, run.dataset.train)).loss


def test_resumed_run_equals_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    """A run that is interrupted after each number of epochs in `_stops` has the record of an uninterrupted run."""
    whole = carry_out(small_run(name, epochs=10), tmp_path / "whole")
    stops = _stops(small_run(name, epochs=10))
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            execute(small_run(name, epochs=10), torch.device("cpu"), tmp_path / "stopped", _Stop(name, stop))
    resumed = carry_out(small_run(name, epochs=10), tmp_path / "stopped")
    assert without_timings(resumed) == without_timings(whole)
    assert resumed.cost.resumed == len(stops)


def _stops(run: RunSpec) -> list[int]:
    """Numbers of epochs after which to interrupt a run.

    They are 1 (possibly within a shared start) and those of the following that come after the shared start: each change
    of stage, the end of the first epoch of each later stage, and the beginning of the last epoch.
    """
    ends = [sum(stage.epochs for stage in run.stages[:number]) for number in range(1, len(run.stages))]
    own = {*ends, *(end + 1 for end in ends), run.epochs - 1}
    return [1, *sorted(stop for stop in own if max(1, run.needs.prefix) < stop < run.epochs)]


def test_a_shared_beginning_and_an_own_one_give_one_record(
    name: str, plain: tuple[Record, Path], tmp_path: Path
) -> None:
    """The record is the same whether the first epochs are shared, reused, or trained with the method's own hooks."""
    shared, runs = plain
    shutil.copytree(runs, tmp_path / "shared")
    reused = _again(small_run(name, epochs=5), tmp_path / "shared")
    needs = small_run(name, epochs=5).method.needs(5)
    own = carry_out(on_its_own(small_run(name, epochs=5)), tmp_path / "own")
    assert without_timings(shared) == without_timings(own)
    assert without_timings(shared) == without_timings(reused)
    assert not any(part.reused for part in shared.cost.prerequisites)
    assert all(part.reused for part in reused.cost.prerequisites)
    uses = [part.use for part in shared.cost.prerequisites]
    assert uses == ["prefix"] * (needs.prefix > 0) + ["network"] * needs.network
    assert [part.epochs for part in shared.cost.prerequisites if part.use == "prefix"] == [needs.prefix] * (
        needs.prefix > 0
    )


def _again(run: RunSpec, runs: Path) -> Record:
    """Delete a run, but not its prerequisites, and run it again."""
    shutil.rmtree(runs / run.id)
    return carry_out(run, runs)


class _Stop(Callback):
    """Interrupts training at the first step after `epochs` complete epochs of the run of `name`.

    If `epochs` is 1, the epoch may also be that of a run whose epochs it shares.
    """

    def __init__(self, name: str, epochs: int) -> None:
        self.name, self.epochs, self.done = name, epochs, -1

    def start(self, spec: RunSpec, epochs: int, done: int) -> None:
        self.ours = spec.name == self.name or self.epochs == 1

    def step(self, images: int) -> None:
        if self.done == self.epochs:
            raise KeyboardInterrupt

    def epoch(self, history: History) -> None:
        self.done = history.epochs if self.ours else -1


def test_test_images_have_no_influence_on_training(name: str, plain: tuple[Record, Path], tmp_path: Path) -> None:
    run = small_run(name, epochs=5)
    test = run.dataset.test
    noise = torch.randint_like(test.images, 256, generator=generator(0, "noise"))
    dataset = dataclasses.replace(run.dataset, test=Split(noise, test.labels.flip(0), test.num_classes))
    changed = dataclasses.replace(run, dataset=dataset)
    carry_out(changed, tmp_path)
    folders = (plain[1] / run.id, tmp_path / changed.id)
    states = [torch.load(folder / "network.pt", weights_only=True) for folder in folders]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_leaves_no_training_module_behind(name: str, plain: tuple[Record, Path]) -> None:
    record, runs = plain
    state = torch.load(runs / record.id / "network.pt", weights_only=True)
    assert {key.split(".")[0] for key in state} == {"normalise", "backbone", "head"}
    fresh = build_network(small_run(name))
    fresh.load_state_dict(state)


def test_state_lives_in_the_network(name: str) -> None:
    """The attributes of a method do not change during training; if they did, a resumed run could differ."""
    run, net, split = _ready(name)
    before = _comparable(run.method)
    for epoch in range(3):
        now = Now("train", epoch, 3, generator(0, "test"))
        run.method.begin_epoch(net, split, now)
        run.method.loss(net, run.method.transform(_batch(run, now), net, now), now).backward()
        run.method.after_step(net, now)
    assert _comparable(run.method) == before


def test_step_reads_nothing_back_from_the_device(name: str) -> None:
    """Fake tensors have no values, so .item(), boolean indexing and nonzero fail; on a GPU they would synchronise."""
    run, real, _ = _ready(name)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with FakeCopyMode(mode):
        net = copy.deepcopy(real)
    last = run.method.stages(10)[-1]
    with mode:
        for epoch in (0, last.epochs - 1):
            now = Now(last.name, epoch, last.epochs, generator(0, "test"))
            batch = run.method.transform(_emptied(_batch(run, now)), net, now)
            loss = run.method.loss(net, batch, now)
            loss.backward()
            run.method.after_step(net, now)
            assert isinstance(loss, FakeTensor)
            assert loss.shape == ()


def test_sampling_is_a_valid_distribution(name: str) -> None:
    run, _, split = _ready(name)
    for epoch in range(10):
        probabilities = run.method.sampling(split.counts, Now("train", epoch, 10, generator(0, "test")))
        if isinstance(probabilities, torch.Tensor):
            assert probabilities.shape == split.counts.shape
            assert torch.isfinite(probabilities).all()
            assert (probabilities >= 0).all()
            assert probabilities.sum() > 0


def test_transform_gives_a_batch_that_fits_together(name: str) -> None:
    run, net, split = _ready(name)
    now = Now("train", 9, 10, generator(0, "test"))
    batch = run.method.transform(_batch(run, now), net, now)
    assert len(batch.images) == len(batch.labels)
    assert batch.images.shape[1:] == split.images.shape[1:]
    assert torch.isfinite(batch.images).all()
    if batch.synthetic is not None:
        assert batch.synthetic.dtype == torch.bool
        assert batch.synthetic.shape == batch.images.shape[:1]


def test_no_field_hides_a_hook(name: str) -> None:
    cls = registry.load("methods", name).cls
    assert not {field.name for field in dataclasses.fields(cls)} & set(HOOKS)
    assert all(callable(getattr(cls, hook)) for hook in HOOKS)


def test_card_says_what_changes_and_what_is_reported(name: str) -> None:
    card = registry.load("methods", name).card
    for part in ("Changes from ERM:", "Departs from the paper", "Reported:"):
        assert part in card, f"the card of {name} lacks '{part}'"


def _ready(name: str) -> tuple[RunSpec, Any, Split]:
    run = small_run(name)
    net = build_network(run)
    attach_source(run, net)
    for stage in run.method.stages(3):
        run.method.begin_stage(stage, net, run.dataset.train)
    return run, net, run.dataset.train


def _batch(run: RunSpec, now: Now) -> Batch:
    """Batch of every third training image; each further stream that the method requests has the same images."""
    split = run.dataset.train
    batch = Batch(split.images[::3].float() / 255, split.labels[::3])
    return batch._replace(further=(batch,) * len(run.method.streams(split.counts, now)))


def _emptied(batch: Batch) -> Batch:
    """A batch whose tensors have the same shapes and uninitialised values."""
    further = tuple(map(_emptied, batch.further))
    return Batch(torch.empty_like(batch.images), torch.empty_like(batch.labels), further=further)


def _comparable(value: Any) -> Any:
    if isinstance(value, Method):
        return {key: _comparable(part) for key, part in vars(value).items()}
    return value.tolist() if isinstance(value, torch.Tensor) else value
