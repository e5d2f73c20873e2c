"""Conversion of command-line options to run specifications; invalid options are reported before any run starts."""

from __future__ import annotations

import dataclasses
import tomllib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..recipe import Recipe, load_recipe
from ..registry import BASE, Plugin, changed, configure, has_base, load
from ..split import DataRoot, Source
from .compatibility import check_fit, check_recipe, find_pretrained
from .run_spec import RunSpec

MOST_SEEDS = 10_000
MOST_DIGITS = 40  # maximum length of one part of the seeds, such as `0..2`
PLAIN = {"plain": True, "precision": "fp32", "channels_last": False}  # recipe values that `--plain` sets


@dataclass(frozen=True)
class RunRequest:
    """Options of `bench run`, unparsed.

    Attributes:
        seeds: string that names the seeds, such as "0..2"; see `parse_seeds`.
        imbalance: imbalance ratio of the datasets; None for their default.
        profile: imbalance profile of the datasets, exp or step; None for their default.
        recipe: recipe name or path of a .toml file; None for each dataset's default recipe.
        epochs: number of epochs; None for the recipe's.
        augment: name of the augmentation; None for the recipe's.
        settings: strings "NAME=VALUE"; see `parse_settings`.
        plain: whether to use the readable reference path.
        data_root: folder of the datasets; None for the default.
        allow_unverified: whether to accept data files whose checksum differs.
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


Scopes = dict[str, dict[str, Any]]  # method name, "recipe" or "dataset" -> values that the user set


def make_plan(methods: Sequence[str], datasets: Sequence[str], request: RunRequest | None = None) -> list[RunSpec]:
    """Run specifications for every dataset x method x seed, in this order, with seeds varying fastest.

    Args:
        methods: method names or paths of .py files.
        datasets: dataset names, or `name:PATH` for datasets that need a path.
        request: the other options; None for their defaults.

    Raises:
        UserError: a name is unknown, a value has the wrong type or is out of range, or data are missing or damaged.
    """
    request = request or RunRequest()
    plugins = find_methods(methods)
    sources = [find_source(name) for name in _distinct(datasets)]
    seeds = parse_seeds(request.seeds)
    scopes = find_scopes(request, plugins)
    for plugin in plugins:
        configure(plugin, scopes[plugin.name])
    configured = [configure(plugin, path | scopes["dataset"]) for plugin, path in sources]
    for source in configured:
        for plugin in plugins:
            check_recipe(plugin, load_recipe(request.recipe or source.recipe, scopes["recipe"])[0])
    recipes = [  # before reading the data, which takes longer
        find_pretrained(*load_recipe(request.recipe or source.recipe, scopes["recipe"])) for source in configured
    ]
    root = DataRoot.find(request.data_root, request.allow_unverified)
    _warn_of_two_tables([plugin for plugin in plugins if _holds_out(plugin, scopes)], plugins, configured)
    plan = []
    for source, (recipe, recipe_changes, weights) in zip(configured, recipes, strict=True):
        if source.decodes and recipe.size and "size" not in scopes["dataset"]:
            source = dataclasses.replace(source, size=recipe.size)
        whole = source.load(root)
        check_fit(whole, recipe, weights)
        part = None
        for plugin in plugins:
            holds_out = source.holdout or _holds_out(plugin, scopes)
            part = whole.holding_out() if holds_out and part is None else part
            dataset = part if holds_out and part is not None else whole
            length = recipe if "epochs" in scopes["recipe"] else recipe.lengthened(len(dataset.train))
            for seed in seeds:
                method = configure(plugin, scopes[plugin.name])
                changes = changed(method, plugin) | {f"recipe.{k}": v for k, v in recipe_changes.items()}
                plan.append(RunSpec(plugin.name, plugin.source, method, changes, dataset, length, seed, weights))
    return plan


def find_scopes(request: RunRequest, plugins: Sequence[Plugin]) -> Scopes:
    """All values that the user set, grouped by method name, `recipe` and `dataset`.

    Raises:
        UserError: a setting cannot be parsed, or a value is set twice.
    """
    scopes = parse_settings(request.settings, plugins)
    for scope, fields in (("dataset", ("imbalance", "profile")), ("recipe", ("epochs", "augment"))):
        values = {field: getattr(request, field) for field in fields}
        for field, value in values.items():
            if value is not None and field in scopes[scope]:
                raise UserError(f"{scope}.{field} is set twice: by --{field} {value} and by --set {scope}.{field}.")
            scopes[scope] |= {} if value is None else {field: value}
    if request.plain:
        scopes["recipe"] = PLAIN | scopes["recipe"]
    return scopes


def _holds_out(plugin: Plugin, scopes: Scopes) -> bool:
    """Whether a method needs held-out training images."""
    return bool(configure(plugin, scopes[plugin.name]).needs(1).validation)


def _warn_of_two_tables(some: list[Plugin], plugins: list[Plugin], sources: list[Source]) -> None:
    """Warn if some methods hold images out and others do not: their results go into separate tables."""
    if some and len(some) < len(plugins) and not all(source.holdout for source in sources):
        names = ", ".join(plugin.name for plugin in some)
        warnings.warn(
            f"{names} needs held-out training images; its results go into a separate table. To train all methods on "
            "the same images, add --set dataset.holdout=true.",
            stacklevel=3,
        )


def find_methods(texts: Sequence[str]) -> list[Plugin]:
    """Load methods by name or path, without duplicates.

    Raises:
        UserError: a method does not exist, or two different ones have the same name.
    """
    plugins: dict[str, Plugin] = {}
    for text in _distinct(texts):
        plugin = load("methods", text)
        if plugins.setdefault(plugin.name, plugin).source != plugin.source:
            raise UserError(f"Two different methods are called '{plugin.name}'; rename the file {text}.")
    return list(plugins.values())


def _distinct(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(text.strip() for text in texts))


def find_source(text: str) -> tuple[Plugin, dict[str, Any]]:
    """The dataset plugin for `name` or `name:PATH`, and its path as a field value, such as `{"path": "photos"}`.

    Raises:
        UserError: the dataset does not exist, needs a path that is missing, or takes no path.
    """
    name, colon, path = text.partition(":")
    plugin = load("datasets", name)
    cls: type[Source] = plugin.cls
    if bool(colon) != bool(cls.paths):
        raise UserError(
            f"Dataset '{name}' needs a folder: write {name}:PATH." if cls.paths else f"Dataset '{name}' takes no path."
        )
    return plugin, {cls.paths[0]: path} if colon else {}


def parse_seeds(text: str) -> list[int]:
    """Parse `3`, `0..2` (both ends included) or `0,4,7` into a list of seeds without duplicates.

    Raises:
        UserError: the text has another form, or a range is empty or has more than MOST_SEEDS seeds.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        if not first.isdecimal() or (dots and not last.isdecimal()) or len(part) > MOST_DIGITS:
            raise UserError(f"Cannot parse '{part}' in seeds '{text}'. Write 3, 0..2 or 0,4,7.")
        low, high = int(first), int(last) if dots else int(first)
        if high < low or high - low >= MOST_SEEDS:
            raise UserError(
                f"Seeds '{part}' must run from a smaller to a larger number and contain at most {MOST_SEEDS} seeds."
            )
        seeds += range(low, high + 1)
    return list(dict.fromkeys(seeds))


