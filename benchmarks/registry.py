"""Discovery and loading of plugins: each file in `methods/` and `datasets/` is a plugin.

`methods/ldam_drw.py` is the method `ldam-drw`, `datasets/cifar10_lt.py` the dataset `cifar10-lt`; a leading underscore
marks shared code. Methods can also be loaded by path, or from the entry-point group `ltbench.methods` of installed
packages.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import math
import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from .errors import UserError, unknown
from .fields import LARGEST, from_text
from .method import Method
from .plugin_checks import GROUP, check_class, check_name
from .recipe import explain
from .split import Source

ROOT = Path(__file__).parent.parent
PACKAGE = __name__.rpartition(".benchmarks")[0]
BASE, VALUES = "base", "base_values"  # fields of a method that builds on another method
BASES: dict[str, type] = {"methods": Method, "datasets": Source}


@dataclass(frozen=True)
class Plugin:
    """A method or dataset.

    Attributes:
        name: name on the command line.
        cls: dataclass of the plugin, derived from `Method` or `Source`.
        card: docstring of the plugin's module.
        source: sha256 of the file of a third-party method, since no commit of ltbench identifies it; else None.
    """

    name: str
    cls: type[Any]
    card: str
    source: str | None = None


def names(kind: str) -> list[str]:
    """Names of all plugins of a kind, from the files of the folder and, for methods, from installed entry points.

    Args:
        kind: "methods" or "datasets".
    """
    files = [path.stem for path in (ROOT / kind).glob("*.py") if not path.stem.startswith("_")]
    outside = [entry.name.replace("_", "-") for entry in entry_points(group=GROUP)] if kind == "methods" else []
    return sorted({stem.replace("_", "-") for stem in files} | set(outside))


def load(kind: str, name: str) -> Plugin:
    """Import a plugin by name, or a method by the path of its file.

    Errors while importing a plugin propagate: skipping a broken plugin would hide a regression.

    Args:
        kind: "methods" or "datasets".
        name: name of the plugin, or path of a method's .py file.

    Raises:
        UserError: there is no such plugin, its name or class is invalid, or its file does not define exactly one
            subclass of `Method` or `Source`.
    """
    if kind == "methods" and name.endswith(".py"):
        return _from_path(Path(name))
    name = name.replace("_", "-")  # both spellings name the same plugin and must give the same id
    stem = name.replace("-", "_")
    if not stem.startswith("_") and stem.isidentifier() and (ROOT / kind / f"{stem}.py").is_file():
        return _built_in(kind, name)
    if name not in names(kind):
        raise unknown(kind.removesuffix("s"), name, names(kind))
    entry = next(entry for entry in entry_points(group=GROUP) if entry.name.replace("_", "-") == name)
    module = importlib.import_module(entry.module)
    return _plugin(kind, name, module, _digest(Path(str(module.__file__))))


@cache
def _built_in(kind: str, name: str) -> Plugin:
    return _plugin(kind, name, importlib.import_module(f"{PACKAGE}.{kind}.{name.replace('-', '_')}"))


def _from_path(path: Path) -> Plugin:
    if not path.is_file():
        raise UserError(f"There is no method file {path}.")
    name = f"{PACKAGE}_outside_{path.stem}_{_digest(path)[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file always has a loader"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are resolved through sys.modules
    spec.loader.exec_module(module)
    return _plugin("methods", path.stem.replace("_", "-"), module, _digest(path))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _plugin(kind: str, name: str, module: ModuleType, source: str | None = None) -> Plugin:
    check_name(name, str(module.__file__))
    base = BASES[kind]
    own = [cls for cls in vars(module).values() if isinstance(cls, type) and cls.__module__ == module.__name__]
    classes = [cls for cls in own if issubclass(cls, base)]
    if len(classes) != 1:
        raise UserError(
            f"{module.__file__} must define exactly one class derived from {base.__name__}; it defines {len(classes)}."
        )
    cls = classes[0]
    if "__dataclass_params__" not in vars(cls):
        cls = dataclass(cls)  # a forgotten decorator would drop the fields silently
    check_class(cls, base)
    return Plugin(name, cls, (module.__doc__ or "").strip(), source)


def configure(plugin: Plugin, settings: dict[str, Any]) -> Any:
    """Instantiate a plugin with its default values, overridden by `settings`.

    If a method has a base, `base.NAME` sets one field of the base; `base_values`, as found in records, sets several.

    Args:
        plugin: method or dataset.
        settings: values by field name; strings are converted to the field's type.

    Raises:
        UserError: there is no such field, or a value has the wrong type or is out of range.
    """
    # Validate defaults too: a float field with the default 1 must have the same id as one that the user sets to 1.
    fields = {field.name: field.default for field in dataclasses.fields(plugin.cls) if field.name != VALUES}
    values = {name: default for name, default in fields.items() if default is not dataclasses.MISSING}
    if has_base(plugin):
        values[VALUES] = {}
    hints = get_type_hints(plugin.cls)
    for name, value in settings.items():
        scope, dot, own = name.partition(".")
        if name in fields:
            values[name] = from_text(hints[name], value)
        elif VALUES in values and scope == BASE and dot:
            values[VALUES][own] = value
        elif VALUES in values and name == VALUES and isinstance(value, dict):
            values[VALUES] |= value
        else:
            raise unknown(f"field of '{plugin.name}'", name, fields, nothing="it has no fields")
    try:
        instance = TypeAdapter(plugin.cls).validate_python(values)
    except ValidationError as error:
        raise UserError(f"'{plugin.name}': {explain(error)}.") from error
    for name in fields:
        value = getattr(instance, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"'{plugin.name}': {name} = {value}: a field must be a finite number.")
    return instance


def has_base(plugin: Plugin) -> bool:
    """Whether a method builds on another method, whose fields are set as `base.NAME`."""
    return any(field.name == VALUES for field in dataclasses.fields(plugin.cls))


def base_of(instance: Any) -> Any:
    """Instantiate the base of a method, such as `ldam-drw` for RSG; None if the method has no base."""
    if not hasattr(instance, VALUES):
        return None
    return configure(load("methods", getattr(instance, BASE)), getattr(instance, VALUES))


def changed(instance: Any, plugin: Plugin) -> dict[str, Any]:
    """Values of a plugin that differ from its defaults, by field name; fields of its base are named `base.NAME`."""
    values = {field.name: getattr(instance, field.name) for field in dataclasses.fields(plugin.cls)}
    defaults = {field.name: field.default for field in dataclasses.fields(plugin.cls)}
    own = values.pop(VALUES, {})
    usual = getattr(configure(plugin, values), VALUES) if own else {}  # the base's defaults depend on the other fields
    base = {f"{BASE}.{name}": value for name, value in own.items() if name not in usual or value != usual[name]}
    return {name: value for name, value in values.items() if value != defaults[name]} | base


def describe(cls: type) -> list[tuple[str, str, str, str]]:
    """Name, default, allowed values and meaning of each field of a plugin; the meaning comes from class docstrings."""
    hints = get_type_hints(cls, include_extras=True)
    docs = "\n".join(inspect.cleandoc(each.__doc__ or "") for each in cls.__mro__)  # the class's own docstring first
    rows = []
    for field in dataclasses.fields(cls):
        default = "" if field.default is dataclasses.MISSING else str(field.default)
        text = re.search(rf"^ +{field.name}: (.+(?:\n {{8,}}.+)*)", docs, re.MULTILINE)
        meaning = " ".join(text[1].split()) if text else ""
        if field.name == VALUES:
            rows.append((f"{BASE}.NAME", "the base's", f"those of {BASE}", meaning))
        else:
            rows.append((field.name, default, _allowed(hints[field.name]), meaning))
    return rows


def _allowed(hint: Any) -> str:
    """Description of a type hint: its choices, or its name and bounds, such as `float, >= 0, <= 1`."""
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        return " or ".join("None" if part is type(None) else _allowed(part) for part in get_args(hint))
    if get_origin(hint) is not Annotated:
        return getattr(hint, "__name__", str(hint))
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    marks = [(sign, getattr(mark, name, LARGEST)) for mark in hint.__metadata__ for name, sign in signs.items()]
    bounds = [f"{sign} {bound}" for sign, bound in marks if bound < LARGEST]  # larger bounds only catch errors
    return ", ".join([_allowed(hint.__origin__), *bounds])
