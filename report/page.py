"""index.html: one file that needs no network, with sortable and filterable leaderboards, figures and method cards."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..benchmarks.records.schema import Record
from .costs import duration
from .describe import circumstances, command
from .notes import warnings
from .statistics import Row, Setting, mean_accuracy
from .tables import Table

FOLDER = Path(__file__).parent
_OF_ONE_RUN = ("record", "seed", "time", "interruptions", "builds on")  # told for each run instead


@dataclass(frozen=True)
class Section:
    """A setting on the page: its tables, the leaderboard first, and caption to SVG of its figures."""

    setting: Setting
    tables: Sequence[Table]
    figures: Mapping[str, bytes]


def page(sections: Sequence[Section], over: Sequence[str], diagram: bytes | None, cards: Mapping[str, str]) -> str:
    """The text of the page. Whatever stands in records is escaped.

    Args:
        sections: settings in the order of the page.
        over: sentences on the ranks over several datasets.
        diagram: SVG of these ranks; None where there is none.
        cards: name of a method to its card; only methods with a row are shown.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    used = {run.method for section in sections for run in section.setting.runs}
    return environment.get_template("page.html.jinja").render(
        style=(FOLDER / "page.css").read_text("utf-8"),
        script=(FOLDER / "page.js").read_text("utf-8"),
        sections=[_view(section) for section in sections],
        datasets=sorted({section.setting.dataset.name for section in sections}),
        records=sum(len(section.setting.runs) for section in sections),
        over=over,
        diagram=_picture(diagram) if diagram else None,
        cards={name: _paragraphs(card) for name, card in sorted(cards.items()) if name in used},
    )


def _view(section: Section) -> dict[str, Any]:
    setting, (first, *others) = section.setting, section.tables
    lines = zip(setting.rows, first.frame.itertuples(index=False), strict=True)
    return {
        "id": setting.id,
        "title": setting.title,
        "dataset": setting.dataset.name,
        "warnings": warnings(setting),
        "board": first,
        "rows": [{"cells": list(cells), "detail": _detail(row)} for row, cells in lines],
        "others": others,
        "figures": [(caption, _picture(data)) for caption, data in section.figures.items()],
    }


def _detail(row: Row) -> dict[str, Any]:
    """What a row unfolds to: the circumstances that its runs share, the runs, the command that makes them again."""
    first, *more = ({k: v for k, v in circumstances(run).items() if k not in _OF_ONE_RUN} for run in row.runs)
    shared = {name: text for name, text in first.items() if all(other.get(name) == text for other in more)}
    shared |= {name: "differs between seeds, see the records" for name in first if name not in shared}
    return {
        "method": row.runs[0].method,
        "command": command(row.runs[0], [run.seed for run in row.runs]),
        "facts": shared,
        "runs": [
            {
                "seed": run.seed,
                "accuracy": f"{100 * mean_accuracy(run):.2f}",
                "best epoch on test": _best(run),
                "time": duration(run.cost.seconds),
                "interruptions": run.cost.resumed,
                "commit": (run.environment.commit or "unknown")[:8] + "*" * bool(run.environment.dirty),
                "record": run.id,
            }
            for run in row.runs
        ],
    }


def _best(run: Record) -> str:
    accuracy = np.mean(np.array(run.best.correct) / np.array(run.dataset.test_counts))
    return f"{100 * accuracy:.2f} ({run.best.epoch + 1})"


def _picture(svg: bytes) -> str:
    """An address that holds the picture itself: ids and styles of two pictures cannot meet."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _paragraphs(card: str) -> list[str]:
    """A card's lines, those of one paragraph joined; `Key: ...` begins one."""
    parts: list[str] = []
    for line in card.splitlines():
        head, colon, _ = line.partition(":")
        begins = not parts or not line.strip() or (bool(colon) and line[:1].isupper() and len(head) < 30)
        if begins:
            parts.append(line.strip())
        else:
            parts[-1] += " " + line.strip()
    return [part for part in parts if part]
