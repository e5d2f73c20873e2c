"""Fields of methods, datasets and recipes: numeric types with bounds, and the fields that a record contains.

The bounds are `annotated_types`; pydantic checks values from the command line against them.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel

Fraction = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
BelowOne = Annotated[float, Ge(0), Lt(1)]
PositiveInt = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(0)]


class Later:
    """Marks a field that was added after records of its class had been published.

    The default must be neutral: a run with it equals a run from before the field existed. Fields with the neutral
    value are left out of records and ids, so the ids of earlier records do not change:

        head_lr: Annotated[Positive | None, LATER] = None
    """


LATER = Later()


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
            if LATER in getattr(hints[field.name], "__metadata__", ())
        }
    return {name: value for name, value in values.items() if name not in later or value != later[name]}
