"""Accuracies, and checks that the parts of a record agree; each check returns a description of the problem, or ""."""

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
    """Mean of the per-class accuracies, in [0, 1].

    The sum is exact and rounded once, so for classes of equal size the result equals the plain accuracy bit for bit.

    Args:
        correct: number of correct predictions per class.
        tests: number of test images per class, each at least 1.
    """
    return float(sum(map(Ratio, correct, tests)) / len(tests))


def plain_accuracy(correct: Sequence[int], tests: Sequence[int]) -> float:
    """Accuracy over all test images, in [0, 1]; records of schema 2 use it for the history and the best epoch."""
    return sum(correct) / sum(tests)


def recipe_problem(recipe: Mapping[str, Any]) -> str:
    """Check that a recipe has all required fields, no unknown ones, and values of the right type and range."""
    try:
        Recipe.model_validate_json(json.dumps(recipe), strict=True)
    except ValidationError as error:
        return f"recipe: {explain(error)}"
    return ""


def changed_problem(what: str, changed: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Check that every changed field exists and that the run has the value recorded for it.

    Args:
        what: name of `changed` in the record, for the message.
        changed: values of the fields that differ from their defaults, by name.
        values: values of all fields of the run, by name.
    """
    for name, value in changed.items():
        if name not in values:
            return f"{what} names {name}, which is not a field of the run"
        if _text(values[name]) != _text(value):
            return f"{what}.{name} is {_text(value)}, but the run has {_text(values[name])}"
    return ""


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def profile_problem(profile: str, imbalance: float, counts: Sequence[int], holdout: bool) -> str:
    """Check that the class sizes follow from profile and imbalance.

    Held-out images, at most 50 of a class, are missing from the class sizes; all possible numbers are tried.

    Args:
        profile: exp, step or natural; any other profile is accepted without a check.
        imbalance: requested imbalance ratio; for natural, size of the largest class / size of the smallest class.
        counts: number of training images per class, in any order, without held-out images.
        holdout: whether images of each class are held out for validation.
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
    """Whether class sizes in descending order follow from a profile whose largest class has `largest` images.

    A difference of one image is accepted, since powers may be rounded differently on another machine.
    """
    try:
        expected = long_tail_counts(largest, len(order), imbalance, profile)
    except UserError:
        return False
    left = [count - (held_out_count(count) if holdout else 0) for count in expected]
    return left[0] == order[0] and all(abs(a - b) <= 1 for a, b in zip(left, order, strict=True))


def accuracy_problem(epochs: Sequence[int], accuracies: Sequence[float], last: float, best: tuple[int, float]) -> str:
    """Check that the accuracies of a history agree with the result and with the best epoch.

    Args:
        epochs: numbers of the evaluated epochs, from 0.
        accuracies: accuracy after each of these epochs, in [0, 1].
        last: accuracy of the result, in [0, 1].
        best: number and accuracy of the best epoch.
    """
    if len(accuracies) != len(epochs):
        return "history.accuracy and history.evaluated_epochs differ in length"
    if any(a >= b for a, b in pairwise(epochs)):
        return "history.evaluated_epochs is not in increasing order"
    by_epoch = dict(zip(epochs, accuracies, strict=True))
    if not accuracies or abs(accuracies[-1] - last) > ROUNDING:
        return "the last value of history.accuracy does not match final.correct"
    if best[0] not in by_epoch or abs(by_epoch[best[0]] - best[1]) > ROUNDING:
        return "history.accuracy at best.epoch does not match best.correct"
    if best[1] < max(accuracies) - ROUNDING:
        return "best.epoch does not have the highest value of history.accuracy"
    return ""


def counts_problem(classes: int, tests: Sequence[int], per_class: Mapping[str, Sequence[int]]) -> str:
    """Check that lists have one entry per class, and that no class has more correct predictions than test images.

    Args:
        classes: number of classes.
        tests: number of test images per class.
        per_class: lists to check, by name; a name that ends in `.correct` marks correct predictions.
    """
    for name, values in per_class.items():
        if len(values) != classes:
            return f"{name} has {len(values)} entries for {classes} classes"
    for name, values in per_class.items():
        if name.endswith(".correct") and any(count > total for count, total in zip(values, tests, strict=True)):
            return f"{name} exceeds dataset.test_counts"
    return ""


def confusion_problem(confusion: Sequence[Sequence[int]] | None, correct: Sequence[int], tests: Sequence[int]) -> str:
    """Check that a confusion matrix agrees with the correct predictions and the test images of each class.

    Args:
        confusion: predictions as [true][predicted]; None if the record has no matrix, which is accepted.
        correct: number of correct predictions per class.
        tests: number of test images per class.
    """
    if confusion is None:
        return ""
    if any(len(row) != len(tests) for row in confusion) or [sum(row) for row in confusion] != list(tests):
        return "the rows of final.confusion do not sum to dataset.test_counts"
    if [row[k] for k, row in enumerate(confusion)] != list(correct):
        return "the diagonal of final.confusion differs from final.correct"
    return ""
