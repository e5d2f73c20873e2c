"""Tables and notes in Markdown, in LaTeX and on the terminal, and the whole report."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import ltbench.report.build
import pytest
from helpers.report_records import METHODS, cifar, dataset, keep_logits, lifelike, lifelike_setting, record, store
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.records.parts import Prerequisite
from ltbench.benchmarks.records.schema import Record
from ltbench.report.build import build
from ltbench.report.document import Document, run_document, section
from ltbench.report.logits import read_scores
from ltbench.report.notes import notes
from ltbench.report.outputs.latex import escape_latex, latex
from ltbench.report.outputs.markdown import escape_markdown, section_markdown
from ltbench.report.outputs.terminal import terminal
from ltbench.report.published import read_published
from ltbench.report.sources import Evidence, Sources
from ltbench.report.statistics import Options, Setting, settings
from ltbench.report.tables.adjusted import adjusted
from ltbench.report.tables.cost import cost
from rich.console import Console

HERE = Path(ltbench.report.build.__file__).parent


def md(setting: Setting) -> str:
    return section_markdown(section(setting, Evidence()))


def tex(setting: Setting) -> str:
    return latex(Document([section(setting, Evidence())]))


def cells(text: str) -> list[list[str]]:
    """Rows of a Markdown table as lists of cells."""
    return [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def printed(runs: list[Record], width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(terminal(run_document(runs)))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_markdown_cells_by_hand() -> None:
    data = dataset([200, 150, 50, 30, 25], test_counts=[200] * 5)
    runs = [record(data, [200, 180, 100, 80, 40], seed=0), record(data, [200, 160, 80, 60, 20], seed=1)]
    head, _, row = cells(md(settings(runs)[0]).split("###")[0])
    assert head[:5] == ["method", "overall", "many (2)", "medium (3)", "few (0)"]
    assert head[5:] == [*(f"G{k} (1)" for k in range(1, 6)), "seeds"]
    # per class: 1, 0.85 ± 0.0707, 0.45 ± 0.0707, 0.35, 0.15; overall 0.60 and 0.52
    assert row[:6] == ["erm", "56.0 ± 5.7", "92.5 ± 3.5", "31.7 ± 7.1", "–", "15.0 ± 7.1"]
    assert row[-2:] == ["100.0 ± 0.0", "2"]


def test_one_seed_has_no_standard_deviation() -> None:
    table = cells(md(lifelike_setting(seeds=1)).split("###")[0])
    assert all(re.fullmatch(r"\d+\.\d|–", cell) for row in table[2:] for cell in row[2:-1])


def test_notes_name_the_circumstances() -> None:
    text = "\n".join(notes(lifelike_setting()))
    for fact in (
        "12,406 training images", "checksum abababab", "resnet32", "epochs 3", "batch 128", "fp32",
        "last epoch, after 3 epochs", "convention A", "Zada et al. 2022", "commit 12345678",
        "– in few: no class has fewer than 20 training images", "every class has 1,000 test images",
    ):  # fmt: skip
        assert fact in text
    assert "Verified: no" not in text
    assert "uncommitted" not in text


def test_notes_warn() -> None:
    data = cifar(10, 100, verified=False, test_counts=[1000] * 9 + [10])
    runs = [lifelike(data, "erm", 0, 0, dirty=True), lifelike(data, "crt", 0, 0, commit="fedcba9876543210", epochs=4)]
    text = "\n".join(notes(settings(runs)[0]))
    for fact in (
        "Verified: no", "Made with uncommitted changes: erm, seed 0", "commits 12345678, fedcba98",
        "the number of epochs differs", "crt 4", "not the plain accuracy, as classes have 10 to 1,000",
    ):  # fmt: skip
        assert fact in text


def test_notes_name_what_was_trained_once_and_where() -> None:
    data = dataset([30, 20, 10])
    shared = {"method": "erm", "id": "0" * 16, "seconds": 1.0, "reused": True}
    prefix = Prerequisite(**shared, use="prefix", epochs=2, commit="feed" * 10, dirty=True, torch="2.5", device="cuda")
    network = Prerequisite(**shared, use="network", epochs=3, commit="1234567890abcdef")
    rows = [
        record(data, [1, 2, 3]),
        record(data, [1, 2, 3], "drs", prerequisites=[prefix]),
        record(data, [1, 2, 3], "m2m", prerequisites=[prefix, network]),
    ]
    (setting,) = settings(rows)
    text = " ".join(notes(setting))
    assert "ERM runs, each trained once (a finished network to learn from: m2m; first epochs: drs, m2m)" in text
    assert "commits 12345678, feedfeed), torch 2.5, 2.6, on cpu, cuda." in text
    assert "Made with uncommitted changes: drs, seed 0; m2m, seed 0." in text


def test_latex_is_escaped_and_balanced() -> None:
    data = dataset([200, 50], name="a_b&c%")
    text = tex(settings([record(data, [50, 50], method="x_y", changed={"p": "#1~^{$\\"})])[0])
    assert r"x\_\allowbreak{}y" in text
    assert r"\#1\textasciitilde{}\textasciicircum{}\{\$\textbackslash{}" in text
    assert r"a\_\allowbreak{}b\&c\%" in text
    plain = re.sub(r"\\[{}\\]", "", text)
    assert plain.count("{") == plain.count("}")
    assert not re.search(r"(?<!\\)[#%_]", text.removeprefix("% "))
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))


def test_every_latex_line_has_as_many_cells_as_columns() -> None:
    text = tex(lifelike_setting()).split(r"\end{table*}")[0]
    columns = 1 + len(re.search(r"\{@\{\}p\{5.4em\}(r+)@\{\}\}", text)[1])  # type: ignore[index]
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert {line.count(" & ") + 1 for line in body if line != r"\midrule"} == {columns}
    assert re.search(r"\d\d\.\d\\,\{\\tiny\$\\pm\$\d\.\d\}", text)
    assert "--" in text
    assert "±" not in text


def test_markdown_escapes() -> None:
    assert escape_markdown("a|b *c* max_m _d_ <e>") == r"a\|b \*c\* max_m \_d\_ \<e\>"
    assert escape_latex("50% ± 1 – x") == r"50\% $\pm$ 1 -- x"


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("classes", [10, 100])
def test_terminal_table_fits(width: int, classes: int) -> None:
    data = cifar(classes, 100)
    runs = [lifelike(data, m, s, lift, changed={"max_m": 0.3}) for m, lift in METHODS.items() for s in range(3)]
    text = printed(runs, width)
    assert max(map(len, text.splitlines())) <= width
    assert not re.search("…", text)  # no number is truncated
    for word in ("balanced-softmax", "overall", "many", "medium", "few", "G1", "G5", " n", "±"):
        assert word in text


@pytest.mark.parametrize("width", [60, 80, 110])
def test_every_word_and_interval_of_a_table_stays_whole(width: int, tmp_path: Path) -> None:
    data = cifar(10, 100)
    runs = [lifelike(data, m, s, lift) for m, lift in METHODS.items() for s in range(3)]
    keep_logits(runs, tmp_path)
    evidence = Evidence(read_scores(runs, tmp_path)[0], read_published())
    setting = settings(runs, Options(optimism=True))[0]
    console = Console(width=width, file=io.StringIO())
    console.print(terminal(Document([section(setting, evidence)])))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    assert text.count("separable") + text.count("better") + text.count("worse") == 4
    for table in (cost(setting, evidence), adjusted(setting, evidence)):
        for line in table.lines:
            for cell in line.values():
                assert "[" not in cell or cell.split(" ", 1)[1] in text


def test_terminal_table_keeps_settings_apart_and_prints_brackets() -> None:
    runs = [record(cifar(10, ratio), [500] * 10, changed={"layers": [1, 2]}) for ratio in (10, 50)]
    text = printed(runs, 80)
    assert text.count("exp10,") == text.count("exp50,") == 1
    assert "layers=[1," in text


@pytest.mark.slow
def test_build_writes_the_same_twice(tmp_path: Path) -> None:
    """Two reports of the same records have equal files, byte for byte."""
    store([lifelike(cifar(10, 100), m, s, lift) for m, lift in METHODS.items() for s in range(2)], tmp_path / "results")
    first, second = (build(Sources(tmp_path / "results"), tmp_path / name) for name in ("one", "two"))
    for a, b in zip(first.paths, second.paths, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_build_writes_everything(tmp_path: Path) -> None:
    data = cifar(10, 100)
    store([lifelike(data, m, s, lift) for m, lift in METHODS.items() for s in range(2)], tmp_path / "results")
    (tmp_path / "results" / "bad.json").write_text("{")
    before = sorted((tmp_path / "results").rglob("*"))
    first = build(Sources(tmp_path / "results"), tmp_path / "one")
    assert sorted((tmp_path / "results").rglob("*")) == before
    assert len(first.paths) == 4 + 9 * 3  # four figures need confusion matrices, logits or variants
    assert set(first.paths) == {p for p in (tmp_path / "one").rglob("*") if p.is_file() and p.parent.name != "page"}
    assert len(first.warnings) == 1
    assert "bad.json" in first.warnings[0]
    text = (tmp_path / "one" / "leaderboard.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\((figures/[^)]+)\)", text))
    assert {tmp_path / "one" / link for link in linked} == set(first.paths[4:])


def test_build_filters_by_dataset(tmp_path: Path) -> None:
    store([record(dataset([200, 50], name=name), [50, 50]) for name in ("toy-a", "toy-b")], tmp_path)
    build(Sources(tmp_path), tmp_path / "out", ["toy-b"])
    text = (tmp_path / "out" / "leaderboard.md").read_text(encoding="utf-8")
    assert "toy-b" in text
    assert "toy-a" not in text
    with pytest.raises(UserError, match=r"'toy-c'. Did you mean 'toy-[ab]'\? Known: toy-a, toy-b"):
        build(Sources(tmp_path), tmp_path / "out2", ["toy-b", "toy-c"])
    assert not (tmp_path / "out2").exists()


def test_build_without_records_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no record in {tmp_path}.*bench run"):
        build(Sources(tmp_path), tmp_path / "out")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match=r"bad\.json"):
        build(Sources(tmp_path), tmp_path / "out")


def test_the_report_needs_no_torch() -> None:
    modules = (path.relative_to(HERE.parent).with_suffix("").parts for path in HERE.rglob("*.py"))
    names = ", ".join(".".join(["ltbench", *parts]).removesuffix(".__init__") for parts in modules)
    code = f"import sys, {names}; sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib.pyplot')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
