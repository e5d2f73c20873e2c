"""Fields of methods, datasets and recipes: numeric types with bounds, and the fields that a record contains.

The bounds are `annotated_types`; pydantic checks values from the command line against them.
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
BelowOne = Annotated[float, Ge(0), Lt(1)]
Exponent = Annotated[float, Ge(0), Le(10)]  # of probabilities and class sizes
Margin = Annotated[float, Ge(0), Le(2)]  # between two cosines
PositiveInt = Annotated[int, Ge(1), Le(10**9)]
Count = Annotated[int, Ge(0)]
SmallInt = Annotated[int, Ge(1), Le(10_000)]  # of what takes time or memory each
SmallCount = Annotated[int, Ge(0), Le(10_000)]
Factor = Annotated[float, Ge(0), Le(100)]  # of a number of images


def from_text(hint: Any, value: Any) -> Any:
    """A choice of a `Literal` that is written as text, such as "3" for 3; any other value as it is.

    pydantic converts texts to numbers, but compares the choices of a `Literal` as they are.

    Args:
        hint: type of the field.
        value: as it was typed, or already a value.
    """
    if get_origin(hint) is Literal and isinstance(value, str):
        return next((choice for choice in get_args(hint) if str(choice) == value), value)
    if get_origin(hint) in (UnionType, Union, Annotated):
        return next((new for part in get_args(hint) if (new := from_text(part, value)) is not value), value)
    return value


class Deferral:
    """Marks a field that is the fraction of training after which a method becomes more than its base.

    A run that is so short that none of its epochs begins so late has nothing of what the method is about.
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
    """The fields of a method that are marked with `Deferral`, and their values."""
    hints = get_type_hints(type(instance), include_extras=True)
    marked = [name for name, hint in hints.items() if any(isinstance(m, Deferral) for m in _metadata(hint))]
    return {name: getattr(instance, name) for name in marked}


def _metadata(hint: Any) -> tuple[Any, ...]:
    return getattr(hint, "__metadata__", ())


def recorded(instance: Any) -> dict[str, Any]:
    """Fields of a method, dataset or recipe and their values, as they go into a record; see `Later`.

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
