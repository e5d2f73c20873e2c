"""Tables of engines and commands: a new engine or command needs one file and one line in a table."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.command import Answer
from helpers.sweep_processes import write_suite
from ltbench import bench
from ltbench.benchmarks.cli import sweep
from ltbench.benchmarks.sweeps.engines import ENGINES

Cli = Callable[..., Answer]
ENGINE = """
from ltbench.benchmarks.sweeps.scheduler import Outcome


class Pretending:
    def __init__(self, request):
        print("created for", request.results)

    def run(self, units):
        print("pretends to run", *(unit.method for unit in units))
        return Outcome(finished=list(units))
"""
SUBJECT = '''
import click


@click.command()
@click.pass_obj
def greet(command):
    """Greet."""
    print("hello", command.__name__)


COMMANDS = (greet,)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary folder from which modules can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def pretending(folder: Path) -> Iterator[None]:
    """Register one more engine during the test."""
    (folder / "pretending.py").write_text(ENGINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENGINES, "pretending", "pretending:Pretending")
        importlib.reload(sweep)  # the command reads the table when it is imported
        yield
    importlib.reload(sweep)


def test_an_engine_is_one_file_and_one_line(pretending: None, cli: Cli, tmp_path: Path) -> None:
    write_suite(tmp_path)
    assert "pretending" in cli("sweep", "--help").out
    answer = cli("sweep", "suite.toml", "--engine", "pretending")
    assert answer.code == 0
    assert answer.out == "created for results\npretends to run erm drs focal\n"
    assert answer.err == "3 of 3 runs are done.\n"


def test_an_unknown_engine_is_refused(cli: Cli) -> None:
    answer = cli("sweep", "smoke", "--engine", "pretending")
    assert answer.code == 2
    assert "local" in answer.err


def test_a_subject_is_one_file_and_one_line(folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "greeting.py").write_text(SUBJECT)
    assert cli("greet").code == 2
    monkeypatch.setattr(bench, "SUBJECTS", [*bench.SUBJECTS, "greeting"])
    answer = cli("greet")
    assert (answer.code, answer.out) == (0, "hello main\n")


def test_every_subject_has_commands_with_help_texts() -> None:
    commands = bench.join(bench.SUBJECTS).commands
    assert {"run", "sweep", "status", "look", "list", "info", "data", "check-records", "profile", "speed"} <= set(
        commands
    )
    assert {"report", "compare", "show"} <= set(commands)
    assert all(command.help for command in commands.values())
