"""Measurements and output of `bench profile` and `bench speed`; timings are not compared with fixed values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.command import Answer
from ltbench.benchmarks.data.augment import as_floats
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.precision import _PRODUCTS, Rounding, rounding
from ltbench.benchmarks.speed import dataloader_baseline as baseline
from ltbench.benchmarks.speed.bf16 import bf16_speed
from ltbench.benchmarks.speed.interleaved import alternate, ratio
from ltbench.benchmarks.speed.profile import PARTS, profiles
from ltbench.benchmarks.speed.synthetic import CIFAR_10_LT, Scale, synthetic_specs
from ltbench.benchmarks.training.plan import RunRequest, make_plan
from ltbench.benchmarks.utils.device import find_device
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

CPU = torch.device("cpu")


def test_variants_alternate_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    times = iter([9.0, 9.0, 2.0, 1.0, 6.0, 2.0, 4.0, 4.0])

    def clock(work: Callable[[], Any], device: torch.device) -> float:
        work()
        return next(times)

    variants = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    seconds = alternate(variants, 3, CPU, clock=clock)
    assert order == ["a", "b"] * 4
    times_as_long = ratio(seconds["a"], seconds["b"])
    assert times_as_long.rounds == (2.0, 3.0, 1.0)
    assert (times_as_long.median, times_as_long.seconds) == (2.0, 4.0)
    assert str(times_as_long) == "2.00 [1.00, 3.00]"


def test_profile_has_every_part_of_a_step_early_and_late() -> None:
    run = make_plan(["open"], ["digits-lt"], RunRequest(epochs="10", settings=["dataset.n_max=30"], imbalance="5"))[0]
    first, last = profiles(run, CPU)
    for profile in (first, last):
        assert set(profile.parts) == set(PARTS)
        assert all(seconds >= 0 for seconds in profile.parts.values())
        assert profile.whole > 0
        assert 0 < sum(operation.fraction for operation in profile.operations) <= 1.0001
        assert any("convolution" in operation.name for operation in profile.operations)
    assert (first.epoch, last.epoch) == (0, 9)
    assert last.parts["transform"] > first.parts["transform"], "noise is inserted late"
    assert last.counts.operations > first.counts.operations


def test_profile_command(cli: Callable[..., Answer]) -> None:
    answer = cli("profile", "-m", "drw", "-d", "digits-lt", "--epochs", "3", "--set", "recipe.batch_size=16")
    assert answer.code == 0
    for part in (*PARTS, "host waits", "forward passes", "drw on digits-lt exp50"):
        assert part in answer.out
    assert "USDT" not in answer.out + answer.err
    assert not list(Path().rglob("*.json")), "nothing is trained or recorded"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("profile", "-m", "opn", "-d", "digits-lt"), "open"),
        (("profile", "-m", "open", "-d", "digits"), "digits-lt"),
        (("speed", "--methods", "ldam-drv"), "ldam-drw"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(
    cli: Callable[..., Answer], words: tuple[str, ...], sentence: str
) -> None:
    answer = cli(*words)
    assert answer.code == 2
    assert sentence in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.slow
def test_speed_command_writes_tables_and_all_rounds(cli: Callable[..., Answer]) -> None:
    """`bench speed --quick` for three methods, compared with a loop over torch's DataLoader."""
    words = (
        "speed",
        "--quick",
        "--methods",
        "drs,open,blt",
        "--against",
        "dataloader",
        "--json",
        "all.json",
        "--out",
        "out/speed.md",
    )
    answer = cli(*words)
    assert answer.code == 0, answer.err
    assert "[minimum, maximum]" in " ".join(answer.out.split()), "brackets are text, not markup"
    text = Path("out/speed.md").read_text()
    for word in ("| input | crop, flip |", "| loop | evaluation", "| open | 1.00 |", "[1.00, 1.00]", "torch 2."):
        assert word in text
    results = json.loads(Path("all.json").read_text())
    assert list(results["steps"]) == ["blt", "drs", "erm", "open"]
    assert len(results["steps"]["open"]["time"]["rounds"]) == 2
    assert len(results["loop"]["epoch"]["rounds"]) == 2
    assert results["peak"] > 0


def test_speed_measures_in_the_sizes_of_a_published_set() -> None:
    assert Scale(5000, 100, 1000, (), 5, 10, 4) == CIFAR_10_LT
    (spec,) = synthetic_specs(["erm"])
    assert (spec.dataset.train.counts.tolist()[0], spec.dataset.train.counts.tolist()[-1]) == (5000, 50)
    assert spec.dataset.test.counts.tolist() == [1000] * 10
    assert (spec.recipe.backbone, spec.recipe.batch_size) == ("resnet32", 128)


