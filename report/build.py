"""The report of a results folder: leaderboards and figures, rebuilt from the records alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group

from ..benchmarks.errors import UserError, unknown
from ..benchmarks.files import write_whole
from ..benchmarks.record import Record, read_all
from .plots import FORMATS, figures, save
from .statistics import Setting, settings
from .tables import escape_markdown, latex, markdown, run_table

_CAPTIONS = {
    "shots": "Accuracy by many, medium and few training images",
    "groups": "Accuracy by equal groups of classes",
    "classes": "Accuracy of each class",
    "counts": "Training images of each class",
}


@dataclass(frozen=True)
class Report:
    """What `build` made.

    Attributes:
        paths: files written.
        warnings: one sentence for each file that is no valid record and was left out.
        table: for a rich console.
    """

    paths: list[Path]
    warnings: list[str]
    table: Group


def build(results: Path, out: Path, datasets: Sequence[str] | None = None, rule: str = "A") -> Report:
    """Write leaderboard.md, leaderboard.tex and figures/ for all valid records below a folder.

    Args:
        results: folder with records; it is only read.
        out: folder to write to; made if it is not there.
        datasets: names of the datasets to report; None for all.
        rule: convention for many, medium and few: A, B or C.

    Raises:
        UserError: there is no record, or a dataset without one is asked for.
    """
    records, problems = read_all(results)
    if not records:
        bad = f" ({len(problems)} files there are not valid; the first: {problems[0]})" if problems else ""
        raise UserError(
            f"There is no record in {results}{bad}. Make one with `bench run --dataset <name> --method <name>`, "
            "or name the folder that holds your results."
        )
    found = settings(_chosen(records, datasets), rule)
    paths, sections = [], []
    for setting in found:
        written, links = _draw(setting, out)
        paths += written
        sections.append(f"{markdown(setting)}\n{links}")
    texts = {
        "leaderboard.md": "# Leaderboard\n\n" + _apart(found) + "\n".join(sections),
        "leaderboard.tex": "% \\input this file; needs \\usepackage{booktabs}\n\n" + "\n".join(map(latex, found)),
    }
    for name, text in texts.items():
        write_whole(out / name, text, durable=False)  # a report can be built again
    return Report([*(out / name for name in texts), *paths], problems, run_table(_chosen(records, datasets), rule))


def _chosen(records: list[Record], datasets: Sequence[str] | None) -> list[Record]:
    known = {record.dataset.name for record in records}
    for name in datasets or ():
        if name not in known:
            raise unknown("dataset in the results", name, known)
    return [record for record in records if not datasets or record.dataset.name in datasets]


def _apart(found: list[Setting]) -> str:
    """One table needs no word on why tables are apart."""
    if len(found) == 1:
        return ""
    return "One table per setting (images and recipe); numbers of different tables must not be ranked together.\n\n"


def _draw(setting: Setting, out: Path) -> tuple[list[Path], str]:
    """Write a setting's figures; their paths, and Markdown that shows them."""
    stem = f"{re.sub(r'[^A-Za-z0-9=._-]+', '-', setting.title).strip('-.')[:60]}-{setting.id}"
    paths, links = [], []
    for name, figure in figures(setting).items():
        files = {suffix: f"figures/{stem}-{name}.{suffix}" for suffix in FORMATS}
        for suffix, file in files.items():
            write_whole(out / file, save(figure, suffix), durable=False)
            paths.append(out / file)
        title = escape_markdown(f"{_CAPTIONS[name]}: {setting.title}")
        links.append(f"![{title}]({files['png']})\n\n{title} ([SVG]({files['svg']}), [PDF]({files['pdf']}))\n")
    return paths, "\n".join(links)
