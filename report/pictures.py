"""Pictures of what a network is shown: images of a batch, and the share of synthetic images per class."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec

from .style import save, style

COLUMNS = 8
SPREAD = 2.5  # deviations of a normalised image from black to white


class View(Protocol):
    """What `bench look` collects: see `benchmarks.training.preview.View`."""

    pixels: np.ndarray
    normalised: np.ndarray
    labels: np.ndarray
    synthetic: np.ndarray
    sources: np.ndarray
    source_labels: np.ndarray
    towards: np.ndarray
    class_counts: np.ndarray
    synthetic_counts: np.ndarray


@style()
def batch_picture(title: str, class_names: list[str], view: View, suffix: str) -> bytes:
    """Natural and synthetic images of one batch, as pixels and as the first layer sees them; below, classes.

    Args:
        title: above the picture.
        class_names: (C,).
        view: what the network is shown.
        suffix: `png`, `svg` or `pdf`.

    Returns:
        The contents of the file.
    """
    pixels, normalised, labels, synthetic = view.pixels, view.normalised, view.labels, view.synthetic
    rows: list[tuple[str, np.ndarray, list[str] | None]] = []
    for kind, marked in (("natural", ~synthetic), ("synthetic", synthetic)):
        if not marked.any():
            continue
        chosen = _spread(np.flatnonzero(marked), labels)
        names = [class_names[i] for i in labels[chosen]]
        if kind == "synthetic" and len(view.sources):
            rows += _moved(view, chosen, class_names)
            continue
        rows.append((f"{kind}\npixels", pixels[chosen], names))
        rows.append(("as the network\nsees them", np.clip(normalised[chosen] / (2 * SPREAD) + 0.5, 0, 1), None))
    height = sum(1.05 if names else 0.85 for _, _, names in rows)
    figure = Figure(figsize=(7, height + 2.6), layout="constrained")
    figure.suptitle(title, fontsize=9)
    halves = figure.add_gridspec(2, 1, height_ratios=[height, 2.2])
    grid = GridSpecFromSubplotSpec(len(rows), COLUMNS, halves[0], wspace=0.05, hspace=0.05)
    for k, (text, images, names_or_none) in enumerate(rows):
        _row(figure, grid, k, text, images, names_or_none)
    _shares(figure, halves[1], class_names, view.class_counts, view.synthetic_counts)
    return save(figure, suffix)


def _spread(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """One row of images: one per class, from the first to the last class; if classes are few, several per class."""
    rank = np.zeros(len(rows), dtype=int)
    for label in np.unique(labels[rows]):
        same = labels[rows] == label
        rank[same] = np.arange(same.sum())
    order = rows[np.lexsort((labels[rows], rank))]
    classes = int((rank == 0).sum())
    at = np.linspace(0, classes - 1, COLUMNS).round().astype(int) if classes > COLUMNS else np.arange(COLUMNS)
    chosen = order[at[at < len(order)]]
    return chosen[np.argsort(labels[chosen], kind="stable")]


def _moved(view: View, chosen: np.ndarray, class_names: list[str]) -> list[tuple[str, np.ndarray, list[str] | None]]:
    """Rows of a picture: what images were made from, what became of them, and the difference, enlarged."""
    before, after = view.sources[chosen], view.pixels[chosen]
    change = after - before
    factor = max(1, int(0.5 / max(np.quantile(np.abs(change), 0.99), 1e-6)))
    labels = [class_names[i] for i in view.labels[chosen]]
    towards = [class_names[i] for i in view.towards[chosen]]
    made = [label if label == to else f"{label[:9]} > {to[:9]}" for label, to in zip(labels, towards, strict=True)]
    return [
        ("made from", before, [class_names[i] for i in view.source_labels[chosen]]),
        ("synthetic:\nlabel" + (" > moved\ntowards" if labels != towards else ""), np.clip(after, 0, 1), made),
        (f"difference\ntimes {factor}", np.clip(0.5 + factor * change, 0, 1), None),
    ]


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
            axes.set_title(name if " > " in name else name[:12], fontsize=7 if len(name) < 13 else 5, pad=2)
        if column == 0:
            axes.set_ylabel(text, fontsize=7, rotation=0, ha="right", va="center")


def _shares(figure: Figure, place: SubplotSpec, class_names: list[str], shown: np.ndarray, made: np.ndarray) -> None:
    axes = figure.add_subplot(place)
    at, total = np.arange(len(shown)), max(shown.sum(), 1)
    natural = 100 * (shown - made) / total
    axes.bar(at, natural, color="C0", edgecolor="black", linewidth=0.4, label="natural")
    axes.bar(at, 100 * made / total, bottom=natural, color="C1", hatch="////", edgecolor="black", linewidth=0.4,
             label="synthetic")  # fmt: skip
    for x, one, part in zip(at, shown, made, strict=True):
        if len(shown) <= 20:
            axes.annotate(f"{100 * part / max(one, 1):.0f} %", (x, 100 * one / total), ha="center", va="bottom", size=7)
    if len(class_names) <= 20:
        turned: dict[str, Any] = {"rotation": 45, "ha": "right"} if max(map(len, class_names)) > 4 else {}
        axes.set_xticks(at, [name[:12] for name in class_names], fontsize=7, **turned)
    axes.set(
        xlabel="class; above each bar the synthetic share of its images" if len(shown) <= 20 else "class",
        ylabel="images shown (%)", ylim=(0, 118 * shown.max() / total),
    )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, ncols=2, frameon=False, loc="upper right")
