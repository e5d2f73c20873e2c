"""The report of a results folder: leaderboards, figures and a page, rebuilt from the records and the stored logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group

from ..benchmarks.errors import UserError, unknown
from ..benchmarks.utils.atomic_write import write_atomically
from . import ranks
from .export import csv
from .figure_cache import Job, draw_all
from .logits import Scores, read_scores
from .page import Section, page
from .plots import caption
from .published import read_published
from .render import escape_markdown, latex, markdown
from .sources import Sources, read_records
from .statistics import Options, Setting, settings
from .style import FORMATS, light, save
from .tables import Evidence, Table, tables
from .terminal import leaderboards

_PAGE = "page"  # beside the formats of files: the small SVG for the page


@dataclass(frozen=True)
class Report:
    """What `build` made.

    Attributes:
        paths: files written.
        warnings: one sentence for each file that could not be used and was left out.
        table: for a rich console.
    """

    paths: list[Path]
    warnings: list[str]
    table: Group


def build(
    sources: Sources,
    out: Path,
    datasets: Sequence[str] | None = None,
    options: Options | None = None,
    formats: Sequence[str] = FORMATS,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """Write leaderboard.md, .tex and .csv, index.html and figures/ for all valid records below a folder.

    Args:
        sources: what to read.
        out: folder to write to; made if it is not there.
        datasets: names of the datasets to report; None for all.
        options: what tables show.
        formats: of the figures, any of png, svg and pdf; with none, figures are neither drawn nor on the page.
        say: told before what takes long.

    Raises:
        UserError: there is no record, or a dataset or baseline without one is asked for.
    """
    options = options or Options()
    chosen, problems = read_records(sources.results, datasets)
    found = settings(chosen, options)
    _check_baseline(found, options)
    scores, bad = read_scores(chosen, sources.runs)
    evidence = Evidence(scores, read_published(sources.published) if options.published else ())
    jobs = [Job(setting, _of(setting, scores), tuple(formats), out / "figures") for setting in found]
    drawn = draw_all(jobs, say) if formats else [[] for _ in jobs]
    made = [(setting, tables(setting, evidence)) for setting in found]
    over, diagram = _over_datasets(found, formats)
    sections = [
        Section(setting, shown, {caption(setting, name): job.small(name).read_bytes() for name in names})
        for (setting, shown), job, names in zip(made, jobs, drawn, strict=True)
    ]
    texts = {
        "leaderboard.md": _markdown(made, jobs, drawn, over, list(diagram)),
        "leaderboard.tex": "% \\input this file; needs \\usepackage{booktabs}\n\n" + "\n".join(latex(*m) for m in made),
        "leaderboard.csv": csv(found, evidence),
        "index.html": page(sections, over, diagram.get(_PAGE), sources.cards),
    }
    files: dict[str, bytes | str] = texts | {f"figures/ranks.{kind}": diagram[kind] for kind in formats if diagram}
    for name, data in files.items():
        write_atomically(out / name, data, durable=False)  # a report can be built again
    figures = [job.path(n, suffix) for job, names in zip(jobs, drawn, strict=True) for n in names for suffix in formats]
    return Report([*(out / name for name in files), *figures], problems + bad, leaderboards(found, evidence))


def _of(setting: Setting, scores: dict[str, Scores]) -> dict[str, Scores]:
    return {run.id: scores[run.id] for run in setting.runs if run.id in scores}


def figure_formats(text: str) -> list[str]:
    """`png,svg` -> ["png", "svg"]; `none` -> [].

    Raises:
        UserError: there is no such format.
    """
    formats = [] if text.strip() == "none" else [part.strip() for part in text.split(",") if part.strip()]
    for name in formats:
        if name not in FORMATS:
            raise unknown("figure format", name, [*FORMATS, "none"])
    return list(dict.fromkeys(formats))


def _check_baseline(found: list[Setting], options: Options) -> None:
    """The default may be missing; a name that was typed may not."""
    known = {row.label for setting in found for row in setting.rows}
    if options.baseline not in known and options.baseline != Options.baseline:
        raise unknown("baseline (method with what was changed)", options.baseline, known)


def _over_datasets(found: list[Setting], formats: Sequence[str]) -> tuple[list[str], dict[str, bytes]]:
    """Sentences on the ranks over datasets, or why there are none; the diagram in all formats."""
    try:
        over = ranks.ranks(found)
    except UserError as error:
        return [str(error)], {}
    if not formats:
        return ranks.notes(over), {}
    figure = ranks.diagram(over)
    return ranks.notes(over), {suffix: save(figure, suffix) for suffix in formats} | {_PAGE: light(figure)}


def _markdown(
    made: list[tuple[Setting, list[Table]]], jobs: list[Job], drawn: list[list[str]], over: list[str], kinds: list[str]
) -> str:
    parts = ["# Leaderboard\n"]
    if len(made) > 1:  # one table needs no word on why tables are apart
        parts.append(
            "One leaderboard per setting (images and recipe); numbers of different settings must not be ranked "
            "together.\n"
        )
    for (setting, shown), job, names in zip(made, jobs, drawn, strict=True):
        parts.append(markdown(setting, shown))
        for name in names:
            title = escape_markdown(f"{caption(setting, name)}: {setting.title}")
            parts.append(_link(title, {suffix: job.path(name, suffix).name for suffix in job.formats}))
    parts.append("## Over several datasets\n")
    files = {kind: f"ranks.{kind}" for kind in kinds if kind in FORMATS}
    parts += [_link("Average ranks", files)] * bool(files)
    parts.append("\n".join(f"- {escape_markdown(note)}" for note in over) + "\n")
    return "\n".join(parts)


def _link(title: str, files: dict[str, str]) -> str:
    """Markdown that shows a figure and links its other formats; names are those in `figures/`."""
    shown = files.get("png") or files.get("svg")
    others = [f"[{suffix.upper()}](figures/{file})" for suffix, file in files.items() if file != shown]
    return (
        f"![{title}](figures/{shown})\n\n" * bool(shown) + f"{title}" + f" ({', '.join(others)})" * bool(others) + "\n"
    )
