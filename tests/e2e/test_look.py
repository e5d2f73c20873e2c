"""`bench look`: pictures of a network's input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny import carry_out, tiny_run
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.training.preview import view

TINY = ("--imbalance", "5", "--set", "dataset.n_max=30")


def test_view_counts_what_an_epoch_shows(tmp_path: Path) -> None:
    run = tiny_run("open", epochs=5)
    at_end, at_start = view(run, 0.99, tmp_path), view(run, 0, tmp_path)
    assert at_start.class_counts.tolist() == run.dataset.train.counts.tolist()
    assert at_start.synthetic_counts.sum() == at_start.synthetic.sum() == 0
    assert at_end.class_counts.sum() == at_start.class_counts.sum()
    assert at_end.synthetic_counts[0] == 0
    assert 0 < at_end.synthetic_counts.sum() == at_end.synthetic.sum()
    assert at_end.pixels.min() >= 0
    assert at_end.pixels.max() <= 1
    np.testing.assert_allclose(at_end.normalised, (at_end.pixels - 0.3053) / 0.3760, atol=1e-5)


def test_view_of_mixed_images_has_both_labels(tmp_path: Path) -> None:
    run = tiny_run("mixup", epochs=5)
    images = view(run, 0.99, tmp_path)
    counts = run.dataset.train.counts
    assert images.class_counts.sum() == pytest.approx(float(counts.sum()), rel=1e-5)
    assert (images.class_counts != counts.numpy()).any()
    assert sorted(images.second_labels) == sorted(images.labels), "the labels of the same images in another order"
    assert (images.second_labels != images.labels).any()
    plain = view(tiny_run(epochs=5), 0.99, tmp_path)
    assert (plain.second_labels == plain.labels).all()


@pytest.mark.parametrize("method", ["m2m", "blt"])
def test_view_of_images_made_by_gradient_has_their_sources(method: str, tmp_path: Path) -> None:
    run = tiny_run(method, epochs=5)
    carry_out(run, tmp_path)
    images = view(tiny_run(method, epochs=5), 0.99, tmp_path)
    assert images.state == "finished network"
    assert images.sources.shape == images.pixels.shape
    if method == "blt":
        synthetic = images.synthetic
        assert synthetic.any()
        assert (images.source_labels[synthetic] == images.labels[synthetic]).all()
        assert (images.towards[synthetic] != images.labels[synthetic]).all()
        assert (images.labels >= 0).all()


def test_look_names_the_run_that_is_missing(cli: Any) -> None:
    answer = cli("look", "-m", "m2m", "-d", "digits-lt", *TINY)
    assert answer.code == 2
    assert "m2m needs a trained ERM network, but runs contains none" in answer.err
    assert "bench run --method m2m" in answer.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"half a file", "is damaged"),
        ([1], "contains another network .no state dict"),
        ({"head.bias": torch.ones(3)}, r"head.bias is float32 \(3\) instead of float32 \(10\)"),
        ({"head.bias": [0.0] * 10}, r"head.bias is no tensor \(list\)"),
    ],
    ids=["damaged", "list", "shape", "values"],
)
def test_a_finished_network_of_another_kind_is_refused(content: Any, words: str, tmp_path: Path) -> None:
    run = tiny_run(epochs=5)
    path = tmp_path / run.id / "network.pt"
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=words) as error:
        view(run, 0, tmp_path)
    assert f"{path} " in str(error.value)
    assert "Move it away" in str(error.value)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_look_writes_a_picture(cli: Any, tmp_path: Path, suffix: str) -> None:
    answer = cli("look", "--method", "open", "--dataset", "digits-lt", *TINY, "--out", f"new/look.{suffix}")
    assert (answer.code, answer.out) == (0, f"Wrote new/look.{suffix}\n")
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert (tmp_path / "new" / f"look.{suffix}").read_bytes().startswith(start)


def test_look_without_synthetic_images(cli: Any, tmp_path: Path) -> None:
    assert cli("look", "-m", "erm", "-d", "digits-lt", *TINY, "--progress", "0", "--out", "look.png").code == 0
    assert (tmp_path / "look.png").stat().st_size > 5000


def test_look_refuses_other_formats(cli: Any) -> None:
    answer = cli("look", "-m", "erm", "-d", "digits-lt", "--out", "look.gif")
    assert answer.code == 2
    assert "look.gif: a picture must be a .png, .svg or .pdf file." in answer.err
