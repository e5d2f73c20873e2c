"""Commands that are interrupted or cannot write output end with one sentence and the exit code that a shell expects."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.command import Answer
from ltbench import bench
from ltbench.benchmarks.cli import listing
from ltbench.benchmarks.records.store import find_records
from ltbench.benchmarks.training import plan
from ltbench.benchmarks.utils import signals
from ltbench.report import build

Cli = Callable[..., Answer]
RUN = ("run", "-m", "erm", "-d", "digits-lt", "--imbalance", "5", "--epochs", "1", "--set", "dataset.n_max=20")
REPORT = ("report", "--results", "void")
ENDS = {signal.SIGINT: (130, "Interrupted."), signal.SIGTERM: (143, "Terminated.")}


def kill(number: signal.Signals) -> Callable[..., None]:
    return lambda *_, **__: os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize(
    ("words", "owner", "name"),
    [
        (RUN, plan, "make_plan"),
        (RUN, plan, "check_fit"),
        (REPORT, build, "build"),
        (("list", "methods"), listing, "plugin_cards"),
    ],
    ids=["loading", "planning", "reporting", "listing"],
)
def test_a_signal_ends_in_one_sentence(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, words: tuple[str, ...], owner: object, name: str
) -> None:
    monkeypatch.setattr(owner, name, kill(number))
    before = signal.getsignal(number)
    answer = cli(*words)
    code, word = ENDS[number]
    assert (answer.code, answer.err.count("\n")) == (code, 1)
    assert answer.err.startswith(word)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_that_a_library_turns_into_another_error(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def convert(*_: object) -> None:
        try:
            os.kill(os.getpid(), number)
        except BaseException:
            raise ImportError("numpy failed to import") from None

    monkeypatch.setattr(listing, "plugin_cards", convert)
    assert cli("list", "methods").code == ENDS[number][0]


def test_an_interrupt_that_is_lost_comes_again(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            signal.pause()

    monkeypatch.setattr(signals, "INTERVAL", 0.1)
    monkeypatch.setattr(listing, "plugin_cards", lose)
    assert cli("list", "methods").code == 130


def test_a_child_of_a_sweep_keeps_the_handlers_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_: object) -> list[str]:
        assert signal.getsignal(signal.SIGTERM) is before
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(listing, "plugin_cards", look)
    with pytest.raises(SystemExit) as end:
        bench.main(["list", "methods"])
    assert end.value.code == 130


def test_mistakes_in_options_still_end_with_2(cli: Cli) -> None:
    assert (cli("run").code, cli("nothing").code, cli("--help").code) == (2, 2, 0)


class Full(io.StringIO):
    """A stream whose writes fail, like those to a full device or a closed pipe."""

    def __init__(self, error: OSError, path: Path) -> None:
        super().__init__()
        self.error, self.file = error, path.open("w")

    def write(self, text: str) -> int:
        raise self.error

    def fileno(self) -> int:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(28, "No space left on device"), 2), (BrokenPipeError(32, "Broken pipe"), 141)]
)
def test_an_answer_that_cannot_be_written_keeps_the_record(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: OSError, code: int
) -> None:
    with Full(error, tmp_path / "out") as full:
        monkeypatch.setattr(sys, "stdout", full)
        answer = cli(*RUN)
    assert answer.code == code
    assert ("Cannot write to standard output: no space left" in answer.err) == (code == 2)
    assert len(find_records(Path("results"))) == 1


def test_messages_that_cannot_be_written_are_dropped(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Full(BrokenPipeError(32, "Broken pipe"), tmp_path / "err") as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert cli(*RUN).code == 0
        assert len(find_records(Path("results"))) == 1
        assert cli("info", "nothing").code == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize(
    "words", [RUN, ("list", "methods"), ("info", "ldam-drw"), ("info", "nothing"), ("check-records", "\udce9t\u00e9")]
)
def test_every_encoding_can_write_every_answer(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, encoding: str, words: tuple[str, ...]
) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    assert cli(*words).code == (0 if words[-1] in (RUN[-1], "methods", "ldam-drw") else 2)
    assert sum(stream.flush() or stream.tell() for stream in streams) > 20


def test_closed_files_and_the_end_of_the_process(tmp_path: Path) -> None:
    """Full devices at Python's final flush, and closed standard streams, tested in separate processes."""
    bench_command = f"{sys.executable} -m ltbench.bench"
    for command, code in (
        (f"{bench_command} list methods > /dev/full", 2),
        (f"{bench_command} info nothing 2> /dev/full", 2),
        (f"{bench_command} list methods >&- 2>&- <&-", 0),
    ):
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode, b"Traceback" in done.stderr) == (code, False)
