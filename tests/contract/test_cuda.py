"""Training, recording of CUDA graphs and profiling on a GPU; skipped without one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from helpers.command import Answer
from helpers.tiny import tiny_run, without_timings
from ltbench.benchmarks import registry
from ltbench.benchmarks.data.loader import Picked
from ltbench.benchmarks.method import Now
from ltbench.benchmarks.training.active_stage import ActiveStage
from ltbench.benchmarks.training.cuda_graph import (
    CudaGraph,
    MakeStepTaker,
    RecordedSteps,
    Step,
    no_waiting,
    record_steps,
)
from ltbench.benchmarks.training.loop import train
from ltbench.benchmarks.training.run_spec import build_network
from ltbench.benchmarks.training.shared_start import attach_source
from ltbench.benchmarks.training.trainer import execute
from torch import Tensor

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
GPU, CPU = torch.device("cuda"), torch.device("cpu")
MIXING = ("mixup", "remix", "mislas")


def plain(active: ActiveStage, step: Step) -> None:
    """Replacement for `record_steps` that records nothing, so that every step runs eagerly."""


class Strict:
    """Runs every step eagerly and fails if one synchronises with the device."""

    def __init__(self, active: ActiveStage, step: Step) -> None:
        self.active, self.plain_step = active, step

    def begin_epoch(self, now: Now) -> None:
        self.now = now

    def step(self, picked: Picked) -> Tensor:
        with no_waiting(GPU):
            return self.plain_step(self.active, self.active.batch(picked), self.now)


class Counter:
    """Records CUDA graphs like `record_steps`, and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, active: ActiveStage, step: Step) -> RecordedSteps:
        recorded = record_steps(active, step)
        assert isinstance(recorded, RecordedSteps)
        assert recorded.recorder is CudaGraph
        recorded.recorder = self._record
        return recorded

    def _record(self, *parts: Any) -> CudaGraph:
        self.graphs += 1
        return CudaGraph(*parts)


@pytest.fixture(params=registry.names("methods"))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def losses(name: str, record: MakeStepTaker, device: torch.device) -> Iterator[float]:
    spec = tiny_run(name, epochs=5, settings=("recipe.batch_size=16",))
    torch.manual_seed(0)
    net = build_network(spec)
    attach_source(spec, net)
    for end in train(spec, net.to(device), spec.dataset.train.to(device), record=record):
        yield end.loss


def test_recorded_steps_are_those_of_the_plain_path(name: str) -> None:
    """Losses agree within 2 %, with one to three graphs. A fallback to eager steps would warn and fail the test."""
    counter = Counter()
    recorded = list(losses(name, counter, GPU))
    assert 1 <= counter.graphs <= 3
    assert recorded == pytest.approx(list(losses(name, plain, GPU)), rel=2e-2)


def test_first_epoch_agrees_with_the_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first epoch is compared, because later epochs draw random numbers that differ between the devices."""
    if name in MIXING:
        pytest.skip("draws random numbers on its device from the first epoch on")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    here, there = (next(losses(name, plain, device)) for device in (GPU, CPU))
    assert here == pytest.approx(there, rel=1e-2)


def test_no_step_waits_for_the_device(name: str) -> None:
    assert list(losses(name, Strict, GPU))


def test_trains_to_a_record_and_the_same_again(name: str, tmp_path: Any) -> None:
    first, second = (execute(tiny_run(name, epochs=5), GPU, tmp_path / folder) for folder in "ab")
    assert first.environment.device != "cpu"
    assert first.history.loss == pytest.approx(second.history.loss, rel=1e-2)
    assert without_timings(first).keys() == without_timings(second).keys()


def test_adam_is_recorded_without_a_word() -> None:
    spec = tiny_run("erm", epochs=3, settings=("recipe.batch_size=16", "recipe.optimiser=adam", "recipe.lr=0.001"))
    counter = Counter()
    assert len(list(train(spec, build_network(spec).to(GPU), spec.dataset.train.to(GPU), record=counter))) == 3
    assert counter.graphs == 1


@pytest.mark.parametrize(
    "words", [("profile", "-m", "rsg", "-d", "digits-lt"), ("profile", "-m", "m2m", "-d", "digits-lt")]
)
def test_profile_on_the_gpu(cli: Callable[..., Answer], words: tuple[str, ...]) -> None:
    answer = cli(*words, "--device", "cuda")
    assert answer.code == 0, answer.err
    assert "kernels" in answer.out


def test_mixed_precision_trains(tmp_path: Any) -> None:
    record = execute(tiny_run("open", epochs=5, settings=("recipe.precision=bf16",)), GPU, tmp_path)
    assert all(math.isfinite(loss) for loss in record.history.loss)
    assert (record.recipe["precision"], record.environment.bf16) == ("bf16", None)