def test_common_loop_sees_the_images_that_ours_sees() -> None:
    run = make_plan(["erm"], ["waves-lt"], RunRequest(recipe="cifar", settings=["dataset.n_max=20"], imbalance="2"))[0]
    moments = (run.dataset.mean, run.dataset.std)
    images = baseline.PILImages(run.dataset.train, baseline.test_transform(moments))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in moments)
    ours = (as_floats(run.dataset.train.images, run.recipe) - mean) / std
    theirs = torch.stack([images[k][0] for k in range(len(images))])
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-6)
    hole = baseline.PILCutout(16)(Image.new("RGB", (32, 32), (255, 255, 255)))
    assert 64 <= sum(pixel == 0 for pixel in hole.convert("L").tobytes()) <= 256


def test_bfloat16_is_measured_for_the_speed_report_alone() -> None:
    assert 0.01 < bf16_speed("cpu") < 100


def test_precision_auto_is_refused() -> None:
    with pytest.raises(UserError, match="precision = 'auto': input should be 'fp32' or 'bf16'"):
        make_plan(["erm"], ["digits-lt"], RunRequest(settings=["recipe.precision=auto"]))


METHOD = """from dataclasses import dataclass
from ltbench.benchmarks.method import Method

@dataclass
class Reads(Method):
    def loss(self, net, batch, now):
        loss = super().loss(net, batch, now)
        print(loss.item())
        return loss
"""


@pytest.mark.parametrize("command", [("profile", "-d", "digits-lt", "-m"), ("speed", "--quick", "--methods")])
def test_a_step_that_reads_back_is_one_sentence(cli: Callable[..., Answer], command: tuple[str, ...]) -> None:
    Path("reads.py").write_text(METHOD)
    answer = cli(*command, "reads.py")
    assert answer.code == 2
    assert "reads a value back" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.slow
@pytest.mark.parametrize("option", ["start_image=class", "instead=augment"])
def test_methods_that_draw_fresh_images_can_be_profiled(option: str) -> None:
    """Options of BLT with which a training step draws further images of the training split."""
    request = RunRequest(epochs="3", settings=["dataset.n_max=30", option], imbalance="5")
    (spec,) = make_plan(["blt"], ["digits-lt"], request)
    assert profiles(spec, CPU)[-1].whole > 0


def test_no_cuda_is_a_sentence(cli: Callable[..., Answer]) -> None:
    if torch.cuda.is_available():
        pytest.skip("CUDA is available")
    answer = cli("profile", "-m", "erm", "-d", "digits-lt", "--device", "cuda")
    assert answer.code == 2
    assert "--device cpu" in answer.err
    assert find_device("auto") == CPU


@pytest.mark.parametrize("stride", [1, 2])
def test_rounding_is_what_bfloat16_arithmetic_gives(stride: int) -> None:
    """A float32 sum rounded once agrees with PyTorch's bfloat16 kernels up to the order of summation."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(4, 16, 8, 8, generator=random).bfloat16().requires_grad_()
    weights = torch.randn(8, 16, 3, 3, generator=random).bfloat16().requires_grad_()

    def results() -> list[torch.Tensor]:
        out = torch.nn.functional.conv2d(images, weights, stride=stride, padding=1)
        logits = out.flatten(1)[:, :32] @ weights.flatten()[: 32 * 5].view(32, 5)
        return [logits, *torch.autograd.grad(logits.float().square().mean(), (images, weights))]

    with _Products() as watched, Rounding():
        rounded = results()
    assert watched.products == {"convolution", "convolution_backward", "mm"}
    for ours, own in zip(rounded, results(), strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours - own).norm() <= 2**-7 * own.norm(), "two roundings to 8 bits"
    with Rounding(), torch.no_grad():
        ours = torch.nn.functional.conv2d(images, weights, padding=1)
    wide = torch.nn.functional.conv2d(images.double(), weights.double(), padding=1)
    assert ((ours.double() - wide).abs() <= 2**-8 * wide.abs() + 1e-4).all(), "within one rounding of the exact result"


class _Products(TorchDispatchMode):
    """Mode that records the names of matrix products and convolutions and checks that none runs in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.products: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _PRODUCTS:
            self.products.add(func.overloadpacket.__name__)
            assert args[0].dtype == torch.float32
        return func(*args, **(kwargs or {}))


def test_rounding_stands_in_only_where_bfloat16_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.zeros(1, 3, 2, 2)
    for has, stands_in in ((False, True), (True, False)):
        monkeypatch.setattr("ltbench.benchmarks.precision.convolves_bf16", lambda has=has: has)
        assert isinstance(rounding("bf16", images), Rounding) == stands_in
        assert not isinstance(rounding("fp32", images), Rounding)
        with FakeTensorMode():
            assert not isinstance(rounding("bf16", torch.zeros(1)), Rounding), "counts are equal on all machines"
