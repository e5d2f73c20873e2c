"""Fields of methods, datasets and recipes: their types, and what of them a record holds.

Types of numbers are `annotated_types`, which pydantic checks when a value comes from the command line.
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


class Later:
    """Marks a field that was added after records with its class had been published.

    Its default is then the neutral value, with which a run is what it was before the field existed. While it has that
    value it is left out of records and ids, so that ids of earlier records stay:

        head_lr: Annotated[Positive | None, LATER] = None
    """


LATER = Later()


def recorded(instance: Any) -> dict[str, Any]:
    """Fields and values of a method, a dataset or a recipe as a record holds them; see `Later`.

    Args:
        instance: of a dataclass or a pydantic model.
    """
    if isinstance(instance, BaseModel):
        values, marked = instance.model_dump(mode="json"), type(instance).model_fields.items()
        later = {name: info.default for name, info in marked if LATER in info.metadata}
    else:
        values, hints = dataclasses.asdict(instance), get_type_hints(type(instance), include_extras=True)
        later = {
            field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            for field in dataclasses.fields(instance)
            if LATER in getattr(hints[field.name], "__metadata__", ())
        }
    return {name: value for name, value in values.items() if name not in later or value != later[name]}
