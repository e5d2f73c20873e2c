"""Accuracy of each row before and after logit adjustment, from its stored logits."""

from __future__ import annotations

from dataclasses import replace

from ..logits import BINS, TAUS, Correction, corrections
from ..paired_tests import verdict
from ..sources import Evidence
from ..statistics import Setting
from ..text import in_points, percent
from ..tracks import BASELINE, NEAREST_MEAN
from ..variants import main_rows
from .table import Column, Table

_NOTE = (
    "From the stored test logits, for the seeds that have them. Tau = 1: the logarithm of each class's fraction of the "
    "training images is subtracted from its logit (Menon et al. 2021), without any tuning; this suits networks trained "
    "with plain cross-entropy and over-corrects those trained with rebalancing. Best tau on test: an upper bound, "
    f"chosen on the test split between {TAUS[0]:g} and {TAUS[-1]:g}. ECE: expected calibration error in percent, "
    f"{BINS} bins."
)


def adjusted(setting: Setting, evidence: Evidence) -> Table:
    """Table of the main rows with logits: accuracies, ECE, and difference from the baseline with adjusted logits.

    Scores of nearest class means are no log-probabilities and cannot be adjusted; ERM then takes their place.
    """
    if setting.options.baseline == NEAREST_MEAN:
        setting = replace(setting, options=replace(setting.options, baseline=BASELINE))
    rows, main = corrections(setting, evidence.scores), {row.label for row in main_rows(setting).rows}
    numbers = {row.label: {"adjusted": None, "ece": None} for row in setting.rows}
    notes, name = [_NOTE], setting.options.baseline
    compared = any(row.row is setting.baseline for row in rows)
    if rows and setting.baseline and not compared:
        notes.append(f"No differences: the runs of {name} have no stored logits.")
    if compared:
        notes.append(
            f"Minus adjusted {name}: accuracy of the row as trained minus that of {name} with tau = 1, in percentage "
            "points: the gain of a method over a correction that needs no training."
        )
    return Table(
        "adjusted",
        "After logit adjustment",
        [_line(setting, row, compared) for row in rows if row.row.label in main],
        notes,
        numbers=numbers | {row.row.label: {"adjusted": row.adjusted.mean, "ece": row.ece.mean} for row in rows},
        columns={
            f"minus adjusted {setting.options.baseline}": Column(part=1),
            "verdict": Column("words", part=1),
            "pairs": Column(part=1),
        },
        spare=("seeds", "best tau on test", "ECE"),
        apart=setting.apart,
    )


def _line(setting: Setting, correction: Correction, compared: bool) -> dict[str, str]:
    against = {}
    if compared:
        is_base = correction.row is setting.baseline
        against = {
            f"minus adjusted {setting.options.baseline}": in_points(correction.against),
            "verdict": "the baseline" if is_base else verdict(correction.against),
            "pairs": str(correction.against.n) if correction.against else "0",
        }
    return {
        "method": correction.row.label,
        "as trained": percent(correction.plain),
        "tau = 1": percent(correction.adjusted),
        "best tau on test": f"{percent(correction.best)} at {correction.best_tau:g}",
        "ECE": percent(correction.ece),
        **against,
        "seeds": str(correction.plain.n),
    }
