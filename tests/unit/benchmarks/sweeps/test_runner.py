"""Several runs of one command: an unusable file of one run does not stop the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.command import Answer
from helpers.tiny import tiny_run
from ltbench.benchmarks.training.checkpoint import SLOTS

WORDS = ("run", "-d", "digits-lt", "--imbalance", "5", "--epochs", "3", "--set", "dataset.n_max=30", "--quiet",
         "--set", "recipe.evaluate_every=1")  # fmt: skip


def recorded_methods() -> list[str]:
    return sorted(path.parent.name for path in Path("results").rglob("*.json"))


def test_a_bad_checkpoint_does_not_stop_the_other_runs(cli: Callable[..., Answer]) -> None:
    (Path("runs") / tiny_run("focal").id / SLOTS[0]).mkdir(parents=True)
    answer = cli(*WORDS, "-m", "focal,erm")
    assert answer.code == 2
    (sentence,) = (line for line in answer.err.splitlines() if line.startswith("Error: "))
    assert sentence.startswith("Error: focal on digits-lt exp5 n_max=30, seed 0: Cannot read ")
    assert recorded_methods() == ["erm"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "is damaged: not JSON"),
        (b"\xff", "is damaged: not JSON"),
        (b"[]", "is not a valid record"),
        (b'{"schema": 1}', "was written by an earlier version"),
    ],
)
def test_a_bad_record_does_not_stop_the_other_runs(content: bytes, words: str, cli: Callable[..., Answer]) -> None:
    path = tiny_run().path(Path("results"))
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    answer = cli(*WORDS, "-m", "erm,cb-rw")
    assert (answer.code, answer.err.count(words)) == (2, 1)
    assert recorded_methods() == ["cb-rw", "erm"]
    assert path.read_bytes() == content
