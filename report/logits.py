"""Evaluation of the stored test logits of a run: calibration, logit adjustment, shifted test priors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..benchmarks.records.schema import Record
from .groups import by_size
from .paired_tests import Paired, paired
from .statistics import Row, Setting, Spread, spread

TAUS = np.arange(-10, 41) / 10  # strengths of the adjustment; 0 leaves the logits unchanged, 1 removes the prior
BINS = 15
RATIOS = (50.0, 25.0, 10.0, 5.0, 2.0)  # imbalance ratios of the shifted test priors, in both directions
_CHUNK = 2_000  # images processed at a time, which limits the memory for many classes
_FLOAT32 = float(np.finfo(np.float32).max)
_TIES = 0.005  # fraction of test images whose prediction may change by rounding to float16


@dataclass(frozen=True)
class Scores:
    """Statistics of the test logits of one run; C classes.

    Attributes:
        hits: number of correct test predictions per class with logits adjusted by each of TAUS, (len(TAUS), C).
        hits_by_prior: the same with logits adjusted to each prior of `tail_priors`, (11, C).
        bins: number of images, sum of confidences and number of correct predictions per bin of confidence, with
            unadjusted logits, (BINS, 3).
    """

    hits: np.ndarray
    hits_by_prior: np.ndarray
    bins: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: mean absolute gap between confidence and accuracy over test images, in [0, 1].

        Source: Guo et al. 2017, equation 3, with 15 bins of equal width.
        """
        images, confidence, hits = self.bins.T
        return float(np.abs(confidence - hits).sum() / images.sum())


def log_prior(counts: Iterable[int]) -> np.ndarray:
    """Logarithm of the fraction of training images of each class, float64 (C,)."""
    values = np.asarray(list(counts), dtype=np.float64)
    logarithms: np.ndarray = np.log(values / values.sum())
    return logarithms


def tail_priors(counts: list[int]) -> tuple[list[str], np.ndarray]:
    """Names and class fractions (11, C) of test sets with shifted class priors.

    `forward R`: exponential profile with ratio R in the order of the training set; `backward R`: in reverse order.
    """
    rank = np.argsort(by_size(counts)) / max(1, len(counts) - 1)  # 0 for the most frequent class, 1 for the rarest
    ratios = {f"forward {r:g}": -np.log(r) for r in RATIOS}
    ratios["balanced"] = 0.0
    ratios |= {f"backward {r:g}": np.log(r) for r in reversed(RATIOS)}
    weights = np.exp(np.outer(list(ratios.values()), rank))
    return list(ratios), weights / weights.sum(1, keepdims=True)


def scores(logits: np.ndarray, labels: np.ndarray, counts: list[int]) -> Scores:
    """Statistics of logits (N, C) with labels (N,), after training on `counts` images per class.

    Logits z are adjusted by tau to z - tau * log prior, and to another test prior by z - log prior + log test prior.

    Source: Menon et al. 2021, section 4.1; Hong et al. 2021 (LADE), PC-softmax.
    """
    prior = log_prior(counts)
    classes = len(prior)
    shifts = np.concatenate([-TAUS[:, None] * prior, np.log(tail_priors(counts)[1]) - prior]).astype(np.float32)
    hits, bins = np.zeros((len(shifts), classes), np.int64), np.zeros((BINS, 3))
    for start in range(0, len(labels), _CHUNK):
        z, y = logits[start : start + _CHUNK].astype(np.float32), labels[start : start + _CHUNK]
        for k, shift in enumerate(shifts):
            hits[k] += np.bincount(y[(z + shift).argmax(1) == y], minlength=classes)
        confidence = 1 / np.exp(z - z.max(1, keepdims=True)).sum(1)
        where = np.minimum(np.ceil(confidence * BINS).astype(int) - 1, BINS - 1).clip(0)
        for column, weight in enumerate((None, confidence, z.argmax(1) == y)):
            bins[:, column] += np.bincount(where, weight, minlength=BINS)
    return Scores(hits[: len(TAUS)], hits[len(TAUS) :], bins)


def read_scores(records: Iterable[Record], runs: Path) -> tuple[dict[str, Scores], list[str]]:
    """Scores by record id for all records with a file `runs/<id>/logits.npz`, and a sentence for each unusable file."""
    scores_by_id, problems = {}, []
    for record in records:
        path = runs / record.id / "logits.npz"
        if not path.is_file():
            continue
        try:
            scores_by_id[record.id] = _checked(*read_logits(path), record)
        except (OSError, ValueError) as error:
            problems.append(f"{path} is left out: {str(error).rstrip('.')}.")
    return scores_by_id, problems


