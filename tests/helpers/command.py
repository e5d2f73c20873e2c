"""Result of a command: exit code and output."""

from typing import NamedTuple


class Answer(NamedTuple):
    code: int
    out: str
    err: str
