"""Accuracies of records, grouped into settings (one leaderboard each) and rows (one method and hyper-parameters)."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from ..benchmarks.records.schema import DatasetFacts, Record, recipe_facts
from ..benchmarks.utils.docstrings import OTHER, method_families
from . import tracks
from .groups import ALL, GROUPINGS, Group, Grouping
from .tracks import TRACKS

FEWER_SEEDS = "fewer seeds"
INACTIVE = "inactive"  # training was too short for what the method adds to its base


@dataclass(frozen=True)
class Options:
    """Options of a report.

    Attributes:
        rule: definition of many-, medium- and few-shot classes, A, B or C; see `shot_groups`.
        groups: grouping of classes in the tables, such as `shots` or `five`, or `both` for all.
        baseline: label of the row to compare the others with; for default hyper-parameters, the name of the method. A
            setting replaces "" by the default of its track.
        optimism: show the gain from choosing the best epoch on the test split.
        published: show published numbers beside ours.
    """

    rule: str = "A"
    groups: str = "both"
    baseline: str = ""
    optimism: bool = False
    published: bool = False


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (None for one seed) and number of seeds of an accuracy or error in [0, 1]."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """The runs of one method with one set of hyper-parameters.

    Attributes:
        label: name of the method, with its changed hyper-parameters; unique within its setting.
        runs: one record per seed, in the order of the seeds.
        overall: mean per-class accuracy.
        groups: mean per-class accuracy of each group by name; None for an empty group.
        repeats: number of records left out because another record has the same id.
        apart: reason why the row is not ranked in its setting, `FEWER_SEEDS` or `INACTIVE`; "" if it is ranked.
        family: family of the method, one of `FAMILIES`.
    """

    label: str
    runs: tuple[Record, ...]
    overall: Spread
    groups: dict[str, Spread | None]
    repeats: int
    apart: str = ""
    family: str = OTHER

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.runs[0].method

    @property
    def default(self) -> bool:
        """Whether all hyper-parameters have their default values."""
        return not _changed(self.runs[0])


@dataclass(frozen=True)
class Setting:
    """Rows of a leaderboard, and the dataset and recipe that they have in common.

    Attributes:
        id: 8 hex digits derived from dataset and recipe.
        title: dataset and recipe as text, unique within a report.
        dataset: facts about the dataset.
        recipe: fields of the recipe by name.
        all_groupings: groupings of the classes by name, as in `GROUPINGS`.
        rows: rows sorted by number of seeds, then by overall mean, both descending.
        options: options of the report.
        methods: family of each method of all settings except the baseline; the order determines the shades in figures.
    """

    id: str
    title: str
    dataset: DatasetFacts
    recipe: dict[str, Any]
    all_groupings: Mapping[str, Grouping]
    rows: tuple[Row, ...]
    options: Options = Options()
    methods: Mapping[str, str] = field(default_factory=dict)

    @property
    def shots(self) -> Grouping:
        """The grouping into many-, medium- and few-shot classes."""
        return self.all_groupings["shots"]

    @property
    def parts(self) -> Grouping:
        """The grouping into five groups, or into two halves for a step profile."""
        return self.all_groupings["five"]

    @property
    def groupings(self) -> tuple[Grouping, ...]:
        """The groupings that tables show."""
        wanted = self.options.groups
        return tuple(grouping for name, grouping in self.all_groupings.items() if wanted in (name, ALL))

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups that tables show, in the order of their columns."""
        return tuple(group for grouping in self.groupings for group in grouping.groups)

    @property
    def baseline(self) -> Row | None:
        """The row that the others are compared with; None if it has no records in this setting."""
        return next((row for row in self.rows if row.label == self.options.baseline), None)

    @property
    def track(self) -> str:
        """The track of the setting, one of `TRACKS`."""
        return tracks.track(self.recipe)

    @property
    def apart(self) -> dict[str, str]:
        """Reason by label, for the rows that are not ranked with the others."""
        return {row.label: row.apart for row in self.rows if row.apart}

    @property
    def runs(self) -> list[Record]:
        """The records of all rows."""
        return [run for row in self.rows for run in row.runs]


def class_accuracies(record: Record) -> np.ndarray:
    """Accuracy of each class at the last epoch, float64 (C,) in [0, 1]."""
    accuracies: np.ndarray = np.array(record.final.correct) / np.array(record.dataset.test_counts)
    return accuracies


def mean_accuracy(record: Record, classes: Sequence[int] | None = None) -> float:
    """Mean per-class accuracy over some classes (default all), in [0, 1].

    Over all classes of a balanced test set, this is the plain accuracy.
    """
    accuracies = class_accuracies(record)
    return float(accuracies.mean() if classes is None else accuracies[list(classes)].mean())


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation (n - 1 in the denominator) of one or more values."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), sd, len(values))


