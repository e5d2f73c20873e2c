"""What dataset plugins share: the text that says which data are missing and how to get them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...benchmarks.split import DataRoot, MissingData


@dataclass(frozen=True)
class Supply:
    """How a user gets a dataset, for the error that it is missing.

    Attributes:
        name: benchmark name, such as `cifar10-lt`.
        alternatives: other layouts that are accepted, or a sentence that there is none.
        tree: the expected folders and files below the data root, at most eight lines.
        source: official name of the origin, account or consent that it wants, size.
        how: the command that downloads it, or that it must be downloaded by hand.
    """

    name: str
    alternatives: str
    tree: str
    source: str
    how: str

    def missing(self, root: DataRoot, path: Path) -> MissingData:
        """The error for `path`, the first file or folder that was looked for in vain."""
        tree = "\n".join("  " + line for line in self.tree.strip().splitlines())
        return MissingData(
            f"{self.name}: the data are not there.\n"
            f"Data root: {root.path} (from {root.origin})\n"
            f"Not found: {path} ({self.alternatives})\n"
            f"Expected below the data root:\n{tree}\n"
            f"Source: {self.source}\n"
            f"To get it: {self.how}\n"
            "Without any download: digits-lt (real images) or waves-lt (procedural)."
        )
