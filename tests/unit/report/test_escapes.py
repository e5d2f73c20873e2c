"""Every output escapes every string of a record: no control codes, line breaks, formulas or tags get through."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.report_records import cifar, lifelike, store
from ltbench.benchmarks.cli.progress import ProgressLine
from ltbench.benchmarks.errors import MissingData, UserError, printable
from ltbench.benchmarks.records.parts import Prerequisite
from ltbench.benchmarks.records.schema import Record
from ltbench.benchmarks.sweeps.dashboard import status_table
from ltbench.report.build import build
from ltbench.report.cli import _warn
from ltbench.report.compare import pairs
from ltbench.report.describe import detail
from ltbench.report.document import Document, section
from ltbench.report.figures.classes import class_lines
from ltbench.report.figures.style import save
from ltbench.report.outputs import OUTPUTS
from ltbench.report.outputs.csv import csv as csv_text
from ltbench.report.outputs.latex import escape_latex
from ltbench.report.outputs.markdown import escape_markdown, markdown
from ltbench.report.show import show
from ltbench.report.sources import Evidence, Sources
from ltbench.report.statistics import Options, settings
from rich.console import Console

HOSTILE = "\x1b[31mA\n#H\n=1\t\r\x00\x9b\u202e\u2028\ud800<b>|`$x_1$%&[y](z)[bold]:bomb:"
HARMLESS = "A"
PART = Prerequisite(
    method="erm", id="0" * 16, use="prefix", epochs=1, seconds=1, reused=True, commit="c", torch="2", device="cpu"
)  # fmt: skip
PLAIN = lifelike(
    cifar(10, 100, options={"k": "v"}, changed={"k": "v"}),
    "m",
    0,
    0.1,
    changed={"p": "q"},
    source="s",
    prerequisites=[PART],
)
PLAIN = PLAIN.model_copy(update={"history": PLAIN.history.model_copy(update={"measures": {"rejected": [(0, 0.5)]}})})


def texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of the strings in a record, except `id` and `use`; the path of a key that is not a field ends in None."""
    if isinstance(value, str) and path[-1] not in ("id", "use"):
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from texts(inner, (*path, key))
        if path and path[-1] in ("hyperparameters", "changed", "options", "epochs_per_stage", "measures"):
            yield (*path, key, None)


def with_text(path: tuple[Any, ...], text: str) -> Record:
    """Copy of the record PLAIN with another string at a path, without validation."""
    values = PLAIN.model_dump(by_alias=True)
    *way, last = path[:-1] if path[-1] is None else path
    place = values
    for key in way:
        place = place[key]
    if path[-1] is None:
        place[text] = place.pop(last)
    else:
        place[last] = text
    return _unchecked(PLAIN, values)


def _unchecked(model: Any, values: dict[str, Any]) -> Any:
    update = {}
    for name in type(model).model_fields:
        old, new = getattr(model, name), values.get(name, getattr(model, name))
        if isinstance(old, list) and old and hasattr(type(old[0]), "model_fields"):
            new = [_unchecked(part, part_values) for part, part_values in zip(old, new, strict=True)]
        update[name] = _unchecked(old, new) if hasattr(type(old), "model_fields") else new
    return model.model_copy(update=update)


FIELDS = list(texts(PLAIN.model_dump(by_alias=True)))


def document(record: Record) -> Document:
    (setting,) = settings([record])
    return Document([section(setting, Evidence(), details=[detail(row) for row in setting.rows])], [record.method])


def rendered(name: str, record: Record) -> str:
    """Text of a record as rendered by an output (`name` is in OUTPUTS), by `show` or by `compare`."""
    if name in OUTPUTS and name != "terminal":
        return str(OUTPUTS[name](document(record)))
    console = Console(width=200, file=io.StringIO())
    other = PLAIN.model_copy(update={"method": "other", "dataset": record.dataset, "recipe": record.recipe})
    setting = settings([record, other])[0]
    if name == "compare":
        setting = pairs([record, other], setting.rows[0].label, setting.rows[1].label, Options())[0]
    parts = {
        "terminal": lambda: OUTPUTS["terminal"](document(record)),
        "show": lambda: show(record),
        "compare": lambda: OUTPUTS["terminal"](Document([section(setting, Evidence(), "compare")])),
    }
    console.print(parts[name]())
    return console.file.getvalue()  # type: ignore[attr-defined]


def tags(text: str) -> list[str]:
    opened: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: opened.append(tag)  # type: ignore[method-assign]
    parser.feed(text)
    return opened


def test_every_kind_of_field_is_tried() -> None:
    named = {path[0] for path in FIELDS}
    assert named >= {
        "method",
        "source",
        "changed",
        "hyperparameters",
        "dataset",
        "recipe",
        "cost",
        "environment",
        "history",
    }
    assert len(FIELDS) > 35


