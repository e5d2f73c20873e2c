"""Checks of a plugin's name and class: whatever would be silently ignored or could not be recorded is an error."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import UserError

GROUP = "ltbench.methods"  # entry points of installed packages
SCOPES = ("recipe", "dataset", "base")  # --set SCOPE.NAME=VALUE
SIMPLE = (bool, int, float, str, NoneType)
CONTAINERS = (list, tuple, dict)
NAME = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")


def check_name(name: str, file: str) -> None:
    """Check the name of a plugin.

    Args:
        name: name on the command line.
        file: path of the plugin's file, for the message.

    Raises:
        UserError: the name has other characters than letters, digits and single dashes, or it is one of SCOPES, so that
            `--set NAME.FIELD=VALUE` would be ambiguous.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"{file}: '{name}' cannot be the name of a plugin; use letters, digits and underscores.")
    if name in SCOPES:
        raise UserError(f"{file}: a plugin cannot be called '{name}', since --set {name}.NAME means something else.")


def check_class(cls: type[Any], base: type) -> None:
    """Check that all hooks of a plugin would be called and all its fields could be recorded.

    Args:
        cls: dataclass of the plugin.
        base: base class of the plugin, `Method` or `Source`.

    Raises:
        UserError: a hook or field is invalid; the message names the class and the attribute.
    """
    hooks = [name for name, value in vars(base).items() if inspect.isfunction(value) and not name.startswith("_")]
    fields = {field.name for field in dataclasses.fields(cls)}
    for problem in (*_hidden(cls, base, hooks, fields), *_misspelt(cls, base, hooks), *_signatures(cls, base, hooks)):
        raise UserError(problem)
    for problem in (*_own_init(cls), *_unannotated(cls, fields), *_unrecordable(cls)):
        raise UserError(problem)


def _hidden(cls: type[Any], base: type, hooks: list[str], fields: set[str]) -> Iterator[str]:
    for name in hooks:
        if name in fields or not callable(getattr(cls, name)):
            yield (
                f"{cls.__name__}.{name} hides the hook {name}() of {base.__name__}, which could then no longer be "
                "called. Rename it."
            )


def _misspelt(cls: type[Any], base: type, hooks: list[str]) -> Iterator[str]:
    for name, value in vars(cls).items():
        near = get_close_matches(name, hooks, n=1, cutoff=0.75)
        if inspect.isfunction(value) and near and near[0] != name and not name.startswith("_"):
            yield f"{cls.__name__}.{name} is not a hook of {base.__name__}; did you mean '{near[0]}'?"


def _signatures(cls: type[Any], base: type, hooks: list[str]) -> Iterator[str]:
    for name in hooks:
        expected = inspect.signature(getattr(base, name))
        bound = not inspect.isfunction(inspect.getattr_static(cls, name))  # a static or class method has no self
        arguments = list(expected.parameters)[1 if bound else 0 :]
        try:
            inspect.signature(getattr(cls, name)).bind(*arguments)
        except TypeError:
            yield f"{cls.__name__}.{name} has the wrong parameters; write def {name}{_plain(expected)}."


def _plain(signature: inspect.Signature) -> str:
    return f"({', '.join(signature.parameters)})"


def _own_init(cls: type[Any]) -> Iterator[str]:
    for each in cls.__mro__:
        init = vars(each).get("__init__")
        if dataclasses.is_dataclass(each) and inspect.isfunction(init) and init.__code__.co_filename != "<string>":
            yield (
                f"{each.__name__} has its own __init__, which would not be called; declare hyper-parameters as fields, "
                "and derive values in begin_stage() or __post_init__()."
            )


def _unannotated(cls: type[Any], fields: set[str]) -> Iterator[str]:
    inherited = {name for each in cls.__mro__[1:] for name in (*vars(each), *vars(each).get("__annotations__", {}))}
    own = {name for name in vars(cls) if name.islower() and not name.startswith("_")}
    annotated = vars(cls).get("__annotations__", {})
    for name in sorted(own - inherited - fields - set(annotated)):
        value = vars(cls)[name]
        if isinstance(value, (bool, int, float, str)):
            yield (
                f"{cls.__name__}.{name} has no type and is therefore not a hyper-parameter; write {name}: "
                f"{type(value).__name__} = {value!r}, or use capitals for a constant."
            )


def _unrecordable(cls: type[Any]) -> Iterator[str]:
    hints = get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        if field.init and not _recordable(hints[field.name]):
            kind = getattr(field.type, "__name__", field.type)
            yield (
                f"{cls.__name__}.{field.name}: a record cannot contain {kind}; use numbers, strings, booleans, None, "
                "Literal, or lists, tuples and dictionaries of them."
            )


def _recordable(hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is Annotated:
        return _recordable(get_args(hint)[0])
    if origin is Literal:
        return all(isinstance(choice, SIMPLE) for choice in get_args(hint))
    if origin in (UnionType, Union) or origin in CONTAINERS:
        return all(part is Ellipsis or part is Any or _recordable(part) for part in get_args(hint))
    return hint in SIMPLE or hint in CONTAINERS
