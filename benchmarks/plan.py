"""What the user typed -> a list of fully decided runs. Everything is checked before the first of them starts."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from .backbones import build_backbone
from .errors import UserError
from .recipe import load_recipe
from .registry import Plugin, changed, configure, load
from .run import Run
from .split import DataRoot, Source

MOST_SEEDS = 10_000


def make_plan(
    methods: Sequence[str],
    datasets: Sequence[str],
    *,
    seeds: str = "0",
    imbalance: str | None = None,
    profile: str | None = None,
    recipe: str | None = None,
    epochs: str | None = None,
    settings: Sequence[str] = (),
    data_root: str | None = None,
    allow_unverified: bool = False,
) -> list[Run]:
    """Every dataset x method x seed, seeds innermost; the values are as on the command line of `bench run`.

    Raises:
        UserError: an unknown name, a value of the wrong type or out of range, or data that are missing or damaged.
    """
    plugins = [load("methods", name) for name in dict.fromkeys(name.strip() for name in methods)]
    sources = [find_source(name) for name in dict.fromkeys(name.strip() for name in datasets)]
    numbers = parse_seeds(seeds)
    scopes = parse_settings(settings, plugins)
    for field, value in (("imbalance", imbalance), ("profile", profile)):
        if value is not None:
            scopes["dataset"][field] = value
    if epochs is not None:
        scopes["recipe"]["epochs"] = epochs
    for plugin in plugins:
        configure(plugin, scopes[plugin.name])
    ready = [(plugin, configure(plugin, given | scopes["dataset"])) for plugin, given in sources]
    recipes = [load_recipe(recipe or source.recipe, scopes["recipe"]) for _, source in ready]
    for chosen, _ in recipes:
        build_backbone(chosen.backbone)  # an unknown name fails here, before the data are read
    root = DataRoot.find(data_root, allow_unverified)
    plan = []
    for (_, source), (chosen, recipe_changes) in zip(ready, recipes, strict=True):
        dataset = source.load(root)
        for plugin in plugins:
            for seed in numbers:
                method = configure(plugin, scopes[plugin.name])
                changes = changed(method, plugin) | {f"recipe.{k}": v for k, v in recipe_changes.items()}
                plan.append(Run(plugin.name, plugin.source, method, changes, dataset, chosen, seed))
    return plan


def find_source(text: str) -> tuple[Plugin, dict[str, Any]]:
    """The dataset plugin of `name` or `name:PATH`, and the field that the path fills."""
    name, colon, path = text.partition(":")
    plugin = load("datasets", name)
    cls: type[Source] = plugin.cls
    if bool(colon) != bool(cls.place):
        raise UserError(
            f"Dataset '{name}' needs a folder: write {name}:PATH." if cls.place else f"Dataset '{name}' takes no path."
        )
    return plugin, {cls.place[0]: path} if colon else {}


def parse_seeds(text: str) -> list[int]:
    """`3`, `0..2` (both ends included) and `0,4,7` -> a list of different seeds, in the order given."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        if not first.isdecimal() or (dots and not last.isdecimal()):
            raise UserError(f"Seeds '{text}' are not understood at '{part}'. Write 3, 0..2 or 0,4,7.")
        low, high = int(first), int(last) if dots else int(first)
        if high < low or high - low >= MOST_SEEDS:
            raise UserError(f"Seeds '{part}' are no range from a smaller to a larger number, {MOST_SEEDS} at most.")
        seeds += range(low, high + 1)
    return list(dict.fromkeys(seeds))


def parse_settings(settings: Sequence[str], plugins: Sequence[Plugin]) -> dict[str, dict[str, Any]]:
    """`name=value` texts -> values per scope: each method's name, `recipe` and `dataset`.

    A name without a prefix belongs to every chosen method.
    """
    scopes: dict[str, dict[str, Any]] = {
        name: {} for name in [*(plugin.name for plugin in plugins), "recipe", "dataset"]
    }
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(f"--set {text} is not understood. Write --set NAME=VALUE.")
        scope, dot, field = name.rpartition(".")
        if dot and scope not in scopes:
            raise UserError(f"--set {text}: '{scope}' is none of {', '.join(scopes)}.")
        for target in [scope] if dot else [plugin.name for plugin in plugins]:
            scopes[target][field] = _value(value)
    return scopes


def _value(text: str) -> Any:
    """A list such as [[0.8, 0.1], [0.9, 0.1]] is parsed as TOML; anything else is left to the field's type."""
    try:
        return tomllib.loads(f"value = {text}")["value"] if text.startswith("[") else text
    except tomllib.TOMLDecodeError:
        return text