@pytest.mark.parametrize("name", [*OUTPUTS, "show", "compare"])
def test_no_field_gets_past_the_escape(name: str) -> None:
    for path in FIELDS:
        hostile, harmless = (rendered(name, with_text(path, text)) for text in (HOSTILE, HARMLESS))
        assert {letter for letter in hostile if not letter.isprintable()} <= {"\n"}, path
        hostile.encode()  # no lone surrogate
        if name in OUTPUTS and name != "terminal":  # rich wraps long lines
            assert hostile.count("\n") == harmless.count("\n"), path
        if name == "index.html":
            assert tags(hostile) == tags(harmless), path
        if name == "leaderboard.csv":
            cells = [cell for line in csv.reader(io.StringIO(hostile)) for cell in line]
            assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r") and cell[:1]], path
        if name in ("terminal", "show", "compare") and path == ("method",):
            assert ":bomb:" in "".join(hostile.split())
            assert "[bold]" in "".join(hostile.split())


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"])
def test_no_cell_of_csv_begins_a_formula(text: str) -> None:
    line = next(csv.DictReader(io.StringIO(csv_text(document(with_text(("method",), text))))))
    assert line["method"][0] in "'\\"
    assert text.strip() in line["method"]
    assert line["overall"].startswith("0.")


def test_numbers_of_csv_stay_numbers() -> None:
    runs = [lifelike(cifar(10, 100), m, s, lift) for m, lift in (("erm", 0.2), ("drw", 0.0)) for s in range(2)]
    (setting,) = settings(runs)
    lines = list(csv.DictReader(io.StringIO(csv_text(Document([section(setting, Evidence())])))))
    assert float(lines[1]["difference"]) < 0


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\n# b", r"a\\n# b"),
        ("~~x~~", r"\~\~x\~\~"),
        ("$x_1$ &amp;", r"\$x_1\$ \&amp;"),
        ("https://x.y @me", r"https\://x.y \@me"),
        ("www.x.y C#", r"www\.x.y C#"),
        ("+7.8 [+7.7, +7.9]", r"+7.8 \[+7.7, +7.9\]"),
    ],
)
def test_markdown_is_literal(text: str, escaped: str) -> None:
    assert escape_markdown(text) == escaped


@pytest.mark.parametrize(
    ("text", "line"), [("- x", r"- \- x"), ("1. x", r"- 1\. x"), ("# x", r"- \# x"), ("+ x", r"- \+ x")]
)
def test_a_note_is_no_inner_list(text: str, line: str) -> None:
    assert line in markdown(Document([], [text])).splitlines()


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a--b", "a-{}-b"), ("ldam-drw", "ldam-drw"), ("`x''", r"\textasciigrave{}x'{}'"),
        ("a\n\n\\end{x}", r"a\textbackslash{}n\textbackslash{}n\textbackslash{}end\{x\}"),
    ],
)  # fmt: skip
def test_latex_is_literal(text: str, escaped: str) -> None:
    assert escape_latex(text) == escaped


def test_a_figure_is_valid_xml_whatever_classes_are_called() -> None:
    for path in [("method",), ("dataset", "class_names", 0)]:
        for suffix in ("svg", "png"):
            (setting,) = settings([with_text(path, HOSTILE.replace("\ud800", "\ufffe"))])
            data = save(class_lines(setting), suffix)
        ET.fromstring(save(class_lines(setting), "svg"))
        assert data


def test_errors_and_paths_reach_the_terminal_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert str(UserError("class \x1b[31m\u202e\nnext")) == "class \\x1b[31m\\u202e\nnext"
    assert str(MissingData("\x9bx")) == "\\x9bx"
    assert printable("żółw 日本 \u200d é") == "żółw 日本 \u200d é"
    store([lifelike(cifar(10, 100), "erm", 0, 0)], tmp_path / "results")
    (tmp_path / "results" / "bad\x1b[31m\n.json").write_text("{")
    _warn(build(Sources(tmp_path / "results"), tmp_path / "out", formats=[]).warnings)
    (line,) = capsys.readouterr().err.splitlines()
    assert "bad\\x1b[31m\\n.json" in line


def test_progress_and_status_show_labels_literally() -> None:
    streams = [io.StringIO(), io.StringIO()]
    line, dashboard = ProgressLine(Console(file=streams[0], width=200)), Console(file=streams[1], width=200)
    line.say(f"folder-{HOSTILE} | erm")
    unit = SimpleNamespace(label="[bold]:bomb: | seed 0")
    dashboard.print(status_table([SimpleNamespace(unit=unit, name="failed", message=HOSTILE)]))  # type: ignore[list-item]
    for stream in streams:
        text = stream.getvalue()
        assert {letter for letter in text if not letter.isprintable()} <= {"\n"}
        assert "[bold]:bomb:" in text
