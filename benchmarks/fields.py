"""Types and marks for fields of methods, datasets and recipes, and the field values that a record contains.

The bounds of the numeric types are `annotated_types`; pydantic checks values from the command line against them.
"""

from __future__ import annotations

import dataclasses
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel

LARGEST = 1e6  # float32 can still add and multiply numbers of this size

Fraction = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0), Le(LARGEST)]
NonNegative = Annotated[float, Ge(0), Le(LARGEST)]
Ratio = Annotated[float, Ge(1), Le(LARGEST)]  # of a larger number to a smaller one
BelowOne = Annotated[float, Ge(0), Lt(1)]
Exponent = Annotated[float, Ge(0), Le(10)]  # for powers of probabilities and class sizes
Margin = Annotated[float, Ge(0), Le(2)]  # between two cosines
PositiveInt = Annotated[int, Ge(1), Le(10**9)]
Count = Annotated[int, Ge(0)]
SmallInt = Annotated[int, Ge(1), Le(10_000)]  # for numbers that time or memory grows with
SmallCount = Annotated[int, Ge(0), Le(10_000)]
Factor = Annotated[float, Ge(0), Le(100)]  # for multiples of a number of images


def from_text(hint: Any, value: Any) -> Any:
    """Convert text to the choice of a `Literal` that it spells, such as "3" to 3; return any other value unchanged.

    pydantic converts text for numeric fields but not for a `Literal` of numbers.

    Args:
        hint: type hint of the field.
        value: text that the user typed, or a value of another type.
    """
    if get_origin(hint) is Literal and isinstance(value, str):
        return next((choice for choice in get_args(hint) if str(choice) == value), value)
    if get_origin(hint) in (UnionType, Union, Annotated):
        return next((new for part in get_args(hint) if (new := from_text(part, value)) is not value), value)
    return value


class Deferral:
    """Marks a field with the fraction of training after which a method starts to differ from its base.

    In a short run there may be no epoch after it; the method then has no effect of its own (see `RunSpec.inactive`).
    """


Moment = Annotated[float, Ge(0), Le(1), Deferral()]


class Later:
    """Marks a field that was added after records of its class had been published.

    The default must be neutral: a run with it equals a run from before the field existed. Fields with the neutral
    value are left out of records and ids, so the ids of earlier records do not change:

        head_lr: Annotated[Positive | None, LATER] = None
    """


LATER = Later()


def moments(instance: Any) -> dict[str, float]:
    """Values of a method's fields that are marked with `Deferral`, by name."""
    hints = get_type_hints(type(instance), include_extras=True)
    marked = [name for name, hint in hints.items() if any(isinstance(m, Deferral) for m in _metadata(hint))]
    return {name: getattr(instance, name) for name in marked}


def _metadata(hint: Any) -> tuple[Any, ...]:
    return getattr(hint, "__metadata__", ())


def recorded(instance: Any) -> dict[str, Any]:
    """Field values of a method, dataset or recipe for a record, by name.

    Fields marked `LATER` are left out while they have their default value.

    Args:
        instance: a dataclass instance or pydantic model.
    """
    if isinstance(instance, BaseModel):
        values, marked = instance.model_dump(mode="json"), type(instance).model_fields.items()
        later = {name: info.default for name, info in marked if LATER in info.metadata}
    else:
        values, hints = dataclasses.asdict(instance), get_type_hints(type(instance), include_extras=True)
        later = {
            field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            for field in dataclasses.fields(instance)
            if LATER in _metadata(hints[field.name])
        }
    return {name: value for name, value in values.items() if name not in later or value != later[name]}
