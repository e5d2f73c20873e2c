"""Figures are redrawn if and only if their contents or the drawing code have changed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ltbench.bench
import pytest
from helpers.report_records import cifar, contents, keep_logits, lifelike, store
from ltbench.report.build import build
from ltbench.report.figures import FIGURES
from ltbench.report.figures.cache import Job, draw_all, drawing_code
from ltbench.report.sources import Sources
from ltbench.report.statistics import Options, settings

ROOT = Path(ltbench.bench.__file__).parent


@pytest.fixture
def two_figures() -> Iterator[None]:
    """Keep only two figures, because the others are slow to draw."""
    with contents(FIGURES, {name: FIGURES[name] for name in ("tradeoff", "cost")}):
        yield


@pytest.mark.usefixtures("two_figures")
def test_figures_are_drawn_again_only_when_something_has_changed(tmp_path: Path) -> None:
    runs = [lifelike(cifar(10, 100), m, 0, 0.1) for m in ("erm", "drw")]
    other = lifelike(cifar(10, 50), "erm", 0, 0.1)
    store([*runs, other], tmp_path / "results")
    written: dict[Path, int] = {}

    def report(options: Options | None = None) -> tuple[list[Path], list[str]]:
        """Build a report; return its files, and the imbalances of the settings whose figures were drawn."""
        sources = Sources(tmp_path / "results", tmp_path / "runs")
        paths = build(sources, tmp_path / "out", options=options, formats=["svg"]).paths
        markers = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json")}
        drawn = [path.name.split("-")[2] for path in markers if written.get(path) != markers[path]]
        written.update(markers)
        return list(paths), sorted(drawn)

    first, drawn = report()
    assert drawn == ["exp100", "exp50"]
    assert report() == (first, [])
    keep_logits([other], tmp_path / "runs")
    with_logits, drawn = report()
    assert len(with_logits) == len(first) + 1
    assert drawn == ["exp50"]
    next((tmp_path / "out" / "figures").glob("*exp100*-cost.svg")).unlink()
    assert report()[1] == ["exp100"]
    assert report(Options(baseline="drw"))[1] == ["exp100", "exp50"]


def test_several_processes_draw_what_one_does(tmp_path: Path) -> None:
    all_settings = settings([lifelike(cifar(10, ratio), "erm", 0, 0.1) for ratio in (10, 100)])
    folders = {1: tmp_path / "one", 2: tmp_path / "several"}
    for processes, folder in folders.items():
        draw_all([Job(setting, {}, ("svg",), folder) for setting in all_settings], lambda text: None, processes)
    alone, several = (sorted(path for path in folder.rglob("*") if path.is_file()) for folder in folders.values())
    assert [path.name for path in alone] == [path.name for path in several]
    assert len(alone) > 20
    assert [path.read_bytes() for path in alone] == [path.read_bytes() for path in several]


def test_the_key_covers_all_code_that_drawing_imports() -> None:
    code = (
        "import sys, ltbench.report.figures.cache\n"
        "ours = [module for name, module in sys.modules.items() if name.startswith('ltbench.')]\n"
        "print(*(module.__file__ for module in ours if module.__file__), sep='\\n')"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {Path(line).resolve().relative_to(ROOT.resolve()) for line in answer.stdout.split()}
    hashed = {path.relative_to(ROOT) for path in drawing_code()}
    assert imported <= hashed
    for needed in ("report/figures/curves.py", "benchmarks/records/schema.py", "benchmarks/utils/formatting.py"):
        assert Path(needed) in hashed
