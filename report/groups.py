"""Groups of classes by number of training images: many, medium and few; five equal groups; two halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..benchmarks.errors import unknown

# Smallest n of "many" and largest n of "few" by rule; classes in between are "medium".
_BOUNDS = {"A": (101, 19), "B": (101, 20), "C": (100, 20)}
_USERS = {
    "A": "Liu et al. 2019 (OLTR), text; Wang et al. 2021 (RSG)",
    "B": "Kozerawski et al. 2020 (BLT)",
    "C": "Liu et al. 2019 (OLTR), code",
}
RULES = tuple(_BOUNDS)
EXPLAINED = "; ".join(
    f"{rule}: {few + 1} to {many - 1}" for rule, (many, few) in _BOUNDS.items()
)  # sizes of medium classes
_EQUAL = "all classes have the same number of training images"


@dataclass(frozen=True)
class Group:
    """A group of classes.

    Attributes:
        name: column name, such as `many` or `G1`.
        classes: class indices, most training images first; empty if no class belongs to the group.
        missing: reason why the group is empty, as a clause; "" if it is not empty.
    """

    name: str
    classes: tuple[int, ...]
    missing: str = ""


@dataclass(frozen=True)
class Grouping:
    """Division of all classes into groups.

    Attributes:
        rule: definition of the groups, as a phrase for the notes.
        groups: groups in the order of their columns.
        first: whether the first group contains the classes with the `most` or the `fewest` training images.
    """

    rule: str
    groups: tuple[Group, ...]
    first: str = "most"


def by_size(counts: Sequence[int]) -> list[int]:
    """Class indices, most training images first; ties are ordered by ascending index.

    Source: Zada et al. 2022 (OPeN), appendix C.
    """
    return sorted(range(len(counts)), key=lambda k: (-counts[k], k))


def shot_groups(counts: Sequence[int], rule: str = "A") -> Grouping:
    """Many-, medium- and few-shot classes.

    A: many n > 100, medium 20 <= n <= 100, few n < 20. B: as A, but a class with n = 20 is few. C: as B, but a class
    with n = 100 is many. If no class is many, the fixed bounds do not suit the dataset, and classes are divided into
    thirds.

    Args:
        counts: training images per class (C,), each >= 1.
        rule: A, B or C.

    Raises:
        UserError: the rule is unknown.

    Source: Liu et al. 2019 (OLTR); their text has A, their code C. B: Kozerawski et al. 2020 (BLT).
    """
    if rule not in _BOUNDS:
        raise unknown("group rule", rule, RULES)
    many, few = _BOUNDS[rule]
    if max(counts) < many:
        return _thirds(counts, many - 1)
    order = by_size(counts)
    groups = (
        _shots("many", [k for k in order if counts[k] >= many], f"more than {many - 1}"),
        _shots("medium", [k for k in order if few < counts[k] < many], f"{few + 1} to {many - 1}"),
        _shots("few", [k for k in order if counts[k] <= few], f"fewer than {few + 1}"),
    )
    words = f"many: more than {many - 1} training images, medium: {few + 1} to {many - 1}, few: fewer than {few + 1}"
    return Grouping(f"{words} (convention {rule}: {_USERS[rule]})", groups)


def _shots(name: str, classes: list[int], bound: str) -> Group:
    return Group(name, tuple(classes), "" if classes else f"no class has {bound} training images")


def _thirds(counts: Sequence[int], largest: int) -> Grouping:
    """Thirds as in Kim et al. 2020 (M2m): the C // 3 largest classes are many, the C // 3 smallest are few."""
    order, size = by_size(counts), len(counts) // 3
    parts = {"many": order[:size], "medium": order[size : len(order) - size], "few": order[len(order) - size :]}
    reason = _EQUAL if max(counts) == min(counts) else "there are fewer than 3 classes" if size == 0 else ""
    rule = f"thirds of the classes by training-set size (many, medium, few), as no class has more than {largest}"
    rule += "; medium takes the rest"
    return Grouping(rule, _unless(reason, parts))


def five_groups(counts: Sequence[int]) -> Grouping:
    """Five groups, from G1, the 20 % of classes with the fewest training images, to G5, the 20 % with the most.

    If C is not a multiple of 5, the groups with the fewest images get one more class, beginning with G1.

    Args:
        counts: training images per class (C,).

    Source: Zada et al. 2022 (OPeN), appendix C.
    """
    rarest_first = by_size(counts)[::-1]
    size, over = divmod(len(counts), 5)
    parts, start = {}, 0
    for g in range(5):
        stop = start + size + (g < over)
        parts[f"G{g + 1}"] = rarest_first[start:stop][::-1]
        start = stop
    reason = _EQUAL if max(counts) == min(counts) else "there are fewer than 5 classes" if size == 0 else ""
    rule = "G1 to G5: fifths of the classes by number of training images, G1 the rarest (Zada et al. 2022, appendix C)"
    return Grouping(rule, _unless(reason, parts), first="fewest")


def halves(counts: Sequence[int]) -> Grouping:
    """The frequent and the rare half of the classes, for step profiles; fifths would mix frequent and rare classes.

    The C // 2 largest classes are frequent, as in the profile of Cao et al. 2019 (LDAM).
    """
    order, size = by_size(counts), len(counts) // 2
    parts = {"frequent": order[:size], "rare": order[size:]}
    reason = _EQUAL if max(counts) == min(counts) else ""
    return Grouping("frequent and rare: the two halves of the step profile (Cao et al. 2019)", _unless(reason, parts))


def equal_groups(counts: Sequence[int], profile: str) -> Grouping:
    """Halves for a `step` profile, five groups for any other profile."""
    return halves(counts) if profile == "step" else five_groups(counts)


def _unless(reason: str, parts: dict[str, list[int]]) -> tuple[Group, ...]:
    """The parts as groups; if `reason` is not empty, the groups are empty, with `reason` as explanation."""
    return tuple(Group(name, () if reason else tuple(classes), reason) for name, classes in parts.items())


# Functions that divide the classes, by name. Arguments: number of training images per class, profile of the split, and
# rule for many, medium and few. Names of groups must be unique over all groupings.
GROUPINGS: dict[str, Callable[[Sequence[int], str, str], Grouping]] = {
    "shots": lambda counts, profile, rule: shot_groups(counts, rule),
    "five": lambda counts, profile, rule: equal_groups(counts, profile),
}
ALL = "both"  # selects all groupings
