"""Groups of classes: bounds, published group sizes, ties, and numbers of classes that do not divide evenly."""

from __future__ import annotations

import pytest
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.split import long_tail_counts
from ltbench.report.groups import Grouping, by_size, equal_groups, five_groups, halves, shot_groups

# (number of classes, ratio) -> number of classes in many, medium and few, by the rules A, B and C
SIZES = {
    (10, 10): [(10, 0, 0), (10, 0, 0), (10, 0, 0)],
    (10, 50): [(9, 1, 0), (9, 1, 0), (10, 0, 0)],
    (10, 100): [(8, 2, 0), (8, 2, 0), (8, 2, 0)],
    (10, 200): [(7, 3, 0), (7, 3, 0), (7, 3, 0)],
    (100, 10): [(69, 31, 0), (69, 31, 0), (70, 30, 0)],
    (100, 50): [(41, 41, 18), (41, 40, 19), (41, 40, 19)],
    (100, 100): [(35, 35, 30), (35, 34, 31), (35, 34, 31)],
    (100, 200): [(30, 31, 39), (30, 30, 40), (31, 29, 40)],
}


def sizes(grouping: Grouping) -> tuple[int, ...]:
    return tuple(len(group.classes) for group in grouping.groups)


def classes(grouping: Grouping, name: str) -> list[int]:
    return next(sorted(group.classes) for group in grouping.groups if group.name == name)


@pytest.mark.parametrize(("num_classes", "ratio"), SIZES)
def test_cifar_has_the_known_numbers_of_classes(num_classes: int, ratio: int) -> None:
    counts = long_tail_counts(50_000 // num_classes, num_classes, ratio)
    assert [sizes(shot_groups(counts, rule)) for rule in "ABC"] == SIZES[num_classes, ratio]


@pytest.mark.parametrize(
    ("rule", "many", "medium", "few"),
    [
        ("A", [0, 1], [2, 3, 4, 5], [6]),
        ("B", [0, 1], [2, 3, 4], [5, 6]),
        ("C", [0, 1, 2], [3, 4], [5, 6]),
    ],
)
def test_borders(rule: str, many: list[int], medium: list[int], few: list[int]) -> None:
    grouping = shot_groups([500, 101, 100, 99, 21, 20, 19], rule)
    assert [classes(grouping, name) for name in ("many", "medium", "few")] == [many, medium, few]
    assert f"convention {rule}" in grouping.rule


def test_an_empty_group_says_why() -> None:
    grouping = shot_groups(long_tail_counts(5000, 10, 100))
    assert grouping.groups[2].missing == "no class has fewer than 20 training images"
    assert [group.missing for group in grouping.groups[:2]] == ["", ""]


def test_unknown_rule_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="Known: A, B, C"):
        shot_groups([200, 10], "D")


def test_a_small_set_is_cut_into_thirds_and_says_so() -> None:
    grouping = shot_groups([100, 10, 30, 20, 5, 60, 50])  # no class exceeds 100: 7 classes, 2 at either end
    assert [classes(grouping, name) for name in ("many", "medium", "few")] == [[0, 5], [2, 3, 6], [1, 4]]
    assert grouping.rule.startswith("thirds")
    assert "no class has more than 100" in grouping.rule
    assert not shot_groups([101, 10, 30]).rule.startswith("thirds")


def test_thirds_give_the_remainder_to_the_middle() -> None:
    assert sizes(shot_groups([9, 8, 7, 6, 5, 4])) == (2, 2, 2)
    assert sizes(shot_groups([9, 8, 7, 6, 5, 4, 3, 2])) == (2, 4, 2)
    assert shot_groups([9, 8]).groups[0].missing == "there are fewer than 3 classes"


def test_five_groups_of_an_exponential_profile_are_blocks() -> None:
    grouping = five_groups(long_tail_counts(500, 100, 100))
    assert classes(grouping, "G5") == list(range(20))
    assert classes(grouping, "G1") == list(range(80, 100))


def test_a_tie_puts_the_higher_index_into_the_smaller_group() -> None:
    counts = long_tail_counts(500, 100, 100)
    assert counts[79] == counts[80] == 12
    grouping = five_groups(counts)
    assert 79 in classes(grouping, "G2")
    assert 80 in classes(grouping, "G1")
    assert by_size([5, 7, 5, 7]) == [1, 3, 0, 2]


def test_groups_follow_counts_not_class_order() -> None:
    assert [classes(five_groups([3, 50, 1, 20, 7]), f"G{g}") for g in range(1, 6)] == [[2], [0], [4], [3], [1]]


def test_five_groups_of_a_number_that_5_does_not_divide() -> None:
    grouping = five_groups(list(range(12, 0, -1)))
    assert sizes(grouping) == (3, 3, 2, 2, 2)
    assert sorted(k for group in grouping.groups for k in group.classes) == list(range(12))


@pytest.mark.parametrize(("counts", "reason"), [([7] * 10, "same number"), ([4, 3, 2, 1], "fewer than 5 classes")])
def test_no_five_groups_without_a_ranking(counts: list[int], reason: str) -> None:
    assert all(group.classes == () and reason in group.missing for group in five_groups(counts).groups)


def test_a_step_profile_has_halves() -> None:
    grouping = equal_groups(long_tail_counts(5000, 10, 50, "step"), "step")
    assert classes(grouping, "frequent") == [0, 1, 2, 3, 4]
    assert classes(grouping, "rare") == [5, 6, 7, 8, 9]
    assert sizes(halves(long_tail_counts(100, 5, 10, "step"))) == (2, 3)
    assert sizes(equal_groups([5, 4, 3, 2, 1], "natural")) == (1, 1, 1, 1, 1)
