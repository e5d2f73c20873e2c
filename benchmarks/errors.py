"""Errors that the user can correct: a message that names the cause and the remedy, exit code 2, no traceback."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path

MOST_LISTED = 100  # names in an error message
INTERRUPTED = 130  # exit code of an interrupted command, as in a shell; that of a UserError is 2


class UserError(Exception):
    """An error that the user can correct; `str(error)` is the whole message."""


class RunFailed(UserError):
    """One run cannot continue, but others can."""


class MissingData(UserError, FileNotFoundError):
    """A dataset is not in the data root."""

    def __str__(self) -> str:  # FileNotFoundError would format its arguments as errno and file name
        return str(self.args[0])


def unknown(kind: str, name: str, choices: Iterable[str], nothing: str = "there are none") -> UserError:
    """The error for an unknown name, with the nearest match and all choices; `nothing` replaces an empty list."""
    names = sorted(choices)
    near = get_close_matches(name.lower(), names, n=5, cutoff=0.5)
    hint = look_alike(name, names) or (f" Did you mean '{near[0]}'?" if near else "")
    listed = ", ".join(names if len(names) <= MOST_LISTED else [*near, "and more"])
    return UserError(f"Unknown {kind} '{name}'.{hint} Known: {listed or nothing}.")


ALIKE: dict[str, Callable[[str], str]] = {  # what two names may differ in and still look alike
    "the encoding of its letters": lambda name: unicodedata.normalize("NFKC", name),
    "upper and lower case": str.casefold,
    "blanks": lambda name: " ".join(name.split()),
    "invisible characters": lambda name: "".join(c for c in name if unicodedata.category(c) not in ("Cf", "Cc")),
}


def look_alike(name: str, others: Iterable[str]) -> str:
    """A sentence, after a blank, that shows how another name differs from one that looks like it; "" without one."""
    for other in others:
        if other != name and _outline(other) == _outline(name):
            kinds = [kind for kind, outline in ALIKE.items() if outline(name) == outline(other)]
            return f" {other!a} looks like {name!a} but differs in {kinds[0] if kinds else 'several ways'}."
    return ""


def similar_path(path: Path) -> str:
    """`look_alike` for a path that does not exist and the names that are in its folder."""
    try:
        return look_alike(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return ""


def _outline(name: str) -> str:
    for outline in ALIKE.values():
        name = outline(name)
    return unicodedata.normalize("NFKC", name).strip()