def parse_settings(settings: Sequence[str], plugins: Sequence[Plugin]) -> dict[str, dict[str, Any]]:
    """Parse strings `NAME=VALUE` into values grouped by scope: each method's name, `recipe` and `dataset`.

    A name without a prefix applies to every chosen method, `base.NAME` to every method that has a base.

    Raises:
        UserError: a string has another form, its prefix is unknown, a name without a prefix is a field of the recipe
            and of no method, or a field is set twice.
    """
    scopes: dict[str, dict[str, Any]] = {
        name: {} for name in [*(plugin.name for plugin in plugins), "recipe", "dataset"]
    }
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(f"Cannot parse --set {text}. Write --set NAME=VALUE.")
        scope, dot, field = name.partition(".")
        holders = [plugin.name for plugin in plugins if has_base(plugin)]
        if scope in scopes and dot:
            targets = [scope]
        elif scope == BASE and dot and holders:
            targets, field = holders, name
        elif dot:
            raise UserError(f"--set {text}: '{scope}' is not one of {', '.join(scopes)}.")
        else:
            _check_no_recipe_field(name, text, plugins)
            targets, field = [plugin.name for plugin in plugins], name
        for target in targets:
            if field in scopes[target]:
                raise UserError(
                    f"--set {text}: {target}.{field} is set twice; its other value is {scopes[target][field]}."
                )
            scopes[target][field] = _value(value)
    return scopes


def _check_no_recipe_field(name: str, text: str, plugins: Sequence[Plugin]) -> None:
    fields = {field.name for plugin in plugins for field in dataclasses.fields(plugin.cls)}
    if name in Recipe.model_fields and name not in fields:
        raise UserError(f"--set {text}: '{name}' belongs to the recipe. Write --set recipe.{text}.")


def _value(text: str) -> Any:
    """Parse a list such as [[0.8, 0.1], [0.9, 0.1]] as TOML; return any other text unchanged."""
    try:
        return tomllib.loads(f"value = {text}")["value"] if text.startswith("[") else text
    except tomllib.TOMLDecodeError:
        return text
