"""Stored logits: adjustment, calibration, shifted priors, and files that do not belong to their record."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.report_records import cifar, dataset, keep_logits, lifelike, record
from ltbench.report.figures import figures
from ltbench.report.logits import TAUS, corrections, log_prior, read_scores, scores, tail_priors
from ltbench.report.sources import Evidence
from ltbench.report.statistics import settings
from ltbench.report.tables.adjusted import adjusted

COUNTS = [100, 20, 5]
Z = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.5]])
ZERO, HALF, ONE = (int(np.flatnonzero(tau == TAUS)[0]) for tau in (0, 0.5, 1))


def predictions(row: int, labels: list[int]) -> list[int]:
    """Predicted classes of the two images at TAUS[row], found by trying all pairs of labels."""
    hits = [scores(Z, np.array([a, b]), COUNTS).hits[row] for a in labels for b in labels]
    best = int(np.argmax([hit.sum() for hit in hits]))
    return [best // 3, best % 3]


def test_worked_example_of_logit_adjustment() -> None:
    adjusted = Z - log_prior(COUNTS)
    assert adjusted[0] == pytest.approx([2.223144, 2.832581, 3.218876], abs=1e-5)
    assert adjusted[1] == pytest.approx([1.223144, 3.832581, 3.718876], abs=1e-5)
    assert predictions(ZERO, [0, 1, 2]) == [0, 1]
    assert predictions(HALF, [0, 1, 2]) == [0, 1]
    assert predictions(ONE, [0, 1, 2]) == [2, 1]


def test_worked_example_of_another_test_prior() -> None:
    """Class probabilities adjusted, as by PC-softmax, to the uniform prior and to the reversed training prior."""
    uniform = np.exp(Z[0] - log_prior(COUNTS))
    assert uniform / uniform.sum() == pytest.approx([0.180307, 0.331656, 0.488037], abs=1e-5)
    reverse = np.exp(Z[0] - log_prior(COUNTS) + log_prior(COUNTS[::-1]))
    assert reverse / reverse.sum() == pytest.approx([0.016002, 0.117737, 0.866261], abs=1e-5)


def test_hits_equal_a_naive_loop() -> None:
    draw = np.random.default_rng(0)
    logits, labels = draw.normal(size=(5000, 7)).astype(np.float16), draw.integers(0, 7, 5000)
    counts = [90, 4, 60, 30, 9, 200, 2]
    result = scores(logits, labels, counts)
    for k in (0, ZERO, 17, len(TAUS) - 1):
        wrong = logits.astype(np.float32) - np.float32(TAUS[k]) * log_prior(counts).astype(np.float32)
        naive = [int(((wrong.argmax(1) == c) & (labels == c)).sum()) for c in range(7)]
        assert result.hits[k].tolist() == pytest.approx(naive, abs=1)
    _, priors = tail_priors(counts)
    shifted = logits.astype(np.float32) - log_prior(counts) + np.log(priors[3])
    assert result.hits_by_prior[3].tolist() == pytest.approx(
        [((shifted.argmax(1) == c) & (labels == c)).sum() for c in range(7)], abs=1
    )


def test_shifted_priors() -> None:
    names, weights = tail_priors([50, 10, 400, 10])
    assert names[0] == "forward 50"
    assert names[5] == "balanced"
    assert names[-1] == "backward 50"
    assert weights.sum(1) == pytest.approx(1)
    assert weights[5] == pytest.approx(0.25)
    assert weights[0][2] / weights[0][3] == pytest.approx(50)  # ties: the later class counts as rarer
    assert weights[-1][3] / weights[-1][2] == pytest.approx(50)


def test_ece_by_hand_and_bins() -> None:
    """Two images with confidence 0.9, one correct; two with 0.6, both correct: (0.4 * 2 + 0.4 * 2) / 4."""

    def two(p: float) -> list[float]:
        return [float(np.log(p)), float(np.log(1 - p))]

    result = scores(np.array([two(0.9), two(0.9), two(0.6), two(0.6)]), np.array([0, 1, 0, 0]), [10, 10])
    assert result.ece == pytest.approx(0.4, abs=1e-6)
    assert result.bins[:, 0].sum() == 4
    certain = scores(np.array([[50.0, -50.0]]), np.array([0]), [10, 10])
    assert certain.bins[-1].tolist() == [1, 1, 1]


def test_worked_ece_of_four_images() -> None:
    """Confidences 0.95, 0.85, 0.55 and 0.35, each in its own bin; the first and the third image are correct."""
    logits = np.log([[p, *[(1 - p) / 3] * 3] for p in (0.95, 0.85, 0.55, 0.35)])
    assert scores(logits, np.array([0, 1, 0, 1]), [10] * 4).ece == pytest.approx(0.425, abs=1e-5)


def test_ece_equals_a_naive_sum() -> None:
    draw = np.random.default_rng(3)
    logits, labels = draw.normal(0, 2, (3000, 5)), draw.integers(0, 5, 3000)
    confidence, predicted = torch.from_numpy(logits.astype(np.float32)).softmax(1).max(1)
    c, hit = confidence.numpy(), predicted.numpy() == labels
    total = sum(
        abs(c[inside].sum() - hit[inside].sum())
        for k in range(15)
        if (inside := (c > k / 15) & (c <= (k + 1) / 15)).any()
    )
    assert scores(logits, labels, [1] * 5).ece == pytest.approx(total / 3000, abs=1e-5)


def test_corrections_pair_with_the_adjusted_baseline(tmp_path: Path) -> None:
    data = cifar(10, 100)
    runs = [lifelike(data, m, s, lift) for m, lift in (("erm", 0.0), ("drw", 0.3)) for s in range(3)]
    keep_logits(runs[:5], tmp_path)
    by_id, problems = read_scores(runs, tmp_path)
    assert (len(by_id), problems) == (5, [])
    (setting,) = settings(runs)
    rows = {c.row.label: c for c in corrections(setting, by_id)}
    assert rows["erm"].plain.mean == pytest.approx(setting.baseline.overall.mean, abs=0.002)  # type: ignore[union-attr]
    assert rows["drw"].plain.n == 2
    against = rows["drw"].against
    assert against is not None
    assert against.n == 2
    assert against.mean == pytest.approx(
        np.mean([by_id[run.id].hits[ZERO].sum() / 10_000 for run in runs[3:5]])
        - np.mean([by_id[run.id].hits[ONE].sum() / 10_000 for run in runs[:2]])
    )
    best = rows["erm"]
    assert best.best.mean >= max(best.plain.mean, best.adjusted.mean)
    frame = adjusted(setting, Evidence(by_id)).frame
    assert list(frame["method"]) == [row.label for row in setting.rows]
    assert dict(zip(frame["method"], frame["pairs"], strict=True)) == {"erm": "3", "drw": "2"}
    assert dict(zip(frame["method"], frame["verdict"], strict=True))["erm"] == "the baseline"
    without = adjusted(setting, Evidence({run.id: by_id[run.id] for run in runs[3:5]}))
    assert (list(without.frame["method"]), "verdict" in without.headings) == (["drw"], False)
    assert "No differences: the runs of erm have no stored logits." in without.notes
    assert "tradeoff" in figures(setting, by_id)
    assert "reliability" in figures(setting, by_id)


def test_of_equal_strengths_the_mildest_is_named(tmp_path: Path) -> None:
    (setting,) = settings([record(dataset([50, 50]), [80, 60])])
    keep_logits(setting.runs, tmp_path)
    by_id, _ = read_scores(setting.runs, tmp_path)
    assert [row.best_tau for row in corrections(setting, by_id)] == [0.0]  # a balanced prior changes nothing


def test_without_logits_there_is_no_such_table_or_figure(tmp_path: Path) -> None:
    (setting,) = settings([record(dataset([200, 50]), [50, 50])])
    assert read_scores(setting.runs, tmp_path) == ({}, [])
    assert adjusted(setting, Evidence()).frame.empty
    assert not {"tradeoff", "reliability"} & set(figures(setting, {}))
    assert "priors" in figures(setting, {})  # it needs only class counts


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda z, y: (z[:-1], y[:-1]), "test images are not those of the record"),
        (lambda z, y: (z, (y + 1) % 2), "disagree with the counts in the record"),
        (lambda z, y: (np.full_like(z, np.nan), y), "not finite"),
        (lambda z, y: (z.ravel(), y), "test images are not those of the record"),
        (lambda z, y: (z, y.astype(float)), "labels of type float64"),
        (lambda z, y: (z.astype(complex), y), "logits of type complex128"),
        (lambda z, y: (z.astype(str), y), "logits of type <U"),
        (lambda z, y: (z, y - 5), "test images are not those of the record"),
        (lambda z, y: (z, (y + 2**40)), "test images are not those of the record"),
        (lambda z, y: (z, y[:, None]), "test images are not those of the record"),
        (lambda z, y: (z[0, 0], y[0]), "test images are not those of the record"),
        (lambda z, y: (z.astype(float) * 1e300, y), "not finite"),
        (lambda z, y: (np.array([[None]]), y), "damaged or not a file of logits"),
    ],
)
def test_logits_of_another_run_are_left_out_with_a_warning(change, reason: str, tmp_path: Path) -> None:
    run = record(dataset([200, 50]), [80, 40])
    keep_logits([run], tmp_path)
    path = tmp_path / run.id / "logits.npz"
    stored = np.load(path)
    logits, labels = change(stored["logits"], stored["labels"])
    np.savez(path, logits=logits, labels=labels)
    by_id, (problem,) = read_scores([run], tmp_path)
    assert by_id == {}
    assert str(path) in problem
    assert reason in problem


def other_content(kind: str, path: Path) -> bytes:
    """Content that is not an archive of logits: a single array, an archive with damaged compression, or a pickle."""
    np.savez_compressed(path, logits=np.zeros((200, 2)), labels=np.zeros(200, int))
    compressed = bytearray(path.read_bytes())
    compressed[60:70] = b"0123456789"
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return {"npy": buffer.getvalue(), "compressed": bytes(compressed), "pickle": pickle.dumps([1])}[kind]


@pytest.mark.parametrize("kind", ["npy", "compressed", "pickle"])
def test_files_of_another_kind_are_left_out_with_a_warning(kind: str, tmp_path: Path) -> None:
    run = record(dataset([200, 50]), [80, 20])
    path = tmp_path / run.id / "logits.npz"
    path.parent.mkdir()
    path.write_bytes(other_content(kind, path))
    by_id, (problem,) = read_scores([run], tmp_path)
    assert by_id == {}
    assert str(path) in problem


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", b"no zip at all"])
def test_damaged_logits_are_left_out_with_a_warning(content: bytes, tmp_path: Path) -> None:
    run = record(dataset([200, 50]), [80, 20])
    path = tmp_path / run.id / "logits.npz"
    path.parent.mkdir()
    path.write_bytes(content)
    by_id, (problem,) = read_scores([run], tmp_path)
    assert by_id == {}
    assert str(path) in problem
