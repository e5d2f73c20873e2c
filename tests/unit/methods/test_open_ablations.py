"""OPeN: the phases before and with noise, ablations, and invalid options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.open_batches import after_start, batch_of, ready, settings
from helpers.tiny import carry_out, on_its_own, tiny_run, without_timings
from ltbench.benchmarks.data.loader import generator
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import Batch, Now
from ltbench.benchmarks.network import Classifier, LinearHead
from ltbench.benchmarks.registry import configure, load
from ltbench.benchmarks.split import Split
from ltbench.benchmarks.training.callbacks import Callback
from ltbench.benchmarks.training.plan import RunRequest, make_plan
from ltbench.benchmarks.training.run_spec import build_network
from ltbench.benchmarks.training.trainer import execute
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

ABLATIONS = [{"norm": "auxiliary"}, {"norm": "auxiliary", "noise_grad": "stop"}, {"norm": "standard"},
             {"noise_grad": "affine_frozen"}, {"noise_grad": "full"}, {"control": "drop"}, {"noise": "additive"},
             {"noise_space": "normalised"}, {"append": "0.25", "start": "0"},
             {"norm": "auxiliary", "noise_init": "fresh"}, {"epoch_length": "balanced"}]  # fmt: skip


def test_nothing_happens_before_the_start() -> None:
    method, net, split = ready()
    batch, before_start = batch_of(split), Now("train", 159, 200, generator(0, "test"))
    assert method.transform(batch, net, before_start) is batch
    assert method.sampling(split.counts, before_start) is None
    at = Now("train", 160, 200, generator(0, "test"))
    assert method.transform(batch, net, at).synthetic is not None
    assert method.sampling(split.counts, at).tolist() == [1.0] * 10


@pytest.mark.parametrize("ablation", [{}, {"norm": "auxiliary"}, {"norm": "standard"}], ids=str)
def test_first_phase_is_erm_bit_for_bit(ablation: dict[str, str], tmp_path: Path) -> None:
    """If noise never starts, the whole history equals ERM's; otherwise, losses and accuracies before the start do."""
    erm = carry_out(tiny_run("erm", epochs=5), tmp_path)
    whole, never = (
        carry_out(on_its_own(tiny_run("open", epochs=5, settings=settings(ablation | start))), tmp_path)
        for start in ({}, {"start": "1"})
    )
    assert never.history == erm.history
    assert whole.history.loss[:4] == erm.history.loss[:4]
    assert whole.history.accuracy[:4] == erm.history.accuracy[:4]
    assert whole.history.loss[4] != erm.history.loss[4]


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ABLATIONS, ids=str)
def test_every_ablation_trains_resumes_and_differs(ablation: dict[str, str], tmp_path: Path) -> None:
    """With each option of OPeN, a resumed run has the same record, and losses differ from those of the default."""
    before_start = {"start": "0.6"}  # the last two epochs have noise
    chosen = settings(before_start | ablation)
    run = tiny_run("open", epochs=5, settings=chosen)
    whole = carry_out(run, tmp_path / "whole")
    default = carry_out(tiny_run("open", epochs=5, settings=settings(before_start)), tmp_path / "default")
    assert whole.id != default.id
    assert whole.history.loss != default.history.loss
    (tmp_path / "again" / run.id).mkdir(parents=True)
    for slot in ("checkpoint-a.pt", "checkpoint-b.pt"):  # slot a is intact, slot b is damaged
        content = (tmp_path / "whole" / run.id / slot).read_bytes()
        (tmp_path / "again" / run.id / slot).write_bytes(content if slot.endswith("a.pt") else b"damaged")
    with pytest.warns(UserWarning, match="damaged"):
        resumed = carry_out(tiny_run("open", epochs=5, settings=chosen), tmp_path / "again")
    assert without_timings(resumed) == without_timings(whole)
    state = torch.load(tmp_path / "whole" / run.id / "network.pt", weights_only=True)
    assert not any("noise" in key for key in state)


