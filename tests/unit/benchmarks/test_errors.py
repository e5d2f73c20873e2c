"""Search for pairs of names that look alike."""

from __future__ import annotations

from ltbench.benchmarks.errors import alike_pairs, look_alike


def test_alike_pairs_are_those_of_a_comparison_of_all() -> None:
    names = ["cat", "Cat", "cat ", "dog", "caf\u00e9", "cafe\u0301", "cow", "c\u200bow", "cat2"]
    all_pairs = [(a, b) for k, a in enumerate(names) for b in names[k + 1 :] if look_alike(a, [b])]
    assert sorted(alike_pairs(names)) == sorted(all_pairs)
    assert len(all_pairs) == 5


def test_thousands_of_names_are_compared_in_linear_time() -> None:
    """A comparison of all pairs would take minutes; this takes hundredths of a second."""
    assert alike_pairs(f"class {number}" for number in range(100_000)) == []
