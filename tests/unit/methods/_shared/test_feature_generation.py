"""RSG: worked examples, a naive reference, parameters trained by each loss, edge cases."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import naive_rsg
from ltbench.methods._shared.feature_generation import Generator, pair_up

MAPS = torch.tensor(
    [[[1, 2, 0, 1], [0.5, 0, 1.5, 2]], [[0, 1, 1, 0], [1, 1, 0, 0]],
     [[2, 0, 0, 2], [0, 1, 1, 0]], [[0.5, 0.5, 1, 0], [2, 0, 0, 1]]], dtype=torch.float64
).view(4, 2, 2, 2)  # fmt: skip
FREQUENT = torch.tensor([True, False, False])


@pytest.fixture(params=["channel", "memory"])
def rows(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def example(memory: bool = False) -> Generator:
    """The feature generator of the worked example: 3 classes, 2 channels, 2 centres per class."""
    method = Generator(3, 2, 2, 1, memory).double()
    with torch.no_grad():
        method.weight.copy_(torch.tensor([[[1, -1], [0.5, 0]], [[0, 1], [1, 0]], [[2, 0], [0, -1]]]))
        method.bias.copy_(torch.tensor([[0, 0.5], [0, 0], [-0.5, 0.5]]))
        method.centres.copy_(torch.tensor([[[1, 0], [0, 1]], [[0.5, 0.5], [1, 1]], [[0, 0], [0, 2]]]))
        method.transform.weight.zero_()
        method.transform.weight[:, :, 1, 1] = torch.tensor([[0.5, 0.25], [-0.5, 1.0]])
        method.transform.bias.copy_(torch.tensor([0.1, -0.1]))  # type: ignore[union-attr]
        for parameter in method.contrast.parameters():
            parameter.zero_()
        method.contrast.head.bias[1] = math.log(3)
    return method


def test_worked_centre_losses() -> None:
    method, labels = example(), torch.tensor([0, 2, 0, 1])
    assignment = method.assignment(MAPS, labels)
    expected = [(0.880797, 0.119203), (0.622459, 0.377541), (0.851953, 0.148047), (0.562177, 0.437823)]
    assert assignment.tolist() == [pytest.approx(pair, abs=1e-6) for pair in expected]
    first, second = method.centre_loss(MAPS, labels, assignment), method.pair_loss(MAPS, labels)
    assert first.item() == pytest.approx(6.512584, abs=1e-6)
    assert second.item() == pytest.approx(0.836988, abs=1e-6)
    (first + second).backward()
    assert method.centres.grad is not None
    assert method.bias.grad is not None
    centres = [[[0, -2.613547], [-0.534500, 0.148047]], [[0, -0.281088], [0.437824, 0.218912]],
               [[-0.622459, -0.622459], [-0.377541, 1.132622]]]  # fmt: skip
    torch.testing.assert_close(method.centres.grad, torch.tensor(centres, dtype=torch.float64), atol=1e-6, rtol=0)
    biases = [[-0.126129, 0.126129], [-0.061534, 0.061534], [-0.470007, 0.470007]]
    torch.testing.assert_close(method.bias.grad, torch.tensor(biases, dtype=torch.float64), atol=1e-6, rtol=0)


# Labels of a batch -> labels of the generated maps, centre loss, and two triples of the MV loss and its gradient with
# respect to the transform's bias: for vectors over channels, and for vectors of consecutive numbers in memory.
CASES = {
    (0, 2, 0, 1): ((2, 1), 6.512584, (7.003390, -2.049293, -1.342606), (8.164470, -3.059962, -0.331450)),
    (0, 0, 0, 1): ((1, 1, 1), 5.757503, (5.827260, -0.453040, -1.535723), (7.295909, -2.397745, 1.268520)),
    (0, 1, 2, 2): ((1, 2, 2), 7.685673, (4.896312, -2.287725, -0.909706), (5.940552, -3.371212, -0.380657)),
}


@pytest.mark.parametrize("case", CASES)
def test_worked_generation(case: tuple[int, ...], rows: str) -> None:
    method, labels = example(rows == "memory"), torch.tensor(case)
    assignment = method.assignment(MAPS, labels)
    assert method.centre_loss(MAPS, labels, assignment).item() == pytest.approx(CASES[case][1], abs=1e-6)
    pairs = pair_up(FREQUENT[labels], 1.0)
    change, loss = method(MAPS, labels, assignment.detach(), pairs)
    loss.backward()
    assert labels[pairs.rare][pairs.valid].tolist() == list(CASES[case][0])
    expected = CASES[case][2 if rows == "channel" else 3]
    assert loss.item() == pytest.approx(expected[0], abs=1e-5)
    assert method.transform.bias.grad.tolist() == pytest.approx(expected[1:], abs=1e-5)  # type: ignore[union-attr]
    if case == (0, 2, 0, 1):
        new = (MAPS[pairs.rare] + change)[:2].flatten(1).tolist()
        assert new[0] == pytest.approx([0.225, 1.6, 0.975, 0.6, 1.4, 0.4, 1.9, 1.9])
        assert new[1] == pytest.approx([1.1, 0.35, 0.85, 0.6, 1.4, 1.4, 1.4, 0.4])


@pytest.mark.parametrize(
    ("h", "t", "transfer", "count"),
    [(5, 3, 1, 3), (6, 2, 1, 6), (6, 2, 0.5, 2), (6, 2, 0.01, 2), (2, 6, 1, 6), (2, 6, 0.2, 2), (8, 0, 1, 0),
     (0, 8, 1, 0), (1, 0, 1, 0)],
)  # fmt: skip
def test_how_many_are_generated(h: int, t: int, transfer: float, count: int) -> None:
    frequent = torch.tensor([True] * h + [False] * t)[torch.randperm(h + t)]
    pairs = pair_up(frequent, transfer)
    assert int(pairs.valid.sum()) == count
    met = list(zip(pairs.frequent[pairs.valid].tolist(), pairs.rare[pairs.valid].tolist(), strict=True))
    assert met == naive_rsg.pairs(frequent.tolist(), transfer)


@pytest.mark.parametrize(
    ("width", "classes", "kernel", "count"),
    [(32, 10, 1, 626_232), (32, 100, 1, 713_982), (312, 10, 1, 1_720_752), (512, 100, 1, 4_750_302),
     (320, 10, 1, 1_772_760), (32, 10, 3, 757_304), (512, 100, 3, 6_847_454)],
)  # fmt: skip
def test_parameter_counts(width: int, classes: int, kernel: int, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Generator(classes, width, 15, kernel, False).parameters()) == count


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_naive_reference(seed: int, rows: str) -> None:
    """Losses, generated maps and gradients are equal for random configurations, in float64."""
    torch.manual_seed(seed)
    count, classes, width, side = 4 + seed, 4, 3 + seed % 2, 4 if rows == "channel" else 3 + seed % 2
    ours, theirs = (Generator(classes, width, 3, 1 + 2 * (seed % 2), rows == "memory").double() for _ in "ab")
    with torch.no_grad():
        ours.centres.normal_()
    theirs.load_state_dict(ours.state_dict())
    maps, labels = torch.randn(count, width, side, side, dtype=torch.float64), torch.randint(classes, (count,))
    labels[:2] = torch.tensor([0, 3])
    frequent = torch.tensor([True, True, False, False])
    pairs = pair_up(frequent[labels], 1.0)
    assignment = ours.assignment(maps, labels)
    change, variance = ours(maps, labels, assignment.detach(), pairs)
    method = (maps[pairs.rare] + change)[pairs.valid]
    (
        ours.centre_loss(maps, labels, assignment) + ours.pair_loss(maps, labels) + variance + (method**3).sum()
    ).backward()
    names = labels.tolist()
    met = naive_rsg.pairs(frequent[labels].tolist(), 1.0)
    expected, loss = naive_rsg.generate(theirs, maps, names, met)
    torch.testing.assert_close(method, expected)
    torch.testing.assert_close(variance, loss)
    for parameter in theirs.contrast.parameters():
        parameter.requires_grad_(False)
    _, frozen = naive_rsg.generate(theirs, maps, names, met)
    for parameter in theirs.contrast.parameters():
        parameter.requires_grad_(True)
    centre, pair = naive_rsg.centre_loss(theirs, maps, names), naive_rsg.pair_loss(theirs, maps, names)
    (centre + pair + frozen + (expected**3).sum()).backward()
    for (name, left), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(left.grad, other.grad, atol=1e-9, rtol=1e-7, msg=lambda text, n=name: f"{n}: {text}")


def test_zero_vectors_pass_no_gradient() -> None:
    method = example()
    with torch.no_grad():
        method.transform.weight.zero_()
        method.transform.bias.zero_()  # type: ignore[union-attr]
    labels = torch.tensor([0, 2, 0, 1])
    _, loss = method(MAPS, labels, method.assignment(MAPS, labels).detach(), pair_up(FREQUENT[labels], 1.0))
    loss.backward()
    assert float(method.transform.bias.grad.abs().max()) < 100  # type: ignore[union-attr]
