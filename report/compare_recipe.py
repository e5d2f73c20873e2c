"""One recipe field at two values, everything else equal: every method that has both, paired by seed, and all pairs."""

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

Pairs = list[tuple[Record, Record]]


def compare_values(field: str, a: str, b: str, sources: Sources, datasets: Sequence[str] | None) -> Report:
    """The table of `compare_across` for a console, from the records of some datasets or of all.

    Raises:
        UserError: as `compare_across`, or there are no records.
    """
    records, problems = read_records(sources.results, datasets)
    table = compare_across(field, a, b, records)
    return Report([], problems, Group(*table_with_notes(table.title, table)))


def compare_across(field: str, a: str, b: str, records: Iterable[Record]) -> Table:
    """`a` minus `b`, two values of a recipe field, for every dataset and method that was run with both.

    Args:
        field: of the recipe, such as `precision`.
        a: a value, as it is written on the command line.
        b: another one.
        records: from anywhere.

    Raises:
        UserError: the recipe has no such field, or no two runs differ in it alone.
    """
    if field not in Recipe.model_fields:
        raise unknown("field of a recipe", field, set(Recipe.model_fields))
    a, b = _normalised(a), _normalised(b)
    if a == b:
        raise UserError(f"{a} and {b} are the same value of {field}; give two.")
    groups = _pairs(field, a, b, list(records))
    lines = sorted((_line(pairs, a, b) for pairs in groups), key=lambda line: (line["dataset"], line["method"]))
    means = _means_over_methods(groups)
    notes = [
        f"Difference: {a} minus {b} in percentage points of the mean of the per-class accuracies, paired by seed, with "
        f"its {LEVEL:.0%} interval (Student's t). The last line is over the means of all methods for each dataset and "
        f"seed, a sample of {len(means)}, because methods that share a seed may share a training."
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
    """For each dataset, method and rest of the recipe, the runs with `a` and `b` of each seed that has both."""
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
            f"No two runs differ in recipe.{field} alone, {a} against {b}, and share a seed. Found: "
            f"{', '.join(values) or 'no record'}."
        )
    return [of_group for of_group in pairs if of_group]


def _value(record: Record, field: str) -> str:
    value = record.recipe.get(field, Recipe.model_fields[field].default)
    return _normalised(value if isinstance(value, str) else json.dumps(value))


def _normalised(text: str) -> str:
    """The only way in which a value is written here: 0.10 is 0.1."""
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


def _means_over_methods(groups: Sequence[Pairs]) -> list[float]:
    """One difference for each dataset and seed, the mean over methods."""
    differences: dict[tuple[str, int], list[float]] = defaultdict(list)
    for pairs in groups:
        for x, y in pairs:
            differences[x.dataset.label, x.seed].append(mean_accuracy(x) - mean_accuracy(y))
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
