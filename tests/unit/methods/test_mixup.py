"""Mixup, manifold mixup and remix, compared with worked numbers, naive formulas and their bases."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from helpers.command import Answer
from helpers.first_steps import first_steps
from helpers.tiny import tiny_run
from ltbench.benchmarks.data.loader import generator
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import Batch, Now
from ltbench.benchmarks.network import Classifier
from ltbench.benchmarks.registry import configure, load
from ltbench.benchmarks.split import Split
from ltbench.benchmarks.training.run_spec import build_network
from ltbench.methods._shared.mixing import mixed_loss
from ltbench.methods.mixup import mixed_features
from ltbench.methods.remix import label_weights
from torch import Tensor

COUNTS = torch.tensor([100, 20, 5])
LOGITS = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.5]], dtype=torch.float64)
LABELS, ORDER = torch.tensor([0, 2]), torch.tensor([1, 0])
STEPS = ("recipe.batch_size=16",)


def now() -> Now:
    return Now("train", 9, 10, generator(0, "test"))


def started(name: str, **fields: Any) -> Any:
    method = configure(load("methods", name), fields)
    labels = torch.repeat_interleave(torch.arange(3), COUNTS)
    split = Split(torch.zeros(len(labels), 3, 2, 2, dtype=torch.uint8), labels, 3)
    method.begin_stage(method.stages(10)[0], None, split)
    return method


def pair(weight: Tensor) -> Batch:
    """The batch of the worked numbers: labels 0 and 2, each mixed with the other."""
    return Batch(torch.zeros(2, 3, 2, 2), LABELS, second_labels=LABELS[ORDER], weight=weight)


class Fixed(torch.nn.Module):
    """A network that returns the logits of the worked numbers."""

    def forward(self, images: Tensor) -> Tensor:
        return LOGITS


def loss_of(method: Any, weight: Tensor) -> float:
    return float(method.loss(Fixed(), pair(weight), now()))


def test_worked_loss_of_mixup() -> None:
    assert loss_of(started("mixup"), torch.full((2,), 0.7, dtype=torch.float64)) == pytest.approx(1.410987, abs=1e-5)


@pytest.mark.parametrize("base", ["erm", "drw", "focal", "ldam-drw"])
def test_mixup_weights_the_losses_of_its_base(base: str) -> None:
    method, alone = started("mixup", base=base), started(base)
    logits = LOGITS.float()
    first, second = (float(alone.criterion(logits, labels, now())) for labels in (LABELS, LABELS[ORDER]))
    loss = mixed_loss(method.criterion, logits, pair(torch.full((2,), 0.7)), now())
    assert float(loss) == pytest.approx(0.7 * first + 0.3 * second, rel=1e-6)


@pytest.mark.parametrize("level", ["input", "manifold"])
@pytest.mark.parametrize("base", ["erm", "ldam-drw"])
def test_without_mixing_the_steps_are_those_of_the_base(base: str, level: str) -> None:
    plain, weights = first_steps(tiny_run(base, settings=STEPS))
    settings = (*STEPS, f"mixup.base={base}", f"mixup.level={level}")
    neutral, same = first_steps(tiny_run("mixup", settings=(*settings, "mixup.alpha=0")))
    usual, other = first_steps(tiny_run("mixup", settings=settings))
    assert neutral == plain != usual
    assert all(torch.equal(value, same.state_dict()[key]) for key, value in weights.state_dict().items())
    assert not torch.equal(other.head.weight, weights.head.weight)


def tiny_net() -> Classifier:
    net = build_network(tiny_run())
    return net.eval()


@pytest.mark.parametrize("cut", range(5))
def test_manifold_mixup_mixes_the_input_of_one_stage(cut: int) -> None:
    net = tiny_net()
    images, order = torch.rand(4, 3, 8, 8, generator=generator(0, "images")), torch.tensor([2, 0, 3, 1])
    assert len(net.backbone) == 5
    maps = net.backbone[:cut](net.normalise(images))
    expected = net.backbone[cut:](0.7 * maps + 0.3 * maps[order])
    features = mixed_features(net, images, torch.tensor(0.7), order, torch.tensor(cut / 5 + 0.1))
    torch.testing.assert_close(features, expected)
    plain = mixed_features(net, images, torch.tensor(1.0), order, torch.tensor(cut / 5 + 0.1))
    assert torch.equal(plain, net.features(images))


def test_manifold_mixup_chooses_every_stage() -> None:
    net, chosen = tiny_net(), torch.arange(0, 1, 0.01)
    images, order = torch.rand(4, 3, 8, 8, generator=generator(0, "images")), torch.tensor([2, 0, 3, 1])
    features = [mixed_features(net, images, torch.tensor(0.5), order, number) for number in chosen]
    assert 1 + sum(not torch.equal(a, b) for a, b in pairwise(features)) == 5


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (0.3, [[0.3, 0, 0], [0.3, 0.3, 0], [0.3, 0.3, 0.3]]),
        (0.7, [[0.7, 0.7, 0.7], [1, 0.7, 0.7], [1, 1, 0.7]]),
    ],
)
def test_worked_label_weights_of_remix(weight: float, expected: list[list[float]]) -> None:
    sizes = COUNTS.repeat_interleave(3), COUNTS.repeat(3)
    weights = label_weights(*sizes, torch.tensor(weight, dtype=torch.float64), 3.0, 0.5)
    assert weights.view(3, 3).tolist() == expected


def test_worked_loss_of_remix() -> None:
    weight = label_weights(COUNTS[LABELS], COUNTS[LABELS[ORDER]], torch.tensor(0.3, dtype=torch.float64), 3.0, 0.5)
    assert weight.tolist() == [0, 0.3]
    loss = loss_of(started("remix"), weight)
    assert loss == pytest.approx(2.010987, abs=1e-5)
    averaged = [float(torch.nn.functional.cross_entropy(LOGITS, labels)) for labels in (LABELS, LABELS[ORDER])]
    wrong = float((weight * averaged[0] + (1 - weight) * averaged[1]).mean())
    assert wrong == pytest.approx(1.823487, abs=1e-5)


@pytest.mark.parametrize("base", ["erm", "focal"])
def test_remix_without_its_rule_is_mixup(base: str) -> None:
    """With kappa above the ratio of class sizes, which is 5, the rule of remix never applies."""
    mixup, net = first_steps(tiny_run("mixup", settings=(*STEPS, f"mixup.base={base}")))
    settings = (*STEPS, f"remix.base={base}")
    neutral, same = first_steps(tiny_run("remix", settings=(*settings, "remix.kappa=1000")))
    usual, _ = first_steps(tiny_run("remix", settings=settings))
    assert neutral == pytest.approx(mixup, rel=1e-5)
    assert usual != pytest.approx(mixup, rel=1e-3)
    torch.testing.assert_close(same.head.weight, net.head.weight, rtol=1e-4, atol=1e-5)


def test_equal_class_sizes_give_mixup() -> None:
    sizes = torch.full((5,), 7)
    assert label_weights(sizes, sizes, torch.tensor(0.3), 3.0, 0.5).tolist() == pytest.approx([0.3] * 5)


def test_remix_gives_the_whole_label_to_rare_classes() -> None:
    method = started("remix")
    labels = torch.arange(3).repeat(20)
    batch = method.transform(Batch(torch.zeros(60, 3, 2, 2), labels), None, now())
    differ = batch.labels != batch.second_labels
    assert set(batch.weight[differ].unique().tolist()) & {0.0, 1.0}
    smaller = COUNTS[batch.labels] < COUNTS[batch.second_labels]
    assert (batch.weight[smaller] >= batch.weight[batch.labels == batch.second_labels].max()).all()


@pytest.mark.parametrize("base", ["drw", "cb-rw", "ldam-drw", "m-drw"])
def test_remix_refuses_a_base_without_losses_of_images(base: str) -> None:
    with pytest.raises(UserError, match=f"the loss of '{base}' is not their mean"):
        configure(load("methods", "remix"), {"base": base})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("mixup.alpha=-1", "alpha = "),
        ("mixup.base=mixup", "'mixup' cannot be the base of Mixup: its loss(), transform() would never be called."),
        ("remix.base=mixup", "'mixup' cannot be the base of Remix"),
        ("remix.kappa=0.5", "kappa = "),
        ("remix.base=drw", "the loss of 'drw' is not their mean"),
        ("mixup.base=nothing", "Unknown method 'nothing'"),
    ],
)
def test_a_wrong_setting_is_one_sentence(cli: Callable[..., Answer], setting: str, message: str) -> None:
    method = setting.partition(".")[0]
    answer = cli("run", "--method", method, "--dataset", "digits-lt", "--set", setting)
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err
