"""Critical-difference diagram of average ranks over several datasets."""

from __future__ import annotations

from matplotlib.figure import Figure

from ..ranks import ALPHA, Ranks
from .style import PAGE, short, style


@style()
def rank_diagram(ranks: Ranks) -> Figure:
    """Methods ordered by average rank; bars join methods that Nemenyi's test does not separate."""
    from scikit_posthocs import critical_difference_diagram

    figure = Figure(figsize=(PAGE, 0.8 + 0.2 * ((len(ranks.mean) + 1) // 2)), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=False)
    names = {label: short(label, 40) for label in ranks.mean.index}
    pairs = ranks.pairs.rename(index=names, columns=names)
    critical_difference_diagram(
        ranks.mean.rename(names), pairs, ax=axes, alpha=ALPHA, label_props={"fontsize": 8},
        crossbar_props={"color": "0.4", "linewidth": 3}, elbow_props={"linewidth": 0.8},
        color_palette=dict.fromkeys(names.values(), "black"),
    )  # fmt: skip
    return figure