def read_logits(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, C), floating point and finite in float32, and labels, int64 (N,), from a file that a run wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is damaged or has other contents; the message gives the reason without the path.
    """
    try:
        with path.open("rb") as file, np.load(file) as stored:  # numpy leaves a damaged file open
            logits, labels = stored["logits"], stored["labels"]
    except OSError:
        raise
    except Exception as error:  # a damaged file can raise nearly any exception
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"it is damaged or not a file of logits ({reason})") from error
    if logits.dtype.kind != "f" or labels.dtype.kind not in "iu":
        raise ValueError(f"it contains logits of type {logits.dtype} and labels of type {labels.dtype}")
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError("its test images are not those of the record")
    if not logits.size:
        raise ValueError("it contains no test images")
    if not (float(logits.min()) >= -_FLOAT32 and float(logits.max()) <= _FLOAT32):  # false for NaN, too
        raise ValueError("it contains numbers that are not finite")
    return logits, labels.astype(np.int64)


def _checked(logits: np.ndarray, labels: np.ndarray, record: Record) -> Scores:
    """Scores of stored logits, after a check against the record.

    Raises:
        ValueError: the test images or the numbers of correct predictions per class differ from those of the record.
    """
    tests = record.dataset.test_counts
    classes, counts = np.unique(labels, return_counts=True)
    if logits.shape[1] != len(tests) or classes.tolist() != list(range(len(tests))) or counts.tolist() != tests:
        raise ValueError("its test images are not those of the record")
    checked = scores(logits, labels, record.dataset.train_counts)
    plain = checked.hits[np.flatnonzero(TAUS == 0)[0]]
    if np.abs(plain - record.final.correct).sum() > max(1, _TIES * len(labels)):
        raise ValueError("its predictions disagree with the counts in the record")
    return checked


@dataclass(frozen=True)
class Correction:
    """Mean per-class accuracy of a row before and after logit adjustment, over the seeds that have logits.

    Attributes:
        row: row of the setting.
        plain: accuracy as trained.
        adjusted: accuracy with tau = 1, which needs no tuning.
        best_tau, best: tau with the highest accuracy on the test split, and that accuracy: an upper bound, not a
            result.
        ece: expected calibration error as trained.
        against: accuracy as trained minus that of the baseline with tau = 1, paired by seed; None without shared seeds.
    """

    row: Row
    plain: Spread
    adjusted: Spread
    best_tau: float
    best: Spread
    ece: Spread
    against: Paired | None


def corrections(setting: Setting, scores: Mapping[str, Scores]) -> list[Correction]:
    """Correction of each row that has logits, in the order of the rows."""
    plain, full = (int(np.flatnonzero(tau == TAUS)[0]) for tau in (0.0, 1.0))
    base = {run.seed: curve(run, scores)[full] for run in _with_logits(setting.baseline, scores)}
    rows = []
    for row in setting.rows:
        runs = _with_logits(row, scores)
        if not runs:
            continue
        curves = np.array([curve(run, scores) for run in runs])
        means = curves.mean(0)
        best = min(np.flatnonzero(means >= means.max() - 1e-12), key=lambda k: abs(TAUS[k]))  # ties: mildest
        pairs = [c[plain] - base[run.seed] for c, run in zip(curves, runs, strict=True) if run.seed in base]
        rows.append(
            Correction(
                row,
                spread(curves[:, plain].tolist()),
                spread(curves[:, full].tolist()),
                float(TAUS[best]),
                spread(curves[:, best].tolist()),
                spread([scores[run.id].ece for run in runs]),
                paired(pairs) if pairs else None,
            )
        )
    return rows


def curve(run: Record, scores: Mapping[str, Scores]) -> np.ndarray:
    """Mean per-class accuracy with logits adjusted by each of TAUS, float64 (len(TAUS),) in [0, 1]."""
    return group_curve(run, scores, range(len(run.dataset.test_counts)))


def group_curve(run: Record, scores: Mapping[str, Scores], classes: Iterable[int]) -> np.ndarray:
    """Mean accuracy of some classes with logits adjusted by each of TAUS, float64 (len(TAUS),) in [0, 1]."""
    accuracies: np.ndarray = scores[run.id].hits / np.array(run.dataset.test_counts)
    means: np.ndarray = accuracies[:, list(classes)].mean(1)
    return means


def _with_logits(row: Row | None, scores: Mapping[str, Scores]) -> list[Record]:
    return [run for run in row.runs if run.id in scores] if row else []
