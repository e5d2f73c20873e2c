"""Published numbers (`results/published.toml`): validation, and matching with the rows of a setting."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from ..benchmarks.errors import UserError
from .statistics import Setting, Spread, changes
from .tracks import SCRATCH

FILE = Path(__file__).parent.parent / "results" / "published.toml"
NOT_STATED = "not stated"

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Percent = Annotated[float, Field(gt=0, lt=100)] | Literal["-"]
# dataset, profile with its imbalance, and optionally a group of classes
_COLUMN = re.compile(r"[a-z0-9-]+ (natural|(exp|step)\d+)( (many|medium|few))?")


class PublishedTable(BaseModel):
    """Numbers from one source that share a protocol; "-" marks a number that the source does not print.

    Attributes:
        source: paper or repository that published the numbers.
        where: table, section or file within the source.
        evidence: where the numbers were read: `[X]` for paper X, `[code X]`, `[readme X]` or `[issue X#k]`; a dagger
            marks numbers quoted from memory or found only in a secondary source.
        backbone: name of the backbone as in the recipes.
        epochs: number of training epochs.
        augmentation: augmentation of training images.
        metric: `error` or `accuracy`, in percent, over all classes or over the group that a column names.
        selection: the reported epoch, and the images on which it was chosen.
        runs: number of runs over which each number is averaged.
        columns: `dataset profile` as in the records, such as `cifar10-lt exp100`, optionally with a group of classes.
        rows: maps each row label, as in our tables, to one number per column.
        standard_errors: maps a row label to one standard error per column.
        note: further remarks on the protocol.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Text
    where: Text
    evidence: Text
    backbone: Text
    epochs: Annotated[int, Field(gt=0)] | Literal["not stated"]
    augmentation: Text
    metric: Literal["error", "accuracy"]
    selection: Text
    runs: Annotated[int, Field(gt=0)] | Literal["not stated"] = "not stated"
    columns: Annotated[list[str], Field(min_length=1)]
    rows: Annotated[dict[str, list[Percent]], Field(min_length=1)]
    standard_errors: dict[str, list[Percent]] = {}
    note: str = ""

    @model_validator(mode="after")
    def _whole(self) -> PublishedTable:
        for column in self.columns:
            if not _COLUMN.fullmatch(column):
                raise ValueError(f"column '{column}' is not 'dataset profile' or 'dataset profile many|medium|few'")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("a column occurs twice")
        for label, values in (*self.rows.items(), *self.standard_errors.items()):
            if len(values) != len(self.columns):
                raise ValueError(f"row '{label}' has {len(values)} numbers for {len(self.columns)} columns")
        for label, values in self.standard_errors.items():
            if label not in self.rows or any(self.rows[label][k] == "-" for k, v in enumerate(values) if v != "-"):
                raise ValueError(f"a standard error in row '{label}' belongs to no number")
        return self

    def accuracy(self, label: str, column: int) -> tuple[float, float | None] | None:
        """Accuracy and standard error in percent, the latter None if it is not printed; None if there is no number."""
        value, error = (rows[label][column] if label in rows else "-" for rows in (self.rows, self.standard_errors))
        if value == "-":
            return None
        accuracy = float(value) if self.metric == "accuracy" else 100 - float(value)
        return accuracy, None if error == "-" else float(error)


def read_published(path: Path = FILE) -> list[PublishedTable]:
    """All tables of a file of published numbers.

    Raises:
        UserError: the file cannot be read, or a field is missing or invalid; the message names table and field.
    """
    try:
        contents: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"Cannot read the published numbers in {path}: {error}.") from error
    tables = []
    for k, values in enumerate(contents.get("table", [])):
        try:
            tables.append(PublishedTable.model_validate(values))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "table"
            name = f"table {k + 1} ({values.get('source', 'no source')}, {values.get('where', 'no location')})"
            reason = first["msg"].removeprefix("Value error, ")
            raise UserError(f"{path}: {name}: {field}: {reason}.") from error
    return tables


@dataclass(frozen=True)
class Match:
    """A published accuracy and our accuracy of the same row.

    Attributes:
        label: label of the row of the setting.
        group: `many`, `medium` or `few`; "" for all classes.
        table: table of the published number.
        accuracy: published accuracy in percent.
        error: standard error of the published accuracy in percent, or None.
        ours: our accuracy over seeds, in [0, 1].
        differs: differences between the protocols; empty if they agree as far as they are stated.
    """

    label: str
    group: str
    table: PublishedTable
    accuracy: float
    error: float | None
    ours: Spread
    differs: list[str]


def matches(setting: Setting, tables: Sequence[PublishedTable]) -> list[Match]:
    """Published numbers for the rows of a setting: same dataset, profile and imbalance, same row label.

    They are all of training from scratch, so a setting with pretrained weights has none.
    """
    data, pairs = setting.dataset, []
    if setting.track != SCRATCH:
        return []
    split = data.profile if data.profile == "natural" else f"{data.profile}{data.imbalance:g}"
    for row in setting.rows:
        for table in tables:
            for k, column in enumerate(table.columns):
                name, profile, *group = column.split(" ")
                theirs = table.accuracy(row.label, k)
                ours = row.groups.get(group[0]) if group else row.overall
                if (name, profile) == (data.name, split) and theirs and ours:
                    pairs.append(Match(row.label, "".join(group), table, *theirs, ours, _differences(setting, table)))
    return pairs


def _differences(setting: Setting, table: PublishedTable) -> list[str]:
    """Differences between the published protocol and ours, as phrases."""
    recipe, data = setting.recipe, setting.dataset
    there = {
        "backbone": (table.backbone, recipe.get("backbone")),
        "epochs": (table.epochs, recipe.get("epochs")),
        "augmentation": (_words(table.augmentation), _words(augmentation(recipe))),
    }
    shown = {"backbone": table.backbone, "epochs": table.epochs, "augmentation": table.augmentation}
    differences = [f"{name} {shown[name]}" for name, (a, b) in there.items() if a != b]
    if not table.selection.startswith("last"):
        differences.append("best test epoch" if "best" in table.selection else "epoch not stated")
    changed = setting.rows[0].runs[0].changed
    ours = {k.removeprefix("recipe."): value for k, value in changed.items() if k.startswith("recipe.")}
    other = {key: value for key, value in ours.items() if key not in ("backbone", "epochs", "augment", "cutout")}
    if other:
        differences.append("our recipe has " + changes(other))
    if data.changed:
        differences.append("our split has " + changes(data.changed))
    if data.verified is False:
        differences.append("our files are not verified")
    return differences


def _words(text: str) -> frozenset[str]:
    return frozenset(word.strip().lower() for word in text.split(","))


def augmentation(recipe: dict[str, Any]) -> str:
    """Augmentation of a recipe, worded as in the published tables, such as `crop, flip, Cutout, SimCLR`."""
    if recipe.get("augment") == "autoaugment" and not recipe.get("keep_base"):
        return "AutoAugment"  # replaces the other augmentations
    named = {"crop_padding": "crop", "flip": "flip", "cutout": "Cutout"}
    added = {"simclr": "SimCLR", "autoaugment": "AutoAugment"}.get(recipe.get("augment", ""), "")
    return ", ".join(filter(None, [*(word for key, word in named.items() if recipe.get(key)), added])) or "none"
