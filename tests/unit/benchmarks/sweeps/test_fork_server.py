"""Temporary folder of the fork server's socket, whose path must be short."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.sweeps import fork_server
from ltbench.benchmarks.sweeps.fork_server import LONGEST, short_temporary_folder


@pytest.mark.parametrize("name", ["x" * 80, "\u00e9" * 40, "absent"])
def test_sockets_lie_in_a_short_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    if name != "absent":
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / name))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with short_temporary_folder():
        assert len(tempfile.gettempdir()) <= LONGEST
    assert tempfile.tempdir is None


def test_without_a_short_folder_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server, "SHORT_FOLDERS", ("/absent",))
    monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * 80)
    with pytest.raises(UserError, match="set TMPDIR to a writable one with a short path"), short_temporary_folder():
        pass
