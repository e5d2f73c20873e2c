"""`bench list` and `bench info`: list plugins and recipes, and describe one."""

from __future__ import annotations

import rich_click as click
from rich.console import Console

KINDS = ("methods", "datasets", "recipes", "suites", "backbones")


@click.command("list")
@click.argument("kind", type=click.Choice(KINDS))
def list_names(kind: str) -> None:
    """List all methods, datasets, recipes, suites or backbones."""
    from .listing import summaries

    rows = summaries(kind)
    width = max((len(name) for name, _ in rows), default=0)
    for name, summary in rows:
        print(f"{name:<{width}}  {summary}".rstrip())


@click.command()
@click.argument("name")
def info(name: str) -> None:
    """Describe a method, dataset or recipe and list its fields."""
    from .listing import is_recipe_alone, recipe_card

    console = Console(highlight=False)
    if is_recipe_alone(name):
        console.print(recipe_card(name))
        return
    from .cards import cards

    for part in cards(name):
        console.print(part, markup=False)


COMMANDS = (list_names, info)
