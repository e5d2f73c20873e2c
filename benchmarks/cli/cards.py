"""Names, cards and fields of plugins and recipes, for `bench list` and `bench info`."""

from __future__ import annotations

import re

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..errors import unknown
from ..nn.backbones import backbone_names
from ..recipe import recipe_file, recipe_names
from ..records.suites import suite_files
from ..registry import describe, load, names


def summaries(kind: str) -> list[tuple[str, str]]:
    """Names and first card lines of all methods, datasets, recipes, suites or backbones.

    Args:
        kind: one of "methods", "datasets", "recipes", "suites" and "backbones".
    """
    if kind == "backbones":
        ours = [(name, "") for name in backbone_names()]
        return [*ours, ("timm:<model>", "any model of timm, such as timm:resnet10t")]
    if kind in ("recipes", "suites"):
        files = {name: recipe_file(name) for name in recipe_names()} if kind == "recipes" else suite_files()
        texts = {name: path.read_text(encoding="utf-8-sig") for name, path in files.items()}
        return [(name, text.partition("\n")[0].lstrip("# ")) for name, text in texts.items()]
    plugins = [load(kind, name) for name in names(kind)]
    return [(f"{p.name}:PATH" if getattr(p.cls, "paths", ()) else p.name, p.card.partition("\n")[0]) for p in plugins]


def cards(name: str) -> list[RenderableType]:
    """Cards and fields of the method and dataset with a name, and the text of the recipe with that name.

    Args:
        name: any spelling that other commands accept: `ldam_drw`, `folder:PATH`, the path of a `.py` or `.toml` file.

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
        text = recipe_file(name).read_text(encoding="utf-8-sig").rstrip()
        parts += [*heading, Text(text, no_wrap=True, overflow="ignore")]  # with the line breaks of the file
    if not parts:
        candidates = {each for kind in ("methods", "datasets", "recipes") for each, _ in summaries(kind)}
        raise unknown("method, dataset or recipe", name, candidates)
    return parts


def unwrap(card: str) -> str:
    """Join the lines of each paragraph, so the terminal can wrap them; an indented line or `Key:` starts a new one."""
    return re.sub(r"(?<=\S)\n(?=[^\s\-*|])(?![A-Z][\w ]{0,30}:)", " ", card)


def fields(cls: type, scope: str) -> Table:
    """Table of a plugin's fields: name, default, allowed values and meaning."""
    table = Table(title=f"Fields (--set {scope}NAME=VALUE)", title_justify="left", box=None, pad_edge=False)
    for heading in ("name", "default", "values", "meaning"):
        table.add_column(heading, overflow="fold")
    for row in describe(cls):
        table.add_row(*row)
    return table
