"""leaderboard.csv: the rows of all settings with unrounded numbers, for other programs."""

from __future__ import annotations

import unicodedata
from typing import Any

import pandas as pd

from ...benchmarks.errors import printable
from ..document import Document

_FORMULA = ("=", "+", "-", "@", "\u2212")  # first characters of a spreadsheet formula; U+2212 is the minus sign


def csv(document: Document) -> str:
    """Contents of leaderboard.csv. Accuracies and differences are fractions, times are in seconds, memory is in bytes.

    Columns of a group are empty if no class belongs to it, columns on logits if the row has no stored logits. `apart`
    is the reason why a row is not ranked with the others. Columns that end in `_rule` define the groups of classes.
    """
    lines = [line for section in document.sections for line in section.numbers]
    return pd.DataFrame(lines).map(_cell).to_csv(index=False, lineterminator="\n")


def _cell(value: Any) -> Any:
    """Value of a cell; text that a spreadsheet would read as a formula gets an apostrophe, which marks it as text."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if unicodedata.normalize("NFKC", text.lstrip()[:1]) in _FORMULA else text
