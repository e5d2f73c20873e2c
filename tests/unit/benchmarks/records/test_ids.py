"""Stability of ids: additions that leave ids unchanged, and names that are data and must not change."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import ltbench.bench
import pytest
from helpers.tiny import tiny_run
from ltbench.benchmarks.data.loader import derive
from ltbench.benchmarks.fields import LATER, Fraction, recorded
from ltbench.benchmarks.method import Method
from ltbench.benchmarks.recipe import Recipe, load_recipe
from ltbench.benchmarks.records.store import read_all
from ltbench.benchmarks.split import Source

COMMITTED = read_all(Path(ltbench.bench.__file__).parent / "results")[0]


@dataclass
class Before(Method):
    gamma: Fraction = 0.5


@dataclass
class After(Before):
    head_lr: Annotated[float | None, LATER] = None
    base: Annotated[dict[str, Any], LATER] = dataclasses.field(default_factory=dict)


@dataclass
class SourceBefore(Source):
    paths: ClassVar[tuple[str, ...]] = ()
    n_max: int = 5


@dataclass
class SourceAfter(SourceBefore):
    crop: Annotated[int, LATER] = 0


class RecipeAfter(Recipe):
    accumulate: Annotated[int, LATER] = 1


def test_a_later_field_of_a_method_is_left_out_while_neutral() -> None:
    assert recorded(Before()) == recorded(After()) == {"gamma": 0.5}
    assert recorded(After(head_lr=0.1)) == {"gamma": 0.5, "head_lr": 0.1}
    assert recorded(After(base={"beta": 0.9})) == {"gamma": 0.5, "base": {"beta": 0.9}}


def test_a_later_field_of_a_dataset_is_left_out_while_neutral() -> None:
    assert SourceBefore().described() == SourceAfter().described() == {"options": {"n_max": 5}, "changed": {}}
    assert SourceAfter(crop=2).described() == {"options": {"n_max": 5, "crop": 2}, "changed": {"crop": 2}}


def test_a_later_field_of_a_recipe_is_left_out_while_neutral() -> None:
    values = load_recipe("cifar")[0].model_dump()
    assert recorded(RecipeAfter(**values)) == recorded(Recipe(**values))
    assert recorded(RecipeAfter(**values, accumulate=2)) == recorded(Recipe(**values)) | {"accumulate": 2}


def test_a_later_field_leaves_the_id_of_a_run() -> None:
    run = tiny_run()
    same = dataclasses.replace(run, method=After(gamma=0.5))
    assert dataclasses.replace(run, method=Before()).id == same.id
    assert dataclasses.replace(run, method=After(head_lr=0.1)).id != same.id


def test_the_id_of_a_run_on_digits_is_what_it_was() -> None:
    """Compared with a literal, since neither the file version nor names in the code may affect an id."""
    on_digits = [r for r in COMMITTED if r.dataset.name == "digits-lt" and not r.dataset.changed]
    (record,) = (r for r in on_digits if r.method == "erm" and not r.changed and r.seed == 0)
    assert record.id == "fceb589bb8ba42f3"


def test_arithmetic_is_named_and_never_timed() -> None:
    assert set(Recipe.model_fields["precision"].annotation.__args__) == {"fp32", "bf16"}  # type: ignore[union-attr]
    assert Recipe.model_fields["precision"].default == "fp32"


@pytest.mark.parametrize(
    ("purpose", "seed"),
    [
        (("backbone",), 29708841855725767),
        (("head",), 1585175954840056),
        (("draw", "train", 3), 71917178038807659),
        (("augment", "train", 3), 30130294722295189),
        (("fresh", "train", 3), 19011063172068679),
        (("method", "train", 3), 65726815242953042),
        (("global", "train"), 921784602314321),
        (("global", "train", 3), 10132805601493021),
        (("global", "finish"), 17265630038714709),
    ],
)
def test_seed_purposes_are_data(purpose: tuple[Any, ...], seed: int) -> None:
    assert derive(7, *purpose) == seed
