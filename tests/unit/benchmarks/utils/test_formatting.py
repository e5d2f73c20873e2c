"""Formatting of durations and numbers."""

from __future__ import annotations

import pytest
from ltbench.benchmarks.utils.formatting import duration, exact


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4242, "0.42 s"),
        (9.94, "9.9 s"),
        (11.6, "12 s"),
        (59.4, "59 s"),
        (59.6, "1:00 min"),
        (307, "5:07 min"),
        (3599.7, "1:00 h"),
        (4020, "1:07 h"),
        (100 * 3600, "100:00 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("value", [100, 0.5, 33.333333333, 1e-7])
def test_no_digit_of_a_number_is_lost(value: float) -> None:
    assert float(exact(value)) == value
    assert exact(100.0) == "100"