def settings(records: Iterable[Record], options: Options | None = None) -> list[Setting]:
    """Group records into settings, sorted by track and title.

    Two records share a setting if dataset, profile, imbalance, options, checksum, verification and recipe are equal.
    Rows of different settings must not be ranked against each other.
    """
    buckets: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        buckets[_setting_id(record)].append(record)
    titles = _distinct([(_title(bucket[0]), key) for key, bucket in buckets.items()])
    unsorted = [_setting(key, titles[key], bucket, options or Options()) for key, bucket in buckets.items()]
    in_order = sorted(unsorted, key=lambda setting: (TRACKS.index(setting.track), setting.title))
    largest_first = sorted(in_order, key=lambda setting: -len(setting.rows))
    methods = {row.method: row.family for setting in largest_first for row in setting.rows}
    methods.pop((options or Options()).baseline or tracks.BASELINE, None)
    return [replace(setting, methods=methods) for setting in in_order]


def _setting_id(record: Record) -> str:
    shared = {"name", "profile", "imbalance", "checksum", "options", "verified"}
    facts = {"dataset": record.dataset.model_dump(include=shared), "recipe": recipe_facts(record.recipe)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, allow_nan=False).encode()).hexdigest()[:8]


def _setting(key: str, title: str, records: list[Record], options: Options) -> Setting:
    recipe, data = records[0].recipe, records[0].dataset
    groupings = {name: divide(data.train_counts, data.profile, options.rule) for name, divide in GROUPINGS.items()}
    groups = [group for grouping in groupings.values() for group in grouping.groups]
    buckets: dict[str, list[Record]] = defaultdict(list)
    for r in records:
        buckets[r.facts.setting_id].append(r)
    labels = _distinct([(label_of(bucket[0]), name) for name, bucket in buckets.items()])
    rows = [_row(labels[name], bucket, groups) for name, bucket in buckets.items()]
    base = options.baseline or tracks.baseline(recipe, labels.values())
    return Setting(key, title, data, recipe, groupings, _ordered(rows), replace(options, baseline=base))


def _ordered(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Sort rows by number of seeds and accuracy; rows that are not ranked with the first ones come last."""
    most = max(row.overall.n for row in rows)
    marked = [replace(row, apart=_apart(row, most)) for row in rows]
    return tuple(sorted(marked, key=lambda row: (row.apart == INACTIVE, -row.overall.n, -row.overall.mean, row.label)))


def _apart(row: Row, most: int) -> str:
    if any(run.inactive for run in row.runs):
        return INACTIVE
    return FEWER_SEEDS if row.overall.n < most else ""


def _row(label: str, records: list[Record], groups: Sequence[Group]) -> Row:
    once = {record.id: record for record in reversed(records)}  # keeps the first record with an id
    runs = tuple(sorted(once.values(), key=lambda run: run.seed))
    means = {
        group.name: spread([mean_accuracy(run, group.classes) for run in runs]) if group.classes else None
        for group in groups
    }
    family = OTHER if runs[0].source else _families().get(runs[0].method, OTHER)
    overall = spread([mean_accuracy(run) for run in runs])
    return Row(label, runs, overall, means, len(records) - len(runs), family=family)


@cache
def _families() -> dict[str, str]:
    return method_families()


def changes(values: dict[str, Any]) -> str:
    """Values as text, such as `a=1, b=0.5`, in alphabetical order of their names."""
    return ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in sorted(values.items()))


def label_of(record: Record) -> str:
    """Row label of a record: the method, with its changed hyper-parameters and the checksum of a third-party file."""
    source = f"file {record.source[:8]}" if record.source else ""
    words = ", ".join(filter(None, [source, changes(_changed(record))]))
    return f"{record.method} ({words})" if words else record.method


def _changed(record: Record) -> dict[str, Any]:
    """Changed settings of a record, without those of the recipe."""
    return {k: v for k, v in record.changed.items() if not k.startswith("recipe.")}


def _title(record: Record) -> str:
    prefix = "recipe."
    changed = {k.removeprefix(prefix): v for k, v in record.changed.items() if k.startswith(prefix)}
    recipe = f"{record.recipe['name']} ({changes(changed)})" if changed else str(record.recipe["name"])
    pretrained = tracks.title(record.recipe)
    return f"{record.dataset.label}, recipe {recipe}" + (f", {pretrained}" if pretrained else "")


def _distinct(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Unique label of each key; a label that several keys share gets the first 8 digits of the key as suffix."""
    often = Counter(label for label, _ in pairs)
    return {key: label if often[label] == 1 else f"{label} [{key[:8]}]" for label, key in pairs}
