"""names() and load(): the folder is the list of plugins.

`methods/ldam_drw.py` is the method `ldam-drw`, `datasets/cifar10_lt.py` the dataset `cifar10-lt`; a leading
underscore marks a shared part. Methods are also found by path and in the entry-point group `ltbench.methods` of
installed packages.
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
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from .errors import UserError, unknown
from .fields import LARGEST, from_text
from .method import Method
from .recipe import explain
from .split import Source

ROOT = Path(__file__).parent.parent
PACKAGE = __name__.rpartition(".benchmarks")[0]
BASE, VALUES = "base", "base_values"  # fields of a method on top of another one
BASES: dict[str, type] = {"methods": Method, "datasets": Source}


@dataclass(frozen=True)
class Plugin:
    """A method or dataset.

    Attributes:
        name: as on the command line.
        cls: its dataclass.
        card: its module's docstring.
        source: sha256 of the file of a method from outside the suite, which no commit identifies; else None.
    """

    name: str
    cls: type[Any]
    card: str
    source: str | None = None


def names(kind: str) -> list[str]:
    """Names of the plugins of a kind, `methods` or `datasets`: the files of the folder and installed entry points."""
    files = [path.stem for path in (ROOT / kind).glob("*.py") if not path.stem.startswith("_")]
    outside = (
        [entry.name.replace("_", "-") for entry in entry_points(group="ltbench.methods")] if kind == "methods" else []
    )
    return sorted({stem.replace("_", "-") for stem in files} | set(outside))


def load(kind: str, name: str) -> Plugin:
    """Import a plugin by name, or a method by the path of its file.

    A plugin that fails to import fails here, with its traceback: skipping it would hide a regression.

    Raises:
        UserError: there is no such plugin, or its file does not define exactly one class of the kind.
    """
    if kind == "methods" and name.endswith(".py"):
        return _from_path(Path(name))
    name = name.replace("_", "-")  # both spellings are one plugin and must have one id
    if name not in names(kind):
        raise unknown(kind.removesuffix("s"), name, names(kind))
    if (ROOT / kind / f"{name.replace('-', '_')}.py").is_file():
        return _plugin(kind, name, importlib.import_module(f"{PACKAGE}.{kind}.{name.replace('-', '_')}"))
    entry = next(entry for entry in entry_points(group="ltbench.methods") if entry.name.replace("_", "-") == name)
    module = importlib.import_module(entry.module)
    return _plugin(kind, name, module, _digest(Path(str(module.__file__))))


def _from_path(path: Path) -> Plugin:
    if not path.is_file():
        raise UserError(f"There is no method file {path}.")
    name = f"{PACKAGE}_outside_{path.stem}_{_digest(path)[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file always has a loader"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are resolved through it
    spec.loader.exec_module(module)
    return _plugin("methods", path.stem.replace("_", "-"), module, _digest(path))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _plugin(kind: str, name: str, module: ModuleType, source: str | None = None) -> Plugin:
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
    _check_hooks(cls, base)
    return Plugin(name, cls, (module.__doc__ or "").strip(), source)


def _check_hooks(cls: type[Any], base: type) -> None:
    """Refuse a misspelt hook, which would never be called, and a field or value that hides a hook.

    Raises:
        UserError: there is one; the message names it.
    """
    hooks = [name for name, value in vars(base).items() if inspect.isfunction(value) and not name.startswith("_")]
    fields = {field.name for field in dataclasses.fields(cls)}
    for name in hooks:
        if name in fields or not callable(getattr(cls, name)):
            raise UserError(
                f"{cls.__name__}.{name} hides the hook {name}() of {base.__name__}, which could not be called; give it "
                "another name."
            )
    for name, value in vars(cls).items():
        near = get_close_matches(name, hooks, n=1, cutoff=0.75)
        if inspect.isfunction(value) and near and near[0] != name and not name.startswith("_"):
            raise UserError(f"{cls.__name__}.{name} is not a hook of {base.__name__}; did you mean '{near[0]}'?")


def configure(plugin: Plugin, settings: dict[str, Any]) -> Any:
    """An instance of a plugin with its defaults replaced by `settings` (field -> value, strings allowed).

    Where a method has a base, `base.NAME` sets a field of the base, and `base_values` several, as a record holds them.

    Raises:
        UserError: there is no such field, or a value has the wrong type or is out of range.
    """
    # Defaults are validated too: a default of 1 for a float must not have another id than the user's 1.
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
    """Whether a method works on top of another one, whose fields are set as `base.NAME`."""
    return any(field.name == VALUES for field in dataclasses.fields(plugin.cls))


def changed(instance: Any, plugin: Plugin) -> dict[str, Any]:
    """The fields of an instance that differ from the class's defaults, those of its base as `base.NAME`."""
    values = {field.name: getattr(instance, field.name) for field in dataclasses.fields(plugin.cls)}
    defaults = {field.name: field.default for field in dataclasses.fields(plugin.cls)}
    own = values.pop(VALUES, {})
    usual = getattr(configure(plugin, values), VALUES) if own else {}  # they follow from the other fields
    base = {f"{BASE}.{name}": value for name, value in own.items() if value != usual[name]}
    return {name: value for name, value in values.items() if value != defaults[name]} | base


def describe(cls: type) -> list[tuple[str, str, str, str]]:
    """Name, default, allowed values and meaning of each field; the meaning is taken from the class's docstrings."""
    hints = get_type_hints(cls, include_extras=True)
    docs = "\n".join(inspect.cleandoc(each.__doc__ or "") for each in cls.__mro__)  # its own first
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
    """A type in words: its choices, its bounds or its name."""
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        return " or ".join("None" if part is type(None) else _allowed(part) for part in get_args(hint))
    if get_origin(hint) is not Annotated:
        return getattr(hint, "__name__", str(hint))
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    marks = [(sign, getattr(mark, name, LARGEST)) for mark in hint.__metadata__ for name, sign in signs.items()]
    bounds = [f"{sign} {bound}" for sign, bound in marks if bound < LARGEST]  # nobody needs to know of larger ones
    return ", ".join([hint.__origin__.__name__, *bounds])
