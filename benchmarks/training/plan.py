"""The plan of a command: what the user typed becomes a list of run specifications, all checked before one starts."""

from __future__ import annotations

import dataclasses
import tomllib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import UserError
from ..nn.backbones import build_backbone, check_backbone
from ..recipe import Recipe, load_recipe
from ..registry import BASE, Plugin, changed, configure, has_base, load
from ..split import DataRoot, Dataset, Source
from .run_spec import RunSpec

MOST_SEEDS = 10_000
MOST_DIGITS = 40  # of a range
PLAIN = {"plain": True, "precision": "fp32", "channels_last": False}


@dataclass(frozen=True)
class RunRequest:
    """Options of `bench run`, as they are typed.

    Attributes:
        seeds: see `parse_seeds`.
        imbalance: field of the datasets; None for their default.
        profile: likewise.
        recipe: name or file; None for each dataset's own.
        epochs: field of the recipe; None for its own value.
        augment: likewise.
        settings: see `parse_settings`.
        plain: the readable reference path.
        data_root: folder of the datasets; None for the default one.
        allow_unverified: accept data files whose checksum differs.
    """

    seeds: str = "0"
    imbalance: str | None = None
    profile: str | None = None
    recipe: str | None = None
    epochs: str | None = None
    augment: str | None = None
    settings: Sequence[str] = ()
    plain: bool = False
    data_root: str | None = None
    allow_unverified: bool = False


Scopes = dict[str, dict[str, Any]]  # of values that the user set: each method's, the recipe's and the datasets'


def make_plan(methods: Sequence[str], datasets: Sequence[str], request: RunRequest | None = None) -> list[RunSpec]:
    """Every dataset x method x seed, seeds innermost.

    Raises:
        UserError: an unknown name, a value of the wrong type or out of range, or data that are missing or damaged.
    """
    request = request or RunRequest()
    plugins = find_methods(methods)
    sources = [find_source(name) for name in _distinct(datasets)]
    seeds = parse_seeds(request.seeds)
    scopes = find_scopes(request, plugins)
    for plugin in plugins:
        configure(plugin, scopes[plugin.name])
    configured = [configure(plugin, path | scopes["dataset"]) for plugin, path in sources]
    recipes = [load_recipe(request.recipe or source.recipe, scopes["recipe"]) for source in configured]
    for recipe, _ in recipes:
        check_backbone(recipe.backbone)  # an unknown name fails here, before the data are read
    root = DataRoot.find(request.data_root, request.allow_unverified)
    _warn_of_two_tables([plugin for plugin in plugins if _holds_out(plugin, scopes)], plugins, configured)
    plan = []
    for source, (recipe, recipe_changes) in zip(configured, recipes, strict=True):
        whole = source.load(root)
        check_fit(whole, recipe)
        part = None
        for plugin in plugins:
            holds_out = source.holdout or _holds_out(plugin, scopes)
            part = whole.holding_out() if holds_out and part is None else part
            dataset = part if holds_out and part is not None else whole
            for seed in seeds:
                method = configure(plugin, scopes[plugin.name])
                changes = changed(method, plugin) | {f"recipe.{k}": v for k, v in recipe_changes.items()}
                plan.append(RunSpec(plugin.name, plugin.source, method, changes, dataset, recipe, seed))
    return plan


def find_scopes(request: RunRequest, plugins: Sequence[Plugin]) -> Scopes:
    """All values that the user set, by name of the method, `recipe` and `dataset`."""
    scopes = parse_settings(request.settings, plugins)
    for scope, fields in (("dataset", ("imbalance", "profile")), ("recipe", ("epochs", "augment"))):
        values = {field: getattr(request, field) for field in fields}
        scopes[scope] |= {field: value for field, value in values.items() if value is not None}
    if request.plain:
        scopes["recipe"] = PLAIN | scopes["recipe"]
    return scopes


def _holds_out(plugin: Plugin, scopes: Scopes) -> bool:
    """Whether a method needs images that are held out of the training split."""
    return bool(configure(plugin, scopes[plugin.name]).needs(1).validation)


