"""One recipe field at two values, everything else equal: every method that has both, paired by seed, and all pairs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence

import pandas as pd

from ..benchmarks.errors import UserError, unknown
from ..benchmarks.recipe import Recipe
from ..benchmarks.records.schema import Record, recipe_facts
from .paired_tests import LEVEL, Paired, in_points, paired, verdict
from .statistics import label_of, mean_accuracy, spread
from .tables import Table, cell

Runs = dict[int, Record]  # by seed


def compare_across(field: str, a: str, b: str, records: Iterable[Record]) -> Table:
    """`a` minus `b`, two values of a recipe field, for every dataset and method that was run with both.

    Args:
        field: of the recipe, such as `precision`.
        a: a value, as it is written on the command line.
        b: another one.
        records: from anywhere.

    Raises:
        UserError: the field is none, or no two runs differ in it alone.
    """
    if field not in Recipe.model_fields:
        raise unknown("field of a recipe", field, set(Recipe.model_fields))
    a, b = _written(a), _written(b)
    if a == b:
        raise UserError(f"{a} and {b} are the same value of {field}; give two.")
    found: dict[str, dict[str, Runs]] = defaultdict(lambda: defaultdict(dict))
    values: set[str] = set()
    for record in records:
        value = _value(record, field)
        values.add(value)
        found[_rest(record, field)][value].setdefault(record.seed, record)
    lines = []
    pooled: dict[tuple[str, int], list[float]] = defaultdict(list)
    for group in found.values():
        pairs = [(group[a][seed], group[b][seed]) for seed in sorted(group[a].keys() & group[b].keys())]
        if pairs:
            lines.append(_line(pairs, a, b))
        for x, y in pairs:
            pooled[x.dataset.label, x.seed].append(mean_accuracy(x) - mean_accuracy(y))
    if not lines:
        raise UserError(
            f"No two runs differ in recipe.{field} alone, {a} against {b}, and share a seed. Found: "
            f"{', '.join(sorted(values)) or 'no record'}."
        )
    lines.sort(key=lambda line: (line["dataset"], line["method"]))
    lines.append(_pooled(paired([sum(values) / len(values) for values in pooled.values()]), a, b))
    notes = [
        f"Difference: {a} minus {b} in percentage points of the mean of the per-class accuracies, paired by seed, with "
        f"its {LEVEL:.0%} interval (Student's t). The last line takes the means over methods of each dataset and seed "
        f"as one sample of {len(pooled)}: methods that share a seed may share a training."
    ]
    return Table(
        "across", f"recipe.{field}: {a} against {b}, all else equal", pd.DataFrame(lines), notes, ("dataset", "seeds")
    )


def _value(record: Record, field: str) -> str:
    value = record.recipe.get(field, Recipe.model_fields[field].default)
    return _written(value if isinstance(value, str) else json.dumps(value))


def _written(text: str) -> str:
    """One way to write a value: 0.10 is 0.1."""
    try:
        return json.dumps(json.loads(text))
    except json.JSONDecodeError:
        return text


def _rest(record: Record, field: str) -> str:
    """All that a number depends on but the seed and one field of the recipe."""
    facts = {
        "dataset": record.dataset.model_dump(include={"name", "profile", "imbalance", "checksum", "options"}),
        "recipe": {key: value for key, value in recipe_facts(record.recipe).items() if key != field},
        "method": [record.method, record.source, record.hyperparameters],
    }
    return json.dumps(facts, sort_keys=True)


def _line(pairs: Sequence[tuple[Record, Record]], a: str, b: str) -> dict[str, str]:
    first = pairs[0][0]
    difference = paired([mean_accuracy(x) - mean_accuracy(y) for x, y in pairs])
    return {
        "method": label_of(first),
        "dataset": first.dataset.label,
        "seeds": str(len(pairs)),
        f"{a} (%)": cell(spread([mean_accuracy(x) for x, _ in pairs])),
        f"{b} (%)": cell(spread([mean_accuracy(y) for _, y in pairs])),
        "difference": in_points(difference),
        "verdict": verdict(difference),
    }


def _pooled(difference: Paired, a: str, b: str) -> dict[str, str]:
    empty = {f"{a} (%)": "", f"{b} (%)": ""}
    return {
        "method": "all", "dataset": "", "seeds": str(difference.n), **empty,
        "difference": in_points(difference), "verdict": verdict(difference),
    }  # fmt: skip
