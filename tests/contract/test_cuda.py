"""What only a GPU can show; skipped without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from helpers.command import Answer
from helpers.tiny import tiny_run, without_timings
from ltbench.benchmarks import registry
from ltbench.benchmarks.training import loop as train
from ltbench.benchmarks.training.cuda_graph import CudaGraph, Steps, no_waiting
from ltbench.benchmarks.training.trainer import attach_source, build_network, execute

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
GPU, CPU = torch.device("cuda"), torch.device("cpu")


class Plain(Steps):
    """Records nothing."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.record = None


class Counted(Steps):
    """Counts its graphs."""

    graphs = 0

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        assert self.record is CudaGraph
        self.record = self._counted

    def _counted(self, *parts: Any) -> CudaGraph:
        Counted.graphs += 1
        return CudaGraph(*parts)


@pytest.fixture(params=registry.names("methods"))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def losses(name: str, kind: type[Steps], device: torch.device, monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    monkeypatch.setattr(train, "Steps", kind)
    run = tiny_run(name, epochs=5, settings=("recipe.batch_size=16",))
    torch.manual_seed(0)
    net = build_network(run)
    attach_source(run, net)
    for end in train.train(run.method, net.to(device), run.dataset.train.to(device), run.recipe, 0):
        yield end.loss


def test_recorded_steps_are_those_of_the_plain_path(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fallback would warn, and a warning fails a test."""
    Counted.graphs = 0
    recorded = list(losses(name, Counted, GPU, monkeypatch))
    assert 1 <= Counted.graphs <= 3
    assert recorded == pytest.approx(list(losses(name, Plain, GPU, monkeypatch)), rel=2e-2)


def test_first_epoch_agrees_with_the_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as both draw the same numbers: before a method draws random numbers on its device."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    here, there = (next(losses(name, Plain, device, monkeypatch)) for device in (GPU, CPU))
    assert here == pytest.approx(there, rel=1e-2)


def test_no_step_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Strict(Plain):
        def __call__(self, *parts: Any) -> torch.Tensor:
            with no_waiting(GPU):
                return super().__call__(*parts)

    assert list(losses(name, Strict, GPU, monkeypatch))


def test_trains_to_a_record_and_the_same_again(name: str, tmp_path: Any) -> None:
    first, second = (execute(tiny_run(name, epochs=5), GPU, tmp_path / folder) for folder in "ab")
    assert first.environment.device != "cpu"
    assert first.history.loss == pytest.approx(second.history.loss, rel=1e-2)
    assert without_timings(first).keys() == without_timings(second).keys()


def test_adam_is_recorded_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run("erm", epochs=3, settings=("recipe.batch_size=16", "recipe.optimiser=adam", "recipe.lr=0.001"))
    monkeypatch.setattr(train, "Steps", Counted)
    Counted.graphs = 0
    net = build_network(run).to(GPU)
    assert len(list(train.train(run.method, net, run.dataset.train.to(GPU), run.recipe, 0))) == 3
    assert Counted.graphs == 1


@pytest.mark.parametrize(
    "words", [("profile", "-m", "rsg", "-d", "digits-lt"), ("profile", "-m", "m2m", "-d", "digits-lt")]
)
def test_profile_on_the_gpu(cli: Callable[..., Answer], words: tuple[str, ...]) -> None:
    answer = cli(*words, "--device", "cuda")
    assert answer.code == 0, answer.err
    assert "kernels" in answer.out


def test_mixed_precision_trains(tmp_path: Any) -> None:
    record = execute(tiny_run("open", epochs=5, settings=("recipe.precision=bf16",)), GPU, tmp_path)
    assert record.environment.bf16 is not None
