"""Errors that a user can cause: one sentence that names the thing and the way out, exit code 2, no traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MOST_LISTED = 100
INTERRUPTED = 130  # exit code of an interrupted command, as a shell gives it; a UserError is 2


class UserError(Exception):
    """Something the user can put right. `str(error)` is the whole message."""


class RunFailed(UserError):
    """One run cannot go on, but others can."""


class MissingData(UserError, FileNotFoundError):
    """A dataset is not where it was looked for."""

    def __str__(self) -> str:  # FileNotFoundError would format its arguments as errno and file name
        return str(self.args[0])


def unknown(kind: str, name: str, known: Iterable[str], nothing: str = "there are none") -> UserError:
    """The error for a name that does not exist: the nearest match first, then all known ones."""
    names = sorted(known)
    near = get_close_matches(name.lower(), names, n=5, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    listed = ", ".join(names if len(names) <= MOST_LISTED else [*near, "and more"])
    return UserError(f"Unknown {kind} '{name}'.{hint} Known: {listed or nothing}.")
