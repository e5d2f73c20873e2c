"""leaderboard.csv: every row of every setting on one line, numbers unrounded, for other programs."""

from __future__ import annotations

import pandas as pd

from ..document import Document


def csv(document: Document) -> str:
    """The text of the file: accuracies and differences are fractions in [0, 1], times seconds, memory bytes.

    Columns of a group are empty where the dataset has no such class, those of the logits where a row has none.
    """
    lines = [line for section in document.sections for line in section.numbers]
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")
