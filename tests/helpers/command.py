"""Result of a call of the command line."""

from typing import NamedTuple


class Answer(NamedTuple):
    code: int
    out: str
    err: str
