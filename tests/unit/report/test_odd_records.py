"""Unusual results folders: one seed, strange names, old schemas, missing logits, thousands of records."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from helpers.command import Answer
from helpers.report_records import METHODS, RECIPE, cifar, dataset, keep_logits, lifelike, record, store
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.records.schema import OLDEST, VERSION, Record
from ltbench.report.build import build, figure_formats
from ltbench.report.document import section
from ltbench.report.published import read_published
from ltbench.report.sources import Evidence, Sources
from ltbench.report.statistics import Options, settings
from ltbench.report.tables import tables
from ltbench.report.tables.published import published

Cli = Callable[..., Answer]
STRANGE = r"a_b&c%#$~^\{}|<b>*_x_*`[y](z)\"'"
HEAD = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs}"
BODY = HEAD + r"\begin{document}\input{leaderboard}\end{document}"


def strange_records() -> list[Record]:
    data = dataset([200, 50, 10, 10, 5], name=STRANGE, class_names=[STRANGE, "$x$", "<i>", "&amp;", "%"])
    return [record(data, [60, 50, 40, 30, 20], m, s, changed={"p": STRANGE}) for m in ("erm", STRANGE) for s in (0, 1)]


def test_strange_names_are_text_everywhere(tmp_path: Path) -> None:
    store(strange_records(), tmp_path / "results")
    options = Options(published=True, optimism=True)
    report = build(Sources(tmp_path / "results"), tmp_path / "out", options=options, formats=["svg"])
    assert report.warnings == []
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert "<b>*" not in page
    assert "<i>" not in page.split("<main")[1].split("</main>")[0].replace("<img", "")
    text = (tmp_path / "out" / "leaderboard.tex").read_text("utf-8")
    plain = re.sub(r"\\[{}\\]", "", text)
    assert plain.count("{") == plain.count("}")
    assert r"\textasciicircum{}" in text
    frame = pd.read_csv(tmp_path / "out" / "leaderboard.csv")
    assert set(frame["dataset"]) == {STRANGE}
    assert STRANGE in set(frame["method"])


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex: install LaTeX with booktabs")
@pytest.mark.parametrize("kind", ["strange names", "long tables"])
def test_latex_compiles_and_fits(kind: str, tmp_path: Path) -> None:
    if kind == "strange names":
        runs = strange_records()
    else:
        runs = [lifelike(cifar(100, 50), f"method-{m}", s, 0.1) for m in range(45) for s in range(2)]
        runs += [lifelike(cifar(100, 50), m, s, 0.1) for m in METHODS for s in range(3)]
        keep_logits(runs[:4], tmp_path / "runs")
    store(runs, tmp_path / "results")
    options = Options(published=True, optimism=True)
    build(Sources(tmp_path / "results", tmp_path / "runs"), tmp_path, options=options, formats=[])
    (tmp_path / "paper.tex").write_text(BODY)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"], cwd=tmp_path, capture_output=True,
        encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Float too large" not in done.stdout


def test_one_seed_one_method_one_class_per_group(tmp_path: Path) -> None:
    store([record(dataset([200, 50]), [60, 40])], tmp_path / "results")
    build(Sources(tmp_path / "results"), tmp_path / "out", formats=["png"])
    text = (tmp_path / "out" / "leaderboard.md").read_text("utf-8")
    assert "– in few: no class has fewer than 20 training images." in text.replace("\\", "")
    assert "there are fewer than 5 classes" in text
    assert "No ranks over datasets" in text
    frame = pd.read_csv(tmp_path / "out" / "leaderboard.csv")
    assert frame.loc[0, ["overall", "n"]].tolist() == [0.5, 1]
    assert frame[["overall_sd", "few", "G1", "difference", "ece"]].isna().all(axis=None)


def test_records_of_another_schema_are_named_and_left_out(tmp_path: Path) -> None:
    store([record(dataset([200, 50]), [60, 40])], tmp_path / "results")
    (path,) = (tmp_path / "results").rglob("*.json")
    values = json.loads(path.read_text())
    path.with_name("old.json").write_text(json.dumps(values | {"schema": 0}))
    (warning,) = build(Sources(tmp_path / "results"), tmp_path / "out", formats=[]).warnings
    assert f"old.json has schema 0; this version of ltbench reads schema {OLDEST} to {VERSION}." in warning


def test_groups_that_are_asked_for(tmp_path: Path) -> None:
    runs = [lifelike(cifar(10, 100), m, 0, 0.1) for m in ("erm", "drw")]
    wanted = {"shots": ["many (8)", "medium (2)", "few (0)"], "five": [f"G{k} (2)" for k in range(1, 6)]}
    for groups, columns in wanted.items():
        (setting,) = settings(runs, Options(groups=groups))
        assert list(tables(setting, Evidence())[0].frame) == ["method", "family", "overall", *columns, "seeds"]
    (setting,) = settings(runs, Options(rule="C"))
    assert "convention C" in " ".join(tables(setting, Evidence())[0].notes)


def test_optimism_is_a_column_on_request_only() -> None:
    data = dataset([200, 50])
    run = record(data, [50, 50], best=[60, 50])
    plain, asked = (tables(settings([run], o)[0], Evidence())[1].frame for o in (Options(), Options(optimism=True)))
    assert "best − last epoch" not in plain
    assert asked.loc[0, "best − last epoch"] == "+5.0"


def test_published_numbers_stand_beside_ours_with_their_source() -> None:
    runs = [
        record(cifar(10, 100), [700] * 10, "ldam-drw", s, recipe=RECIPE | {"crop_padding": 4, "flip": True})
        for s in (0, 1)
    ]
    (setting,) = settings(runs, Options(published=True))
    table = published(setting, Evidence(published=read_published()))
    line = table.frame.iloc[0]
    assert (line["published"], line["ours"], line["difference"]) == ("77.0", "70.0 ± 0.0", "−7.0")
    assert line["protocol differs in"] == "epochs 200; best test epoch"
    assert table.notes[1].startswith("(1) Wang et al. 2021 (RSG), Table 6, quoted rows [RSG]: resnet32, 200 epochs")
    named = {name for note in table.notes[1:] for name in re.findall(r"^\((\d+)\)", note)}
    assert named == {source.strip("()") for source in table.frame["source"]}
    other = settings([record(dataset([200, 50]), [50, 50])], Options(published=True))[0]
    assert "Published" not in " ".join(t.title for t in section(other, Evidence(published=read_published())).tables)


def test_formats() -> None:
    assert figure_formats("svg, png,svg") == ["svg", "png"]
    assert figure_formats("none") == []
    with pytest.raises(UserError, match="figure format 'jpeg'"):
        figure_formats("jpeg")


def test_a_report_that_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    store([record(dataset([200, 50]), [60, 40])], tmp_path / "results")
    (tmp_path / "taken").write_text("a file where the folder should be")
    answer = cli("report", "--out", "taken/below")
    assert answer.code == 2
    assert "Cannot write taken" in answer.err


@pytest.mark.slow
def test_five_thousand_records_in_under_five_seconds(tmp_path: Path) -> None:
    """The report has 20 settings, 25 methods and 10 seeds, and no figures; the bound holds on an idle machine."""
    for ratio in range(2, 22):
        data = cifar(10, ratio)
        store([lifelike(data, f"method-{m}", s, m / 50) for m in range(25) for s in range(10)], tmp_path / "results")
    started = time.perf_counter()
    build(Sources(tmp_path / "results"), tmp_path / "out", formats=[])
    assert time.perf_counter() - started < 5
