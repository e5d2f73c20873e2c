"""Pictures of a network's input: images of a batch, and the fraction of synthetic images per class."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec

from ...benchmarks.errors import printable
from .classes import NAMED_CLASSES
from .style import save, style

COLUMNS = 8
SPREAD = 2.5  # displayed range of a normalised image, in standard deviations on either side of zero


class View(Protocol):
    """The arrays that `bench look` collects; their shapes are given in `benchmarks.training.preview.View`."""

    pixels: np.ndarray
    normalised: np.ndarray
    labels: np.ndarray
    second_labels: np.ndarray
    synthetic: np.ndarray
    sources: np.ndarray
    source_labels: np.ndarray
    towards: np.ndarray
    class_counts: np.ndarray
    synthetic_counts: np.ndarray


@style()
def batch_picture(title: str, class_names: list[str], view: View, suffix: str) -> bytes:
    """Draw natural and synthetic images of a batch, as pixels and normalised, above a bar chart of the classes.

    Args:
        title: title of the picture.
        class_names: names of the C classes.
        view: images and counts to show.
        suffix: file format, `png`, `svg` or `pdf`.

    Returns:
        The contents of the picture file.
    """
    class_names = [printable(name) for name in class_names]
    pixels, normalised, labels, synthetic = view.pixels, view.normalised, view.labels, view.synthetic
    rows: list[tuple[str, np.ndarray, list[str] | None]] = []
    for kind, marked in (("natural", ~synthetic), ("synthetic", synthetic)):
        if not marked.any():
            continue
        chosen = _spread(np.flatnonzero(marked), labels)
        names = _pairs(labels[chosen], view.second_labels[chosen], class_names, "+")
        if kind == "synthetic" and len(view.sources):
            rows += _moved(view, chosen, class_names)
            continue
        mixed = (labels != view.second_labels)[chosen].any()
        rows.append((f"{'mixed' if mixed else kind}\npixels", pixels[chosen], names))
        rows.append(("as the network\nsees them", np.clip(normalised[chosen] / (2 * SPREAD) + 0.5, 0, 1), None))
    height = sum(1.05 if names else 0.85 for _, _, names in rows)
    figure = Figure(figsize=(7, height + 2.6), layout="constrained")
    figure.suptitle(printable(title), fontsize=9)
    halves = figure.add_gridspec(2, 1, height_ratios=[height, 2.2])
    grid = GridSpecFromSubplotSpec(len(rows), COLUMNS, halves[0], wspace=0.05, hspace=0.05)
    for k, (text, images, names_or_none) in enumerate(rows):
        _row(figure, grid, k, text, images, names_or_none)
    _class_bars(figure, halves[1], class_names, view)
    return save(figure, suffix)


def _spread(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows to show: one image per class, of classes that are evenly spaced, or several per class if classes are few."""
    rank = np.zeros(len(rows), dtype=int)
    for label in np.unique(labels[rows]):
        same = labels[rows] == label
        rank[same] = np.arange(same.sum())
    order = rows[np.lexsort((labels[rows], rank))]
    classes = int((rank == 0).sum())
    at = np.linspace(0, classes - 1, COLUMNS).round().astype(int) if classes > COLUMNS else np.arange(COLUMNS)
    chosen = order[at[at < len(order)]]
    by_label: np.ndarray = chosen[np.argsort(labels[chosen], kind="stable")]
    return by_label


def _moved(view: View, chosen: np.ndarray, class_names: list[str]) -> list[tuple[str, np.ndarray, list[str] | None]]:
    """Rows of a picture: the sources of synthetic images, the synthetic images, and their amplified difference."""
    before, after = view.sources[chosen], view.pixels[chosen]
    change = after - before
    factor = max(1, int(0.5 / max(np.quantile(np.abs(change), 0.99), 1e-6)))
    labels, towards = view.labels[chosen], view.towards[chosen]
    names = _pairs(labels, towards, class_names, ">")
    return [
        ("made from", before, [class_names[i][:12] for i in view.source_labels[chosen]]),
        ("synthetic:\nlabel" + (" > moved\ntowards" if (labels != towards).any() else ""), np.clip(after, 0, 1), names),
        (f"difference\ntimes {factor}", np.clip(0.5 + factor * change, 0, 1), None),
    ]


def _pairs(first: np.ndarray, second: np.ndarray, class_names: list[str], sign: str) -> list[str]:
    """Names of classes (K,), each followed by `sign` and the name of the second class where the two differ."""
    names = [(class_names[a], class_names[b]) for a, b in zip(first, second, strict=True)]
    return [a[:12] if a == b else f"{a[:9]} {sign} {b[:9]}" for a, b in names]


def _row(
    figure: Figure, grid: GridSpecFromSubplotSpec, row: int, text: str, images: np.ndarray, names: list[str] | None
) -> None:
    for column, image in enumerate(images):
        axes = figure.add_subplot(grid[row, column])
        axes.imshow(image.transpose(1, 2, 0), interpolation="nearest", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(True)
        if names is not None:
            name = names[column]
            axes.set_title(name, fontsize=7 if len(name) < 13 else 5, pad=2)
        if column == 0:
            axes.set_ylabel(text, fontsize=7, rotation=0, ha="right", va="center")


def _class_bars(figure: Figure, cell: SubplotSpec, class_names: list[str], view: View) -> None:
    """Draw the fraction of images of each class, in percent of all images, split into natural and synthetic."""
    axes = figure.add_subplot(cell)
    counts, synthetic = view.class_counts, view.synthetic_counts
    few = len(counts) <= NAMED_CLASSES
    at, total = np.arange(len(counts)), max(counts.sum(), 1)
    natural = 100 * (counts - synthetic) / total
    look: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.4}
    axes.bar(at, natural, color="C0", label="natural", **look)
    axes.bar(at, 100 * synthetic / total, bottom=natural, color="C1", hatch="////", label="synthetic", **look)
    if few:
        for x in at:
            text = f"{100 * synthetic[x] / max(counts[x], 1):.0f} %"
            axes.annotate(text, (x, 100 * counts[x] / total), ha="center", va="bottom", size=7)
        turned: dict[str, Any] = {"rotation": 45, "ha": "right"} if max(map(len, class_names)) > 4 else {}
        axes.set_xticks(at, [name[:12] for name in class_names], fontsize=7, **turned)
    xlabel = "class; above each bar the synthetic fraction of its images" if few else "class"
    axes.set(xlabel=xlabel, ylabel="images shown (%)", ylim=(0, 118 * counts.max() / total))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, ncols=2, frameon=False, loc="upper right")
