"""Operations on the rows of a batch (slots, categorical draws, memory layout, appending), and tallies."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny import tiny_run
from ltbench.benchmarks.method import Batch
from ltbench.benchmarks.training.run_spec import build_network
from ltbench.methods._shared.rows import append_rows, capacity, draw_columns, layout_of
from ltbench.methods._shared.tally import Tally

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize(
    ("size", "probability", "fraction", "slots"),
    [(128, 0.0, 1.0, 1), (128, 1.0, 1.0, 128), (128, 1.0, 0.25, 32), (100, 0.5, 1.0, 65), (4, 0.5, 1.0, 4)],
)
def test_capacity(size: int, probability: float, fraction: float, slots: int) -> None:
    """Capacity is the mean plus three standard deviations: 50 + 15 for 100 rows with probability 0.5."""
    assert capacity(size, probability, fraction) == slots


def test_draws_follow_the_cumulated_probabilities() -> None:
    probabilities = torch.tensor([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert draw_columns(probabilities, torch.tensor([0.4, 0.0, 0.9]))[:2].tolist() == [0, 1]
    assert draw_columns(probabilities, torch.tensor([0.5, 0.99, 0.9])).tolist() == [2, 1, 2]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_appended_rows_are_synthetic_and_keep_the_layout(layout: torch.memory_format) -> None:
    batch = Batch(torch.rand(4, 3, 8, 8).contiguous(memory_format=layout), torch.arange(4))
    new = torch.rand(2, 3, 8, 8)
    extended = append_rows(batch, new, torch.tensor([7, -100]))
    assert torch.equal(extended.images, torch.cat([batch.images, new]))
    assert extended.images.is_contiguous(memory_format=layout)
    assert extended.labels.tolist() == [0, 1, 2, 3, 7, -100]
    assert extended.synthetic is not None
    assert extended.synthetic.tolist() == [False] * 4 + [True] * 2


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_layout_is_that_of_the_model(layout: torch.memory_format) -> None:
    images = torch.rand(2, 3, 8, 8)
    changed = layout_of(images, torch.rand(4, 3, 8, 8).contiguous(memory_format=layout))
    assert torch.equal(changed, images)
    assert changed.is_contiguous(memory_format=layout)


def test_a_tally_counts_apart_from_the_state_dict() -> None:
    net, tally = build_network(tiny_run()), Tally("my_count", ("first", "second"))
    keys = set(net.state_dict())
    tally.attach(net, torch.zeros(3, dtype=torch.int64))
    for _ in range(2):
        tally.add(net, torch.tensor([1, 2, 3]), torch.tensor([0, 0, 1]))
    assert tally.read(net) == {"first": [2, 4, 6], "second": [0, 0, 2]}
    assert set(net.state_dict()) == keys
    tally.reset(net)
    assert tally.read(net) == {"first": [0, 0, 0], "second": [0, 0, 0]}
    tally.detach(net)
    assert not hasattr(net, "my_count")
