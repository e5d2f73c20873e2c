"""Numeric fields of plugins and recipes: extreme values are refused by an error that names the field.

With a field at a bound of its range or very large, a method trains with finite losses or stops with one sentence.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import rich_click as click
from helpers.tiny import tiny_run
from ltbench.benchmarks import registry
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import Method
from ltbench.benchmarks.recipe import Recipe, load_recipe
from ltbench.benchmarks.registry import Plugin, configure, load
from ltbench.benchmarks.split import DataRoot, select
from ltbench.benchmarks.training.loop import train
from ltbench.benchmarks.training.plan import parse_seeds
from ltbench.benchmarks.training.run_spec import RunSpec, build_network
from ltbench.benchmarks.training.shared_start import attach_source
from ltbench.benchmarks.utils.options import FractionType

VALUES = ("inf", "nan", "1e300", "-1", "-inf", "9" * 400)
SLOW = ("limit", "iterations", "centers")
TRIED = [(kind, name) for kind in ("methods", "datasets") for name in registry.names(kind)]


def numbers(cls: type) -> list[str]:
    """Names of the numeric fields of a plugin or recipe."""
    return [name for name, hint in get_type_hints(cls).items() if {int, float} & {hint, *get_args(hint)}]


def check_losses(run: RunSpec) -> None:
    """Train the first two epochs of a run and check that their losses are finite."""
    net = build_network(run)
    attach_source(run, net)
    for end in itertools.islice(train(run, net, run.dataset.train), 2):
        assert math.isfinite(end.loss)


def refusal(action: Callable[[], object]) -> str:
    """Message of the UserError that `action` raises; "" if it raises none."""
    try:
        action()
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("kind", "name"), TRIED)
def test_every_extreme_value_is_refused_by_its_name(kind: str, name: str) -> None:
    plugin = load(kind, name)
    for field, value in itertools.product(numbers(plugin.cls), VALUES):
        assert f"{field} = " in refusal(lambda pair={field: value}: configure(plugin, pair)), value


def bounds(plugin: Plugin, field: str) -> list[Any]:
    """Inclusive bounds of a method's field, as strings from the table of `bench info`."""
    row = next(row for row in registry.describe(plugin.cls) if row[0] == field)
    return [part.split()[-1] for part in row[2].removesuffix(" or None").split(", ")[1:] if part[1] == "="]


@pytest.mark.parametrize("name", registry.names("methods"))
def test_the_ends_of_every_range_can_be_borne(name: str) -> None:
    plugin = load("methods", name)
    for field in numbers(plugin.cls):
        for value in (*bounds(plugin, field), "1000000"):
            if field not in SLOW or value == "1":
                settings = (f"{field}={value}", "recipe.batch_size=64")
                sentence = refusal(lambda settings=settings: check_losses(tiny_run(name, settings=settings)))
                assert not sentence or field in sentence or "The loss became" in sentence


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("field", numbers(Recipe))
def test_recipes_have_ranges(field: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{field} = "):
        load_recipe("digits", {field: value})


def test_a_field_of_an_outside_method_is_finite() -> None:
    @dataclasses.dataclass
    class Mine(Method):
        strength: float = 1.0

    plugin = Plugin("mine", Mine, "", "source")
    assert configure(plugin, {"strength": "-1e300"}).strength == -1e300
    for value in ("inf", "nan", "-inf"):
        with pytest.raises(UserError, match=r"strength = .* must be a finite number"):
            configure(plugin, {"strength": value})


@pytest.mark.parametrize("selection", ["seed:4294967296", "seed:" + "9" * 5000])
def test_the_seed_of_a_selection_is_one_of_numpy_s(selection: str) -> None:
    labels = np.zeros(4, np.int64)
    with pytest.raises(UserError, match=r"below 2\^32"):
        select(labels, [2], selection)
    assert len(select(labels, [2], "seed:4294967295")) == 2


def test_seeds_of_thousands_of_digits_are_not_understood() -> None:
    with pytest.raises(UserError, match="Cannot parse"):
        parse_seeds("9" * 5000)


def test_more_waves_than_memory_are_refused_before_they_are_drawn() -> None:
    source = configure(load("datasets", "waves-lt"), {"classes": "10000", "n_max": "1000000", "size": "512"})
    with pytest.raises(UserError, match="Use a size of at most"):
        source.load(DataRoot.find("void"))


def test_progress_is_a_number() -> None:
    with pytest.raises(click.BadParameter, match=r"nan is not a number from 0 to 1"):
        FractionType().convert("nan", None, None)
    assert FractionType().convert("0.5", None, None) == 0.5
