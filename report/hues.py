"""Colours of the families of methods, the same in all figures and on the page; distinct for colour-blind readers."""

from __future__ import annotations

# After Okabe and Ito, and Tol. Any two hues are at least 11 apart (CIELAB), for readers without red or green cones too.
HUES = {
    "baseline": "#333333",
    "re-weighting": "#0072B2",
    "margin": "#D55E00",
    "sampling": "#009E73",
    "prior": "#CC79A7",
    "decoupled": "#E69F00",
    "mixing": "#56B4E9",
    "generation": "#882255",
    "bilateral": "#661100",
    "pre-training": "#332288",
    "other": "#777777",
}
