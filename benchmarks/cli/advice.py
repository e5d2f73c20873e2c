"""Output of `bench advise`: class sizes, progress, comparison and recommendation."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from itertools import combinations
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.status import Status

from ...report.groups import shot_groups
from ...report.outputs.terminal import literal, table_with_notes
from ...report.tables.table import Table
from ..advice.comparison import Difference, Recommendation, class_mean, difference
from ..errors import printable
from ..utils.formatting import counted, duration

if TYPE_CHECKING:
    from ..split import Dataset
    from ..training.run_spec import RunSpec

FEW = 10  # images; below, the accuracy of a class is known to 30 points at best
INTERVAL = float(os.environ.get("LTBENCH_EVERY", 15))  # seconds between lines where no terminal shows progress


class RunLine:
    """Shows the number of the run in progress: one live line on a terminal, elsewhere a line every few seconds.

    Args:
        total: number of runs.
        console: console to draw on.
    """

    def __init__(self, total: int, console: Console) -> None:
        self.total, self.console = total, console
        self.begun = self.printed = time.perf_counter()
        self.status = Status("", console=console)

    def __enter__(self) -> RunLine:
        if self.console.is_terminal:
            self.status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.status.stop()

    def show(self, run: RunSpec, number: int) -> None:
        """Show the run that begins now, by its number, from 0."""
        elapsed = time.perf_counter() - self.begun
        left = f", {duration(elapsed / number * (self.total - number))} left" if number and elapsed > 1 else ""
        text = f"run {number + 1} of {self.total}: {printable(run.name)}, seed {run.seed}{left}"
        if self.console.is_terminal:
            self.status.update(literal(text))
        elif time.perf_counter() - self.printed > INTERVAL:
            self.printed = time.perf_counter()
            self.console.print(literal(text, "dim"))


def print_counts(dataset: Dataset, console: Console) -> None:
    """Print the number of training images, the groups of classes by size, and the classes that are too small to judge.

    Args:
        dataset: the user's dataset.
        console: console to print on.
    """
    counts = dataset.train.counts.tolist()
    sizes = f"{counted(len(dataset.train), 'training image')} in {len(counts)} classes"
    console.print(literal(f"{dataset.name}: {sizes}, {max(counts)} to {min(counts)} per class", "bold"), soft_wrap=True)
    grouping = shot_groups(counts)
    for group in grouping.groups:
        if group.classes:
            of_group = [counts[k] for k in group.classes]
            names = _listed([dataset.class_names[k] for k in group.classes])
            largest, smallest = max(of_group), min(of_group)
            span = f"{largest} to {smallest}" if largest > smallest else str(largest)
            console.print(literal(f"{group.name}: {names} ({span} images)"))
    small = [name for name, count in zip(dataset.class_names, counts, strict=True) if count < FEW]
    if small:
        text = f"Fewer than {FEW} images, too few to judge alone: {_listed(small)}. They count in the mean."
        console.print(literal(text, "yellow"))
    console.print()


def _listed(names: list[str], most: int = 8) -> str:
    """Names separated by commas; beyond `most`, only their number."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return printable(", ".join(names[:most])) + more


def print_comparison(hits: Mapping[str, np.ndarray], dataset: Dataset, baseline: str, console: Console) -> None:
    """Print a table of mean per-class accuracies, by method, with their differences to the baseline.

    Args:
        hits: fraction of correct predictions of each training image, (N,), by method.
        dataset: the user's dataset.
        baseline: method to compare the others with.
        console: console to print on.
    """
    labels = dataset.train.labels.cpu().numpy()
    groups = [group for group in shot_groups(dataset.train.counts.tolist()).groups if group.classes]
    pairs = len(list(combinations(hits, 2)))
    lines = []
    for name in sorted(hits, key=lambda name: -class_mean(hits[name], labels)):
        line = {"method": name, "accuracy": f"{100 * class_mean(hits[name], labels):.1f}"}
        for group in groups:
            rows = np.isin(labels, group.classes)
            line[group.name] = f"{100 * class_mean(hits[name][rows], labels[rows]):.1f}"
        gap = difference(hits[name], hits[baseline], labels, pairs)
        line[f"minus {baseline}"] = "–" if name == baseline else _points(gap)
        lines.append(line)
    notes = [
        "Accuracy in percent: mean over the classes, each image predicted by runs that were not trained on it.",
        f"Intervals hold together for all {pairs} pairs of methods with probability 95 % (Bonferroni). They cover the "
        "choice of the images, but not how much a method depends on the images that it is trained on.",
    ]
    table = Table("advice", "", lines, brief=notes)
    for part in table_with_notes("Five-fold cross-validation on the training images", table):
        console.print(part)
    console.print()


def _points(gap: Difference) -> str:
    """A difference in percentage points with its interval."""
    return f"{100 * gap.mean:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"


def print_recommendation(result: Recommendation, dataset: Dataset, baseline: str, console: Console) -> None:
    """Print the recommended method, and which methods are as good as far as these images can tell.

    Args:
        result: recommendation.
        dataset: the user's dataset.
        baseline: method that the others were compared with.
        console: console to print on.
    """
    similar = [name for name in result.similar if name != result.method]
    if result.gain is not None and result.gain.separable:
        text = f"Use {result.method}: it is {_points(result.gain)} points more accurate than {baseline}."
        if similar:
            text += f" {', '.join(similar)} cannot be told apart from it with {len(dataset.train):,} images."
    elif result.best == baseline:
        text = f"Use {baseline}: no other method is more accurate here."
    else:
        assert result.gain is not None
        text = (
            f"No method is clearly better than {baseline}. {result.best} has the highest accuracy, by "
            f"{_points(result.gain)} points, which {len(dataset.train):,} images cannot tell from chance. {baseline} "
            "is the simplest choice; more images of the small classes would decide."
        )
    console.print(literal(text, "bold"))
