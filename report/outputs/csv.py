"""leaderboard.csv: one line per row of every setting, with unrounded numbers, for other programs."""

from __future__ import annotations

import pandas as pd

from ..document import Document


def csv(document: Document) -> str:
    """Text of the file. Accuracies and differences are fractions, times are in seconds, memory is in bytes.

    Columns of a group are empty if the group has no classes, columns based on logits if a row has none.
    """
    lines = [line for section in document.sections for line in section.numbers]
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")
