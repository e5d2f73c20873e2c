"""Error message for missing data, with the expected files and how to get them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...benchmarks.errors import MissingData
from ...benchmarks.split import DataRoot


@dataclass(frozen=True)
class Supply:
    """Expected files of a dataset and instructions for getting them, for the error message when they are missing.

    Attributes:
        name: name of the dataset in the suite, such as `cifar10-lt`.
        alternatives: other accepted layouts, or a remark that there are none.
        tree: expected folders and files below the data root, at most eight lines.
        source: official name and publisher, required account or consent, and size.
        how: the command that downloads the data, or instructions for a manual download.
    """

    name: str
    alternatives: str
    tree: str
    source: str
    how: str

    def missing(self, root: DataRoot, path: Path) -> MissingData:
        """The error to raise for `path`, the first missing file or folder."""
        tree = "\n".join("  " + line for line in self.tree.strip().splitlines())
        return MissingData(
            f"{self.name}: the dataset is missing.\n"
            f"Data root: {root.path} (from {root.origin})\n"
            f"Not found: {path} ({self.alternatives})\n"
            f"Expected below the data root:\n{tree}\n"
            f"Source: {self.source}\n"
            f"To get it: {self.how}\n"
            "Without a download: digits-lt (real images) or waves-lt (procedural)."
        )
