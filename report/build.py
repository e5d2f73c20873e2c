"""Report of a results folder: leaderboards, figures and an HTML page, built from records and stored logits alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Group

from ..benchmarks.errors import UserError, unknown
from ..benchmarks.utils.atomic_write import write_atomically
from . import ranks
from .describe import detail
from .document import Document, Picture, Report, Section, section
from .figures import caption
from .figures.cache import Job, draw_all
from .figures.rank_diagram import rank_diagram
from .figures.style import FORMATS, light, save
from .logits import Scores, read_scores
from .outputs import OUTPUTS
from .published import read_published
from .sources import Evidence, Sources, read_records
from .statistics import Options, Setting, settings
from .tracks import FINE_TUNED, FROZEN, SCRATCH, TRACKS

STEMS = {SCRATCH: "ranks", FROZEN: "ranks-frozen", FINE_TUNED: "ranks-fine-tuned"}  # file names of the rank diagrams


def build(
    sources: Sources,
    out: Path,
    datasets: Sequence[str] | None = None,
    options: Options | None = None,
    formats: Sequence[str] = FORMATS,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """Write all `OUTPUTS` and the figures for all valid records below a folder.

    Args:
        sources: folders and files to read.
        out: folder to write to; created if missing.
        datasets: names of the datasets to report; None for all.
        options: options of the report, such as the baseline.
        formats: file formats of the figures, any of png, svg and pdf; if empty, no figures are drawn.
        say: callback that receives a sentence before each slow step.

    Returns:
        The written files, warnings about unusable input files, and the output for the console.

    Raises:
        UserError: there are no records, or none for a requested dataset or baseline, or the file of published numbers
            is needed but invalid.
    """
    options = options or Options()
    records, bad_records = read_records(sources.results, datasets)
    all_settings = settings(records, options)
    _check_baseline(all_settings, options)
    scores, bad_logits = read_scores(records, sources.runs)
    evidence = Evidence(scores, read_published(sources.published) if options.published else ())

    jobs = [Job(setting, _of(setting, evidence), tuple(formats), out / "figures") for setting in all_settings]
    names = draw_all(jobs, say) if formats else [[] for _ in jobs]
    sections = [_section(job, of_job, evidence) for job, of_job in zip(jobs, names, strict=True)]
    sentences, diagrams, diagram_files = _over_datasets(all_settings, formats)
    methods = {record.method for record in records}
    cards = {name: card for name, card in sources.cards.items() if name in methods}
    document = Document(sections, sentences, diagrams, cards)

    rendered = {name: render(document) for name, render in OUTPUTS.items()}
    files: dict[str, bytes | str] = {name: text for name, text in rendered.items() if isinstance(text, str)}
    files |= {f"figures/{name}": data for name, data in diagram_files.items()}
    for name, data in files.items():
        write_atomically(out / name, data, durable=False)  # a report can be rebuilt
    drawn = [job.path(n, suffix) for job, of_job in zip(jobs, names, strict=True) for n in of_job for suffix in formats]
    printed = Group(*(group for group in rendered.values() if isinstance(group, Group)))
    return Report([*(out / name for name in files), *drawn], bad_records + bad_logits, printed)


def _of(setting: Setting, evidence: Evidence) -> dict[str, Scores]:
    return {run.id: evidence.scores[run.id] for run in setting.runs if run.id in evidence.scores}


def _section(job: Job, names: list[str], evidence: Evidence) -> Section:
    pictures = []
    for name in names:
        files = {suffix: job.path(name, suffix).name for suffix in job.formats}
        pictures.append(Picture(caption(job.setting, name), files, job.small(name).read_bytes()))
    return section(job.setting, evidence, "report", pictures, [detail(row) for row in job.setting.rows])


def figure_formats(text: str) -> list[str]:
    """List of figure formats from the command line: `png,svg` -> ["png", "svg"], `none` -> [].

    Raises:
        UserError: a format is unknown.
    """
    formats = [] if text.strip() == "none" else [part.strip() for part in text.split(",")]
    for name in formats:
        if name not in FORMATS:
            raise unknown("figure format", name, [*FORMATS, "none"])
    return list(dict.fromkeys(formats))


def _check_baseline(all_settings: list[Setting], options: Options) -> None:
    """Check that a baseline that was asked for has a row.

    Raises:
        UserError: no row has the label that was requested as baseline.
    """
    labels = {row.label for setting in all_settings for row in setting.rows}
    if options.baseline and options.baseline not in labels:
        raise unknown("baseline (method with its changed settings)", options.baseline, labels)


def _over_datasets(
    all_settings: list[Setting], formats: Sequence[str]
) -> tuple[list[str], list[Picture], dict[str, bytes]]:
    """Sentences on the ranks of each track, or the reason why there are none; rank diagrams; their files by name."""
    sentences: list[str] = []
    diagrams: list[Picture] = []
    files: dict[str, bytes] = {}
    present = [track for track in TRACKS if any(setting.track == track for setting in all_settings)]
    for track in present:
        before = f"{track.capitalize()}: " if len(present) > 1 else ""
        try:
            over = ranks.ranks(setting for setting in all_settings if setting.track == track)
        except UserError as error:
            sentences.append(f"{before}{error}")
            continue
        sentences += [f"{before}{sentence}" for sentence in ranks.notes(over)]
        if formats:
            figure, name = rank_diagram(over), STEMS[track]
            of_track = {suffix: f"{name}.{suffix}" for suffix in formats}
            files |= {f"{name}.{suffix}": save(figure, suffix) for suffix in formats}
            diagrams.append(Picture(f"{before}average ranks" if before else "Average ranks", of_track, light(figure)))
    return sentences, diagrams, files
