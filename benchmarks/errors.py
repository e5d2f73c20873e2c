"""Errors that the user can correct: a message that names the cause and the remedy, exit code 2, no traceback."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path

MOST_LISTED = 100  # most names listed in an error message
INTERRUPTED = 130  # exit code of an interrupted command, as in a shell; a UserError exits with 2


_JOINERS = "\u200c\u200d"  # invisible, but some scripts and emoji cannot be written without them


def printable(text: str, keep: str = "") -> str:
    r"""Replace control characters, line breaks and invisible characters by escapes such as `\x1b`.

    Names and file contents that are printed can then neither control a terminal nor start a new line.

    Args:
        text: any text, lone surrogates included.
        keep: characters that are not replaced.
    """
    if text.isprintable():
        return text
    keep += _JOINERS
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


class UserError(Exception):
    """An error that the user can correct; `str(error)` is the whole message, which may have several lines."""

    def __str__(self) -> str:
        return printable(super().__str__(), keep="\n")


class RunFailed(UserError):
    """One run cannot continue; other runs of the command can."""


class MissingData(UserError, FileNotFoundError):
    """The files of a dataset are not in the data root."""

    def __str__(self) -> str:  # FileNotFoundError would format its arguments as errno and file name
        return printable(str(self.args[0]), keep="\n")


def unknown(kind: str, name: str, choices: Iterable[str], nothing: str = "there are none") -> UserError:
    """Error for an unknown name; its message contains the nearest match and all known names.

    Args:
        kind: kind of the named thing, such as "method".
        name: unknown name, as the user typed it.
        choices: known names; if there are more than MOST_LISTED, only near matches are listed.
        nothing: text in place of an empty list.
    """
    names = sorted(choices)
    near = get_close_matches(name.lower(), names, n=5, cutoff=0.5)
    hint = look_alike(name, names) or (f" Did you mean '{near[0]}'?" if near else "")
    listed = ", ".join(names if len(names) <= MOST_LISTED else [*near, "and more"])
    return UserError(f"Unknown {kind} '{name}'.{hint} Known: {listed or nothing}.")


ALIKE: dict[str, Callable[[str], str]] = {  # inconspicuous difference between two names -> function that removes it
    "the encoding of its letters": lambda name: unicodedata.normalize("NFKC", name),
    "upper and lower case": str.casefold,
    "blanks": lambda name: " ".join(name.split()),
    "invisible characters": lambda name: "".join(c for c in name if unicodedata.category(c) not in ("Cf", "Cc")),
}


def look_alike(name: str, others: Iterable[str]) -> str:
    """Sentence, after a space, on how a name differs from the first of `others` that looks like it; "" if none does."""
    for other in others:
        if other != name and _outline(other) == _outline(name):
            kinds = [kind for kind, outline in ALIKE.items() if outline(name) == outline(other)]
            return f" {other!a} looks like {name!a} but differs in {kinds[0] if kinds else 'several ways'}."
    return ""


def alike_pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """All pairs of names that look alike, found without comparing every name with every other."""
    by_outline: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_outline[_outline(name)].append(name)
    return [pair for group in by_outline.values() for pair in combinations(group, 2)]


def similar_path(path: Path) -> str:
    """Apply `look_alike` to the name of a missing file or folder and the names in its parent folder."""
    try:
        return look_alike(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return ""


def _outline(name: str) -> str:
    """Normal form of a name: names that look alike have the same one."""
    for outline in ALIKE.values():
        name = outline(name)
    return unicodedata.normalize("NFKC", name).strip()