@pytest.mark.parametrize("ablation", [{}, *ABLATIONS], ids=str)
def test_no_ablation_reads_back_from_the_device(ablation: dict[str, str]) -> None:
    run = tiny_run("open", settings=(*settings(ablation), "recipe.channels_last=false"))
    with FakeTensorMode(allow_non_fake_inputs=True):
        net = build_network(run)
        fake = Split(torch.empty(64, 3, 8, 8, dtype=torch.uint8), torch.empty(64, dtype=torch.int64), 10)
        run.method.begin_stage(run.method.stages(10)[0], net, fake)
        batch = run.method.transform(Batch(fake.images.float(), fake.labels), net, after_start())
        assert batch.synthetic is not None
        run.method.loss(net, batch, after_start()).backward()


def test_second_norm_starts_as_a_copy_when_noise_begins() -> None:
    method, net, split = ready(norm="auxiliary")
    norm: Any = net.backbone.stem[1]  # type: ignore[index]
    net(torch.rand(8, 3, 8, 8))
    for epoch, equal in ((7, False), (8, True)):
        method.begin_epoch(net, split, Now("train", epoch, 10, generator(0, "test")))
        assert torch.equal(norm.running_mean, norm.noise.running_mean) == equal
    net(torch.rand(8, 3, 8, 8))
    method.begin_epoch(net, split, after_start())
    assert not torch.equal(norm.running_mean, norm.noise.running_mean)


def test_second_norm_stays_fresh_if_asked() -> None:
    method, net, split = ready(norm="auxiliary", noise_init="fresh")
    net(torch.rand(8, 3, 8, 8))
    method.begin_epoch(net, split, Now("train", 8, 10, generator(0, "test")))
    norm: Any = net.backbone.stem[1]  # type: ignore[index]
    assert torch.equal(norm.noise.running_mean, torch.zeros(8))
    assert not torch.equal(norm.running_mean, torch.zeros(8))


def test_a_share_of_noise_that_cannot_be_is_noticed() -> None:
    method, net, split = ready()
    net.noise_count += torch.tensor([90.0, 50.0, 35.0])  # type: ignore[operator]
    with pytest.warns(UserWarning, match="noise images in an epoch; .* were expected"):
        method.begin_epoch(net, split, after_start())
    now = after_start()
    for _ in range(30):
        method.transform(batch_of(split), net, now)
    method.begin_epoch(net, split, after_start())
    assert net.noise_count.tolist() == [0, 0, 0]  # type: ignore[operator,union-attr]


def step(method: Any, net: Classifier, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    net.zero_grad()
    loss = method.loss(net, batch, after_start())
    loss.backward()
    return loss.detach(), [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]


def test_control_drop_equals_a_batch_without_the_noise_rows() -> None:
    method, net, split = ready(control="drop")
    batch = method.transform(batch_of(split), net, after_start())
    assert batch.synthetic is not None
    assert 0 < int(batch.synthetic.sum()) < len(batch.labels)
    matches = step(method, net, batch)
    natural = Batch(batch.images[~batch.synthetic], batch.labels[~batch.synthetic])
    expected = step(method, build_network(tiny_run("open")), natural)
    for first, other in zip([matches[0], *matches[1]], [expected[0], *expected[1]], strict=True):
        torch.testing.assert_close(first, other, atol=2e-5, rtol=1e-4)


def test_loss_is_a_mean_over_all_rows_and_standard_norm_mixes() -> None:
    method, net, split = ready()
    standard, plain, _ = ready(norm="standard")
    batch = method.transform(batch_of(split), net, after_start())
    loss = float(standard.loss(plain, batch, after_start()).detach())
    expected = torch.nn.functional.cross_entropy(build_network(tiny_run())(batch.images), batch.labels)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-6)
    assert float(method.loss(net, batch, after_start()).detach()) != pytest.approx(loss, rel=1e-3)


