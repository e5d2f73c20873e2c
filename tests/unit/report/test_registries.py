"""A new table, output, figure, grouping or verdict needs one function and one line in a registry."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from helpers.report_records import METHODS, cifar, contents, lifelike, store
from ltbench.report.build import build
from ltbench.report.document import Document
from ltbench.report.figures import FIGURES, Kind
from ltbench.report.figures.style import canvas
from ltbench.report.groups import ALL, GROUPINGS, Group, Grouping
from ltbench.report.outputs import OUTPUTS
from ltbench.report.paired_tests import VERDICTS, Paired
from ltbench.report.sources import Evidence, Sources
from ltbench.report.statistics import Options, Setting, settings
from ltbench.report.tables import TABLES
from ltbench.report.tables.table import Table
from matplotlib.figure import Figure
from rich.console import Console

DATA = cifar(10, 100)
RUNS = [lifelike(DATA, m, s, lift) for m, lift in METHODS.items() for s in range(3)]


def worst_class(setting: Setting, evidence: Evidence) -> Table:
    worst = {row.label: min(run.final.correct[-1] for run in row.runs) for row in setting.rows}
    lines = [{"method": label, "hits": f"{hits:,}"} for label, hits in worst.items()]
    numbers = {label: {"worst_hits": hits} for label, hits in worst.items()}
    return Table("worst", "The rarest class", lines, ["Hits: of the worst seed."], numbers=numbers)


def test_a_table_reaches_every_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLES, "report", (*TABLES["report"], worst_class))
    store(RUNS, tmp_path / "results")
    report = build(Sources(tmp_path / "results"), tmp_path / "out", formats=[])
    for name in ("leaderboard.md", "leaderboard.tex", "index.html"):
        text = (tmp_path / "out" / name).read_text("utf-8")
        assert "The rarest class" in text, name
        assert "Hits: of the worst seed." in text, name
    frame = pd.read_csv(tmp_path / "out" / "leaderboard.csv").set_index("label")
    assert frame.loc["erm", "worst_hits"] == min(run.final.correct[-1] for run in RUNS if run.method == "erm")
    console = Console(width=80, file=io.StringIO())
    console.print(report.printed)
    assert "The rarest class" in console.file.getvalue()  # type: ignore[attr-defined]


def test_an_output_receives_every_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def titles(document: Document) -> str:
        return "\n".join(table.title for section in document.sections for table in section.tables)

    monkeypatch.setitem(OUTPUTS, "titles.txt", titles)
    store(RUNS, tmp_path / "results")
    report = build(Sources(tmp_path / "results"), tmp_path / "out", formats=[])
    assert tmp_path / "out" / "titles.txt" in report.paths
    assert (tmp_path / "out" / "titles.txt").read_text() == "Accuracy\nDifference from erm, and cost"


def test_a_figure_is_drawn_and_shown(tmp_path: Path) -> None:
    def empty(setting: Setting, scores: object) -> Figure:
        return canvas(2, 1)[0]

    store(RUNS, tmp_path / "results")
    with contents(FIGURES, {"empty": Kind("Nothing at all", empty)}):
        paths = build(Sources(tmp_path / "results"), tmp_path / "out", formats=["svg"]).paths
    assert paths[-1].name.endswith("-empty.svg")
    assert "Nothing at all" in (tmp_path / "out" / "leaderboard.md").read_text("utf-8")


def test_a_grouping_is_a_choice_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(counts: object, profile: str, rule: str) -> Grouping:
        return Grouping("first and last: the classes at either end", (Group("first", (0,)), Group("last", (9,))))

    monkeypatch.setitem(GROUPINGS, "ends", ends)
    for groups in ("ends", ALL):
        (setting,) = settings(RUNS, Options(groups=groups))
        table = TABLES["report"][0](setting, Evidence())
        assert table.headings[-3:] == ["first (1)", "last (1)", "seeds"]
        assert any(note.startswith("First and last:") for note in table.notes)
    assert table.numbers["erm"]["last_classes"] == 1


def test_a_verdict_comes_before_those_that_hold_too() -> None:
    difference = Paired(mean=0.001, low=-0.001, high=0.003, p=0.5, n=5)
    assert difference.verdict == "not separable"
    rules = {"equal": lambda d: d.low is not None and max(-d.low, d.high) < 0.005, **VERDICTS}
    with contents(VERDICTS, rules):
        assert difference.verdict == "equal"
