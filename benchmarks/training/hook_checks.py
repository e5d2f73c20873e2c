"""Checks of the values that a method's hooks return; an invalid value ends the run with an error that names the hook.

Batches and losses, which the hooks of every step return, are checked in `step_checks.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..errors import RunFailed, UserError
from ..method import ClassAware, Method, Needs, Now, SameImages, Split, Stage
from ..network import Classifier


def require(correct: bool, method: Method, hook: str, rule: str, value: Any) -> None:
    """Raise an error if a hook returned an invalid value.

    Args:
        correct: whether the value is valid.
        method: method that the hook belongs to.
        hook: name of the hook.
        rule: phrase for the message that describes a valid value.
        value: value that the hook returned.

    Raises:
        RunFailed: the value is invalid; the message names the hook, the rule and the value.
    """
    if not correct:
        raise RunFailed(f"{type(method).__name__}.{hook}() must return {rule}; it returned {_described(value)}.")


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 60 else f"an object of type {type(value).__name__}"


def checked_stages(method: Method, epochs: int) -> list[Stage]:
    """Call `stages` for a run of `epochs` epochs and check names and lengths of the stages.

    Raises:
        RunFailed: the hook did not return a list of stages with different names and at least one epoch in all.
    """
    stages: Any = method.stages(epochs)
    good = isinstance(stages, Sequence) and len(stages) > 0 and all(isinstance(stage, Stage) for stage in stages)
    require(good, method, "stages", "a list of stages", stages)
    names = [stage.name for stage in stages]
    require(len(set(names)) == len(names), method, "stages", "stages with different names", names)
    lengths = [stage.epochs for stage in stages]
    whole = all(type(length) is int and length >= 0 for length in lengths) and sum(lengths) > 0
    require(whole, method, "stages", "stages of 0, 1, 2, ... epochs, not all 0", lengths)
    return list(stages)


def checked_stage(method: Method, stage: Stage, net: Classifier, train: Split) -> Stage:
    """Call `begin_stage` and return the stage, with the settings that the hook has changed.

    Raises:
        RunFailed: the hook returned anything other than None or a stage of the same name and length.
    """
    own: Any = method.begin_stage(stage, net, train)
    same = isinstance(own, Stage) and (own.name, own.epochs) == (stage.name, stage.epochs)
    require(own is None or same, method, "begin_stage", "None or a stage of the same name and length", own)
    return stage if own is None else own


def checked_needs(method: Method, epochs: int) -> Needs:
    """Call `needs` for a run of `epochs` epochs and check the type and the prefix of its return value.

    Raises:
        RunFailed: the hook did not return a `Needs`, or its prefix is not an integer in [0, epochs].
    """
    needs = method.needs(epochs)
    require(isinstance(needs, Needs), method, "needs", "an object of type Needs", needs)
    require(
        type(needs.prefix) is int and 0 <= needs.prefix <= epochs, method, "needs", "a prefix in [0, epochs]", needs
    )
    return needs


def check_network(net: Any, method: Method, hook: str) -> None:
    """Check that `network` or `finish` returned a classifier.

    Raises:
        RunFailed: the hook returned something else.
    """
    require(isinstance(net, Classifier), method, hook, "a Classifier", net)


def check_head(head: Any, method: Method) -> None:
    """Check that `head` returned a class or function that builds a head, and not the head itself.

    Raises:
        RunFailed: the hook returned something else.
    """
    rule = "a class or function that builds a module, not a module"
    require(callable(head) and not isinstance(head, nn.Module), method, "head", rule, head)


def check_sampling(sampling: Any, counts: Tensor, method: Method, hook: str = "sampling") -> None:
    """Check the sampling of an epoch; probabilities must be (C,), finite, non-negative, and 0 for empty classes.

    Args:
        sampling: value that the hook returned.
        counts: training images per class, int64 (C,).
        method: method that the hook belongs to.
        hook: name of the hook.

    Raises:
        RunFailed: the sampling is invalid.
    """
    if sampling is None:
        return
    if isinstance(sampling, ClassAware):
        good = type(sampling.per_class) is int and sampling.per_class > 0
        require(good, method, hook, "a ClassAware with a positive integer", sampling)
        return
    rule = f"None, ClassAware or a tensor of {len(counts)} class probabilities"
    shaped = isinstance(sampling, Tensor) and sampling.shape == counts.shape
    require(shaped and not sampling.is_complex(), method, hook, rule, sampling)
    values = sampling.detach().cpu().double()
    sound = bool(values.isfinite().all() and (values >= 0).all() and values.sum() > 0)
    require(sound, method, hook, f"{rule}, finite, not negative and not all 0", values.tolist())
    missing = values[counts.cpu() == 0]
    require(not missing.any(), method, hook, "0 for a class without images", values.tolist())


def check_streams(streams: Any, counts: Tensor, method: Method) -> None:
    """Check the sampling of each further stream that `streams` returned; see `check_sampling`.

    Raises:
        RunFailed: the hook returned no sequence, or a sampling is invalid.
    """
    require(isinstance(streams, Sequence), method, "streams", "a sequence of samplings", streams)
    for sampling in streams:
        if not isinstance(sampling, SameImages):
            check_sampling(sampling, counts, method, "streams")


def check_groups(samplings: Sequence[Any], batch_size: int) -> None:
    """Check that a batch can hold a group of class-aware sampling.

    Raises:
        UserError: a group is larger than a batch.
    """
    largest = max((each.per_class for each in samplings if isinstance(each, ClassAware)), default=0)
    if largest > batch_size:
        raise UserError(
            f"A batch of {batch_size} images is smaller than a group of {largest} images of one class, which "
            "class-aware sampling draws in a row. Use --set recipe.batch_size=N with a larger N, or smaller groups."
        )


def check_draws(draws: Any, method: Method) -> None:
    """Check the number of images per epoch that `draws` returned.

    Raises:
        RunFailed: it is neither None nor a positive integer.
    """
    require(draws is None or (type(draws) is int and draws > 0), method, "draws", "None or a positive integer", draws)


def checked_measures(method: Method, net: Classifier, now: Now) -> dict[str, float]:
    """Call `measures` after an epoch and return its metrics, by name.

    Raises:
        RunFailed: the hook did not return a dictionary of names and finite numbers.
    """
    return _metrics(method.measures(net, now), method, "measures")


def checked_final_measures(method: Method, net: Classifier) -> dict[str, float]:
    """Call `final_measures` for a finished network and return its metrics, by name.

    Raises:
        RunFailed: the hook did not return a dictionary of names and finite numbers.
    """
    return _metrics(method.final_measures(net), method, "final_measures")


def _metrics(measures: Any, method: Method, hook: str) -> dict[str, float]:
    rule = "a dictionary of names and finite numbers"
    require(isinstance(measures, dict), method, hook, rule, measures)
    numbers = {name: _number(value) for name, value in measures.items()}
    good = all(isinstance(name, str) and name and math.isfinite(value) for name, value in numbers.items())
    require(good, method, hook, rule, measures)
    return numbers


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return math.nan
