"""One record in words: its numbers, its circumstances, and the command that makes it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from ..benchmarks.errors import UserError
from ..benchmarks.recipe import recipe_names
from ..benchmarks.records.schema import Record
from ..benchmarks.records.store import find_records, read_record
from ..benchmarks.utils.formatting import exact
from .costs import borrowed_seconds, duration, size, total_seconds
from .groups import by_size
from .statistics import Setting, changes, class_accuracies, settings
from .tables import NONE, Table
from .terminal import Plain

_SHORTEST = 4  # digits of an id


def find_record(text: str, results: Path) -> Record:
    """The record of a path, or of the first digits of an id among the valid records of a folder.

    Raises:
        UserError: there is none, or several, or the file is no valid record.
    """
    if text.endswith(".json") or Path(text).is_file():
        return read_record(Path(text))
    if len(text) < _SHORTEST:
        raise UserError(f"'{text}' is too short: give a record's file, or at least {_SHORTEST} digits of its id.")
    found = {}
    for path in find_records(results):
        try:
            record = read_record(path)
        except UserError:
            continue  # `bench check-records` tells
        if record.id.startswith(text):
            found[record.id] = record
    if len(found) != 1:
        many = f"{len(found)} records in {results} have ids that begin" if found else f"No record in {results} begins"
        raise UserError(f"{many} with '{text}'. `bench show` takes a record's file, or the first digits of its id.")
    return next(iter(found.values()))


def command(record: Record, seeds: Sequence[int] = ()) -> str:
    """The command that makes the record again, with its own seed or others; PATH stands for what no record holds."""
    data = record.dataset
    method = f"PATH/{record.method.replace('-', '_')}.py" if record.source else record.method
    words = [
        "bench",
        "run",
        "--method",
        method,
        "--dataset",
        "folder:PATH" if data.name.startswith("folder-") else data.name,
    ]
    if data.profile != "natural":
        words += ["--imbalance", exact(data.imbalance), "--profile", data.profile]
    recipe = str(record.recipe["name"])
    words += ["--recipe", recipe if recipe in recipe_names() else f"PATH/{recipe}.toml"]
    scope = {f"dataset.{key}": value for key, value in data.changed.items()} | record.changed
    for key, value in sorted(scope.items()):
        words += ["--set", f"{key}={_value(value)}"]
    words += ["--seed", ",".join(map(str, seeds or [record.seed]))] + ["--allow-unverified"] * (data.verified is False)
    return shlex.join(words)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def circumstances(record: Record) -> dict[str, str]:
    """All that a number depends on, name to text."""
    data, place, cost = record.dataset, record.environment, record.cost
    verified = {True: "yes", False: "no", None: "no checksum is published"}[data.verified]
    stages = ", ".join(f"{name} {epochs}" for name, epochs in cost.epochs_per_stage.items())
    commit = f"{place.commit or 'unknown'}{' with uncommitted changes' if place.dirty else ''}"
    facts = {
        "record": record.id,
        "dataset": f"{data.label}; {sum(data.train_counts):,} training and {sum(data.test_counts):,} test images",
        "data checksum": f"{data.checksum} (files verified: {verified})",
        "hyper-parameters": changes(record.hyperparameters) or NONE,
        "changed": changes(record.changed) or NONE,
        "recipe": changes(record.recipe),
        "seed": str(record.seed),
        "epochs": f"{record.final.epoch + 1} ({stages}); the result is the last one",
        "time": f"{duration(cost.seconds)}, with what it builds on {duration(total_seconds(record))}",
        "speed": f"{cost.images_per_second:,.0f} training images a second; {place.device}, {place.threads} thread(s)",
        "peak memory": f"{size(cost.peak_memory_bytes)}B",
        "parameters": f"{cost.parameters:,}",
        "interruptions": str(cost.resumed),
        "code": f"ltbench {place.ltbench}, commit {commit}",
        "versions": f"Python {place.python}, torch {place.torch}, {place.platform}",
    }
    if borrowed_seconds(record):
        facts["builds on"] = "; ".join(
            f"{part.use} of {part.method} run {part.id}, {part.epochs} epochs, {duration(part.seconds)}, "
            f"{'reused' if part.reused else 'trained for this run'}, commit {(part.commit or 'unknown')[:8]}"
            for part in cost.prerequisites
        )
    return facts


def show(record: Record) -> Group:
    """A record for the terminal."""
    setting = settings([record])[0]
    best, last = record.best, record.final
    tests = sum(record.dataset.test_counts)
    line = (
        f"{100 * setting.rows[0].overall.mean:.2f} % of the test images by class, last epoch ({last.epoch + 1}); plain "
        f"accuracy {100 * sum(last.correct) / tests:.2f} %; best epoch on the test split ({best.epoch + 1}): "
        f"{100 * sum(best.correct) / tests:.2f} %, not the result"
    )
    parts: list[RenderableType] = [f"[bold]{escape(setting.rows[0].label)} on {escape(setting.title)}[/bold]", line, ""]
    parts += [Plain(_groups(setting)), "", Plain(_classes(record)), ""]
    if record.history.measures:
        last_values = {name: pairs[-1][1] for name, pairs in record.history.measures.items() if pairs}
        parts += [f"noted by the method, last: {escape(changes(last_values))}", ""]
    facts = RichTable.grid(padding=(0, 2))
    facts.add_column(min_width=10)
    facts.add_column(overflow="fold")
    for name, text in circumstances(record).items():
        facts.add_row(name, escape(text))
    return Group(*parts, facts, "", "made again by", Text(command(record)))


def _groups(setting: Setting) -> Table:
    row = setting.rows[0]
    lines = [
        {
            "group": group.name,
            "classes": str(len(group.classes)),
            "accuracy (%)": f"{100 * value.mean:.1f}" if (value := row.groups[group.name]) else NONE,
        }
        for group in setting.groups
    ]
    return Table("groups", "Groups", pd.DataFrame(lines), [])


def _classes(record: Record) -> Table:
    """The classes, most training images first: all up to 20, else the first and the last five."""
    order = by_size(record.dataset.train_counts)
    shown = order if len(order) <= 20 else [*order[:5], *order[-5:]]
    accuracies = class_accuracies(record)
    lines = [
        {
            "class": record.dataset.class_names[k],
            "training images": f"{record.dataset.train_counts[k]:,}",
            "test images": f"{record.dataset.test_counts[k]:,}",
            "accuracy (%)": f"{100 * accuracies[k]:.1f}",
        }
        for k in shown
    ]
    if len(shown) < len(order):
        lines.insert(5, dict.fromkeys(lines[0], "…"))
    return Table("classes", "Classes", pd.DataFrame(lines), [])