def test_additive_noise_is_the_image_plus_noise_clipped() -> None:
    method, net, split = ready(noise="additive", strength="25", delta="1")
    batch = batch_of(split)
    changed = method.transform(batch, net, after_start())
    difference = (changed.images - batch.images)[changed.synthetic]
    inner = (batch.images[changed.synthetic] > 0.4) & (batch.images[changed.synthetic] < 0.6)
    assert float(difference[inner].std()) == pytest.approx(25 / 255, rel=0.1)
    assert float(changed.images.min()) >= 0
    assert float(changed.images.max()) <= 1


def test_appended_noise_for_balanced_data() -> None:
    method, net, split = ready(append="0.25", start="0")
    batch = batch_of(split, 128)
    changed = method.transform(batch, net, after_start())
    assert len(changed.labels) == 160
    assert changed.synthetic.tolist() == [False] * 128 + [True] * 32
    assert torch.equal(changed.images[:128], batch.images)
    assert method.sampling(split.counts, after_start()) is None
    labels = torch.cat([method.transform(batch, net, after_start(seed)).labels[128:] for seed in range(200)])
    counts = torch.bincount(labels, minlength=10)
    assert ((counts - 640).abs() < 5 * (6400 * 0.1 * 0.9) ** 0.5).all()


class Count(Callback):
    """Counts the training images that a run draws."""

    images = 0

    def step(self, images: int) -> None:
        self.images += images


def test_epoch_length(tmp_path: Path) -> None:
    run = tiny_run("open", settings=("open.epoch_length=balanced",), epochs=5)
    split = run.dataset.train
    now = Now("train", 4, 5, generator(0, "test"))
    assert run.method.draws(split.counts, now) == 30 * 10
    assert run.method.draws(split.counts, Now("train", 0, 5, generator(0, "test"))) is None
    assert tiny_run("open").method.draws(split.counts, now) is None
    count = Count()
    execute(run, torch.device("cpu"), tmp_path, count)
    assert count.images == 4 * len(split) + 30 * 10


def test_warns_where_no_noise_would_come(tmp_path: Path) -> None:
    plan = make_plan(["open"], ["digits-lt"], RunRequest(imbalance="1", epochs="5", settings=["dataset.n_max=12"]))
    with pytest.warns(UserWarning, match="open inserts no noise"):
        carry_out(plan[0], tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"norm": "standard", "noise_grad": "stop"}, "noise_grad can only be full"),
        ({"norm": "auxiliary", "control": "drop"}, "can only be dar and stop"),
        ({"append": 0.25, "noise": "additive"}, "append needs noise=pure"),
        ({"append": 0.25, "control": "drop"}, "append needs noise=pure"),
        ({"noise_init": "fresh"}, "noise_init=fresh needs norm=auxiliary"),
        ({"noise": "additive", "noise_space": "normalised"}, "noise=additive needs noise_space=pixel"),
        ({"delta": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_that_contradict_each_other(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        configure(load("methods", "open"), fields)


def test_backbone_without_batch_norm() -> None:
    """noise_grad=stop detaches the features of noise images; options that need a batch norm are errors."""
    run = tiny_run("open")
    method = run.method

    def backbone() -> torch.nn.Sequential:
        torch.manual_seed(0)
        layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.GroupNorm(2, 4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        )
        layers.width = 4  # type: ignore[assignment]
        return layers

    with pytest.warns(UserWarning, match="no batch norm to route"):
        net = method.network(backbone, 10, LinearHead)
    method.begin_stage(method.stages(10)[0], net, run.dataset.train)
    batch = method.transform(batch_of(run.dataset.train), net, after_start())
    _, with_noise = step(method, net, batch)
    natural = ~batch.synthetic  # type: ignore[operator]
    _, alone = step(method, net, Batch(batch.images[natural], batch.labels[natural]))
    fraction = float(natural.float().mean())
    for mixed, first in list(zip(with_noise, alone, strict=True))[:4]:
        torch.testing.assert_close(mixed, fraction * first, atol=1e-6, rtol=1e-4)
    for fields in ({"norm": "auxiliary"}, {"noise_grad": "affine_frozen"}):
        with pytest.raises(UserError, match="has no batch norm"):
            configure(load("methods", "open"), fields).network(backbone, 10, LinearHead)
