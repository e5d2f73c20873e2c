"""`bench list` and `bench info`: list plugins and recipes, and describe one."""

from __future__ import annotations

import rich_click as click
from rich.console import Console

KINDS = ("methods", "datasets", "recipes", "suites", "backbones")


@click.command("list")
@click.argument("kind", type=click.Choice(KINDS))
def list_names(kind: str) -> None:
    """List all methods (by family), datasets, recipes, suites or backbones."""
    from .listing import summaries

    rows = summaries(kind)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())


@click.command()
@click.argument("name")
def info(name: str) -> None:
    """Describe a method, dataset or recipe and list its fields."""
    from .listing import is_recipe_alone, recipe_card

    console = Console(highlight=False, markup=False, emoji=False)
    if is_recipe_alone(name):
        console.print(recipe_card(name))
        return
    from .cards import cards

    for part in cards(name):
        console.print(part)


COMMANDS = (list_names, info)
