"""Cards and fields of plugins and recipes, for `bench info`."""

from __future__ import annotations

import re

from rich.console import RenderableType
from rich.table import Table

from ..errors import unknown
from ..recipe import recipe_names
from ..registry import describe, load, names
from .listing import recipe_card, summaries


def cards(name: str) -> list[RenderableType]:
    """Cards and tables of fields of the method, dataset and recipe called `name`, ready to print.

    Args:
        name: any spelling that other commands accept, such as `ldam_drw`, `folder:PATH`, or the path of a .py or .toml
            file.

    Raises:
        UserError: no method, dataset or recipe has the name.
    """
    if not name.endswith((".py", ".toml")):
        name = name.partition(":")[0].replace("_", "-")
    parts: list[RenderableType] = []
    for kind in ("methods", "datasets"):
        if name in names(kind) or (kind == "methods" and name.endswith(".py")):
            plugin = load(kind, name)
            parts.append(unwrap(plugin.card))
            table = fields(plugin.cls, "dataset." if kind == "datasets" else "")
            parts += ["", table] if table.row_count else []
    if name in recipe_names() or name.endswith(".toml"):
        heading = [f"\nRecipe '{name}':\n"] if parts else []
        parts += [*heading, recipe_card(name)]
    if not parts:
        candidates = {each for kind in ("methods", "datasets", "recipes") for each, *_ in summaries(kind)}
        raise unknown("method, dataset or recipe", name, candidates)
    return parts


def unwrap(card: str) -> str:
    """Join the lines of each paragraph, so the terminal can wrap them; an indented line or `Key:` starts a new one."""
    return re.sub(r"(?<=\S)\n(?=[^\s\-*|])(?![A-Z][\w ]{0,30}:)", " ", card)


def fields(cls: type, scope: str) -> Table:
    """Table of a plugin's fields: name, default, allowed values and meaning.

    Args:
        cls: dataclass of the plugin.
        scope: prefix of the names in `--set`, "dataset." for datasets and "" for methods.
    """
    table = Table(title=f"Fields (--set {scope}NAME=VALUE)", title_justify="left", box=None, pad_edge=False)
    for heading in ("name", "default", "values", "meaning"):
        table.add_column(heading, overflow="fold")
    for row in describe(cls):
        table.add_row(*row)
    return table