def _warn_of_two_tables(some: list[Plugin], plugins: list[Plugin], sources: list[Source]) -> None:
    """Warn if only some of the methods hold images out: they are not in one table with the others."""
    if some and len(some) < len(plugins) and not all(source.holdout for source in sources):
        names = ", ".join(plugin.name for plugin in some)
        warnings.warn(
            f"{names} needs images held out of the training split and gets a table of its own. To train all methods on "
            "the same images, add --set dataset.holdout=true.",
            stacklevel=3,
        )


def find_methods(texts: Sequence[str]) -> list[Plugin]:
    """The methods with some names or paths, without repetition."""
    plugins: dict[str, Plugin] = {}
    for text in _distinct(texts):
        plugin = load("methods", text)
        if plugins.setdefault(plugin.name, plugin).source != plugin.source:
            raise UserError(f"Two different methods are called '{plugin.name}'; rename the file {text}.")
    return list(plugins.values())


def _distinct(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))


def find_source(text: str) -> tuple[Plugin, dict[str, Any]]:
    """The dataset plugin of `name` or `name:PATH`, and the field that takes the path, with its value."""
    name, colon, path = text.partition(":")
    plugin = load("datasets", name)
    cls: type[Source] = plugin.cls
    if bool(colon) != bool(cls.paths):
        raise UserError(
            f"Dataset '{name}' needs a folder: write {name}:PATH." if cls.paths else f"Dataset '{name}' takes no path."
        )
    return plugin, {cls.paths[0]: path} if colon else {}


def parse_seeds(text: str) -> list[int]:
    """`3`, `0..2` (both ends included) and `0,4,7` -> seeds without repetition, in this order."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        if not first.isdecimal() or (dots and not last.isdecimal()) or len(part) > MOST_DIGITS:
            raise UserError(f"Seeds '{text}' are not understood at '{part}'. Write 3, 0..2 or 0,4,7.")
        low, high = int(first), int(last) if dots else int(first)
        if high < low or high - low >= MOST_SEEDS:
            raise UserError(f"Seeds '{part}' are no range from a smaller to a larger number, {MOST_SEEDS} at most.")
        seeds += range(low, high + 1)
    return list(dict.fromkeys(seeds))


def parse_settings(settings: Sequence[str], plugins: Sequence[Plugin]) -> dict[str, dict[str, Any]]:
    """`name=value` texts -> values per scope: each method's name, `recipe` and `dataset`.

    A name without a prefix belongs to every chosen method, `base.NAME` to every one that has a base.
    """
    scopes: dict[str, dict[str, Any]] = {
        name: {} for name in [*(plugin.name for plugin in plugins), "recipe", "dataset"]
    }
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(f"--set {text} is not understood. Write --set NAME=VALUE.")
        scope, dot, field = name.partition(".")
        holders = [plugin.name for plugin in plugins if has_base(plugin)]
        if scope in scopes and dot:
            targets = [scope]
        elif scope == BASE and dot and holders:
            targets, field = holders, name
        elif dot:
            raise UserError(f"--set {text}: '{scope}' is none of {', '.join(scopes)}.")
        else:
            _check_no_recipe_field(name, text, plugins)
            targets, field = [plugin.name for plugin in plugins], name
        for target in targets:
            scopes[target][field] = _value(value)
    return scopes


def _check_no_recipe_field(name: str, text: str, plugins: Sequence[Plugin]) -> None:
    fields = {field.name for plugin in plugins for field in dataclasses.fields(plugin.cls)}
    if name in Recipe.model_fields and name not in fields:
        raise UserError(f"--set {text}: '{name}' belongs to the recipe. Write --set recipe.{text}.")


def _value(text: str) -> Any:
    """A list such as [[0.8, 0.1], [0.9, 0.1]] is parsed as TOML; anything else is left to the field's type."""
    try:
        return tomllib.loads(f"value = {text}")["value"] if text.startswith("[") else text
    except tomllib.TOMLDecodeError:
        return text


def check_fit(dataset: Dataset, recipe: Recipe) -> None:
    """Try the recipe's backbone on one image of the dataset, before anything is trained.

    Raises:
        UserError: it does not take images of this size.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        backbone = build_backbone(recipe.backbone).eval()
        try:
            backbone(dataset.test.pixels(torch.tensor([0])).float())
        except (AssertionError, RuntimeError, ValueError) as error:
            height, width = dataset.test.images.shape[2:]
            raise UserError(
                f"Backbone {recipe.backbone} does not take the images of {dataset.name}, {height}x{width}: {error}."
            ) from error
