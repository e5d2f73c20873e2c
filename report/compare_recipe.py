"""Comparison of two values of a recipe field, all else equal: per dataset and method, paired by seed, and overall."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence

from rich.console import Group

from ..benchmarks.errors import UserError, unknown
from ..benchmarks.recipe import Recipe
from ..benchmarks.records.schema import Record, recipe_facts
from .document import Report
from .outputs.terminal import table_with_notes
from .paired_tests import LEVEL, Paired, paired, verdict
from .sources import Sources, read_records
from .statistics import label_of, mean_accuracy, spread
from .tables.table import WORDS, Table
from .text import in_points, percent
from .tracks import track

Pairs = list[tuple[Record, Record]]


def compare_values(field: str, a: str, b: str, sources: Sources, datasets: Sequence[str] | None) -> Report:
    """Report with the table of `compare_across`, from the records of some datasets, or of all if `datasets` is empty.

    Raises:
        UserError: there are no records, or `compare_across` raises an error.
    """
    records, problems = read_records(sources.results, datasets)
    table = compare_across(field, a, b, records)
    return Report([], problems, Group(*table_with_notes(table.title, table)))


def compare_across(field: str, a: str, b: str, records: Iterable[Record]) -> Table:
    """Table of accuracy differences, value `a` minus value `b` of a recipe field, per dataset and method.

    Args:
        field: field of the recipe, such as `precision`.
        a: first value, as written on the command line.
        b: second value.
        records: records to choose from.

    Raises:
        UserError: the recipe has no such field, the values are equal, or no two runs with the same seed differ only in
            the field.
    """
    if field not in Recipe.model_fields:
        raise unknown("field of a recipe", field, set(Recipe.model_fields))
    a, b = _normalised(a), _normalised(b)
    if a == b:
        raise UserError(f"{a} and {b} are the same value of {field}; give two different values.")
    groups = _pairs(field, a, b, list(records))
    lines = sorted((_line(pairs, a, b) for pairs in groups), key=lambda line: (line["dataset"], line["method"]))
    means = _means_over_methods(groups)
    notes = [
        f"Difference: {a} minus {b} in percentage points of the mean per-class accuracy, paired by seed, with its "
        f"{LEVEL:.0%} interval (Student's t). The last row uses the mean over all methods for each dataset and seed, "
        f"a sample of {len(means)}, because methods with the same seed may share training epochs."
    ]
    return Table(
        "across",
        f"recipe.{field}: {a} against {b}, all else equal",
        [*lines, _last_line(paired(means), a, b)],
        notes,
        notes,
        columns={"dataset": WORDS, "verdict": WORDS},
        spare=("dataset",),
    )


def _pairs(field: str, a: str, b: str, records: Sequence[Record]) -> list[Pairs]:
    """Pairs of runs that differ only in the field, one list for each combination of everything else except the seed."""
    groups: dict[str, dict[str, dict[int, Record]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        groups[_rest(record, field)][_value(record, field)].setdefault(record.seed, record)
    pairs = [
        [(group[a][seed], group[b][seed]) for seed in sorted(group[a].keys() & group[b].keys())]
        for group in groups.values()
    ]
    if not any(pairs):
        values = sorted({_value(record, field) for record in records})
        raise UserError(
            f"There are no two runs with the same seed that differ only in recipe.{field}, {a} against {b}. Values in "
            f"the records: {', '.join(values) or 'none'}."
        )
    return [of_group for of_group in pairs if of_group]


def _value(record: Record, field: str) -> str:
    value = record.recipe.get(field, Recipe.model_fields[field].default)
    return _normalised(value if isinstance(value, str) else json.dumps(value))


def _normalised(text: str) -> str:
    """Canonical spelling of a value, so that 0.10 equals 0.1."""
    try:
        return json.dumps(json.loads(text))
    except json.JSONDecodeError:
        return text


def _rest(record: Record, field: str) -> str:
    """JSON of everything that a result depends on, except the seed and one field of the recipe."""
    left_out = {field, "weights_sha256"} if field == "weights" else {field}
    facts = {
        "dataset": record.dataset.model_dump(include={"name", "profile", "imbalance", "checksum", "options"}),
        "recipe": {key: value for key, value in recipe_facts(record.recipe).items() if key not in left_out},
        "method": [record.method, record.source, record.hyperparameters],
    }
    return json.dumps(facts, sort_keys=True)


def _means_over_methods(groups: Sequence[Pairs]) -> list[float]:
    """Differences averaged over methods, one for each dataset, track and seed."""
    differences: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for pairs in groups:
        for x, y in pairs:
            differences[x.dataset.label, track(x.recipe), x.seed].append(mean_accuracy(x) - mean_accuracy(y))
    return [sum(values) / len(values) for values in differences.values()]


def _line(pairs: Pairs, a: str, b: str) -> dict[str, str]:
    first = pairs[0][0]
    difference = paired([mean_accuracy(x) - mean_accuracy(y) for x, y in pairs])
    return {
        "method": label_of(first),
        "dataset": first.dataset.label,
        "seeds": str(len(pairs)),
        f"{a} (%)": percent(spread([mean_accuracy(x) for x, _ in pairs])),
        f"{b} (%)": percent(spread([mean_accuracy(y) for _, y in pairs])),
        "difference": in_points(difference),
        "verdict": verdict(difference),
    }


def _last_line(difference: Paired, a: str, b: str) -> dict[str, str]:
    return {
        "method": "all",
        "dataset": "",
        "seeds": str(difference.n),
        f"{a} (%)": "",
        f"{b} (%)": "",
        "difference": in_points(difference),
        "verdict": verdict(difference),
    }
