"""Published numbers beside ours."""

from __future__ import annotations

from ...benchmarks.utils.formatting import counted
from ..published import Match, PublishedTable, matches
from ..sources import Evidence
from ..statistics import Setting
from ..text import NONE, percent, signed
from .table import SENTENCES, Table

_NOTE = (
    "Published: accuracy in percent as the source prints it (errors subtracted from 100), ± its standard error. "
    "Ours: last epoch, mean ± sample standard deviation over seeds. A difference is meaningful only where "
    "the protocols agree."
)


def published(setting: Setting, evidence: Evidence) -> Table:
    """Table with one row per published number that matches a row of the setting; the notes list the sources."""
    pairs = matches(setting, evidence.published)
    sources = {id(match.table): match.table for match in pairs}
    numbers = {key: f"({k})" for k, key in enumerate(sources, 1)}
    return Table(
        "published",
        "Published numbers beside ours",
        [_line(match, numbers[id(match.table)]) for match in pairs],
        [_NOTE, *(f"{numbers[key]} {_source(table)}" for key, table in sources.items())],
        columns={"protocol differs in": SENTENCES},
        spare=("source", "seeds"),
    )


def _line(match: Match, source: str) -> dict[str, str]:
    return {
        "method": f"{match.label} ({match.group})" if match.group else match.label,
        "published": f"{match.accuracy:.1f}" + (f" ± {match.error:.1f}" if match.error else ""),
        "ours": percent(match.ours),
        "seeds": str(match.ours.n),
        "difference": signed(match.ours.mean - match.accuracy / 100),
        "protocol differs in": "; ".join(match.differs) or NONE,
        "source": source,
    }


def _source(table: PublishedTable) -> str:
    epochs = counted(table.epochs, "epoch") if isinstance(table.epochs, int) else "epochs not stated"
    runs = f"; {counted(table.runs, 'run')}" if isinstance(table.runs, int) else ""
    protocol = f"{table.backbone}, {epochs}, {table.augmentation}; epoch reported: {table.selection}{runs}"
    return f"{table.source}, {table.where} {table.evidence}: {protocol}. {table.note}".strip()
