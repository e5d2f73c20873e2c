"""Names and one-line summaries of plugins, recipes, suites and backbones, and the text of a recipe; without torch."""

from __future__ import annotations

from importlib.metadata import entry_points

from rich.text import Text

from ..plugin_checks import GROUP
from ..recipe import recipe_file, recipe_names
from ..records.suites import suite_files
from ..utils.docstrings import FAMILIES, OTHER, backbone_names, family, plugin_cards


def summaries(kind: str) -> list[tuple[str, ...]]:
    """Name and summary of each method, dataset, recipe, suite or backbone; methods have their family in between.

    The summary is the first line of the card or file; built-in backbones have none. Methods are sorted by family.

    Args:
        kind: "methods", "datasets", "recipes", "suites" or "backbones".
    """
    if kind == "backbones":
        built_in = [(name, "") for name in backbone_names()]
        return [*built_in, ("timm:<model>", "any model of timm, such as timm:resnet10t")]
    if kind in ("recipes", "suites"):
        files = {name: recipe_file(name) for name in recipe_names()} if kind == "recipes" else suite_files()
        texts = {name: path.read_text(encoding="utf-8-sig") for name, path in files.items()}
        return [(name, text.partition("\n")[0].lstrip("# ")) for name, text in texts.items()]
    if kind == "datasets":
        return [(f"{name}:PATH" if path else name, card.partition("\n")[0]) for name, card, path in plugin_cards(kind)]
    methods = [(name, family(card), card.partition("\n")[0]) for name, card, _ in plugin_cards(kind)]
    return sorted(methods + _installed(), key=lambda row: (FAMILIES.index(row[1]), row[0]))


def _installed() -> list[tuple[str, str, str]]:
    """Names of the methods in installed packages, with their origin; the packages are not imported."""
    entries = entry_points(group=GROUP)
    return [(entry.name.replace("_", "-"), OTHER, f"installed: {entry.value}") for entry in entries]


def is_recipe_alone(name: str) -> bool:
    """Whether a name refers to a recipe or a .toml file, but to no built-in plugin."""
    plugins = {plugin for kind in ("methods", "datasets") for plugin, _, _ in plugin_cards(kind)}
    return name.endswith(".toml") or (name in recipe_names() and name not in plugins)


def recipe_card(name: str) -> Text:
    """Content of a recipe's file, as console text that is not wrapped.

    Args:
        name: name of a built-in recipe, or path of a .toml file.

    Raises:
        UserError: there is no such recipe.
    """
    return Text(recipe_file(name).read_text(encoding="utf-8-sig").rstrip(), no_wrap=True, overflow="ignore")
