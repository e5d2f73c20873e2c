"""Whether the parts of a record agree with one another. Each function returns what is wrong in words, "" if nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction as Ratio
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from ..errors import UserError
from ..profiles import held_out_count, long_tail_counts
from ..recipe import Recipe, explain

ROUNDING = 1e-9


def class_mean_accuracy(correct: Sequence[int], tests: Sequence[int]) -> float:
    """Mean over the classes of the fraction of correct predictions, in [0, 1]: the accuracy of every table.

    It is computed exactly and rounded once: with equally many test images per class it is the plain accuracy, bit for
    bit.

    Args:
        correct: correct predictions per class.
        tests: test images per class.
    """
    return float(sum(map(Ratio, correct, tests)) / len(tests))


def plain_accuracy(correct: Sequence[int], tests: Sequence[int]) -> float:
    """Fraction of correct predictions over all test images; records of schema 2 chose the best epoch by it."""
    return sum(correct) / sum(tests)


def recipe_problem(recipe: Mapping[str, Any]) -> str:
    """Unknown or missing fields of a recipe, and values of another type or out of range."""
    try:
        Recipe.model_validate_json(json.dumps(recipe), strict=True)
    except ValidationError as error:
        return f"recipe: {explain(error)}"
    return ""


def changed_problem(what: str, changed: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """A field that `changed` names and that does not have the value that it says.

    Args:
        what: name of `changed`, for the message.
        changed: field to value.
        values: all fields with their values.
    """
    for name, value in changed.items():
        if name not in values:
            return f"{what} names {name}, which is no field of the run"
        if _text(values[name]) != _text(value):
            return f"{what}.{name} is {_text(value)}, but the value of the run is {_text(values[name])}"
    return ""


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def profile_problem(profile: str, imbalance: float, counts: Sequence[int], holdout: bool) -> str:
    """Training images per class that do not follow from profile and imbalance; other profiles say nothing of them.

    Args:
        profile: exp, step, natural or another name.
        imbalance: the requested ratio.
        counts: training images per class, in any order, without those held out.
        holdout: whether some of each class are held out for validation.
    """
    if profile not in ("exp", "step", "natural"):
        return ""
    order = sorted(counts, reverse=True)
    for largest in range(order[0], order[0] + (51 if holdout else 1)):
        if profile == "natural":
            smallest = range(order[-1], order[-1] + (51 if holdout else 1))
            fits = any(abs(largest / each - imbalance) <= ROUNDING * imbalance for each in smallest)
        else:
            fits = _follow(profile, imbalance, largest, order, holdout)
        if fits:
            return ""
    return f"dataset.train_counts are not those of profile {profile} with imbalance {imbalance:g}"


def _follow(profile: Any, imbalance: float, largest: int, order: Sequence[int], holdout: bool) -> bool:
    """Whether counts follow from a profile; powers may round differently on another machine, by one image."""
    try:
        expected = long_tail_counts(largest, len(order), imbalance, profile)
    except UserError:
        return False
    left = [count - (held_out_count(count) if holdout else 0) for count in expected]
    return left[0] == order[0] and all(abs(a - b) <= 1 for a, b in zip(left, order, strict=True))


def accuracy_problem(epochs: Sequence[int], accuracies: Sequence[float], last: float, best: tuple[int, float]) -> str:
    """Accuracies of a history that do not agree with the result or with the best epoch.

    Args:
        epochs: those that were evaluated, from 0.
        accuracies: after each of them.
        last: accuracy of the result.
        best: the best epoch and its accuracy.
    """
    if len(accuracies) != len(epochs):
        return "history.accuracy and history.evaluated_epochs differ in length"
    if any(a >= b for a, b in pairwise(epochs)):
        return "history.evaluated_epochs do not increase"
    by_epoch = dict(zip(epochs, accuracies, strict=True))
    if not accuracies or abs(accuracies[-1] - last) > ROUNDING:
        return "the last of history.accuracy is not that of final.correct"
    if best[0] not in by_epoch or abs(by_epoch[best[0]] - best[1]) > ROUNDING:
        return "history.accuracy at best.epoch is not that of best.correct"
    if best[1] < max(accuracies) - ROUNDING:
        return "best.epoch is not the best of history.accuracy"
    return ""


def counts_problem(classes: int, tests: Sequence[int], per_class: Mapping[str, Sequence[int]]) -> str:
    """Lists that do not have one entry for each class, and more hits than test images.

    Args:
        classes: their number.
        tests: test images per class.
        per_class: name of a list to the list; `correct` in a name marks hits.
    """
    for name, values in per_class.items():
        if len(values) != classes:
            return f"{name} has {len(values)} entries for {classes} classes"
    for name, values in per_class.items():
        if name.endswith(".correct") and any(hits > total for hits, total in zip(values, tests, strict=True)):
            return f"{name} exceeds dataset.test_counts"
    return ""


def confusion_problem(confusion: Sequence[Sequence[int]] | None, correct: Sequence[int], tests: Sequence[int]) -> str:
    """A confusion matrix that does not agree with hits and test images; None is none."""
    if confusion is None:
        return ""
    if any(len(row) != len(tests) for row in confusion) or [sum(row) for row in confusion] != list(tests):
        return "final.confusion does not sum to dataset.test_counts"
    if [row[k] for k, row in enumerate(confusion)] != list(correct):
        return "the diagonal of final.confusion is not final.correct"
    return ""
