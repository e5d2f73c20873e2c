"""leaderboard.csv: one line per row of every setting, with unrounded numbers, for other programs."""

from __future__ import annotations

import unicodedata
from typing import Any

import pandas as pd

from ...benchmarks.errors import printable
from ..document import Document

_FORMULA = ("=", "+", "-", "@", "\u2212")  # what a spreadsheet reads a formula after, wide forms and the minus included


def csv(document: Document) -> str:
    """Text of the file. Accuracies and differences are fractions, times are in seconds, memory is in bytes.

    Columns of a group are empty where the dataset has no such class, those of the logits where a row has none. `apart`
    says why a row is not ranked with the others. The columns that end in `_rule` say how classes were divided.
    """
    lines = [line for section in document.sections for line in section.numbers]
    return pd.DataFrame(lines).map(_cell).to_csv(index=False, lineterminator="\n")


def _cell(value: Any) -> Any:
    """The cell; text that a spreadsheet would compute as a formula begins with an apostrophe, as it does there."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if unicodedata.normalize("NFKC", text.lstrip()[:1]) in _FORMULA else text
