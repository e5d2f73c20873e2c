"""Atomic writing of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.utils.atomic_write import write_atomically
from ltbench.benchmarks.utils.signals import Stopped


@pytest.mark.parametrize(
    ("error", "expected"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (Stopped(143), Stopped), (OSError(28, ""), UserError)],
)
def test_nothing_is_left_of_a_write_that_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, expected: type[BaseException]
) -> None:
    def fail(_: int) -> None:
        raise error

    (tmp_path / "record.json").write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(expected):
        write_atomically(tmp_path / "record.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    assert (tmp_path / "record.json").read_text() == "old"
