"""The commands that read records: report, compare, show. They import what they need when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console

from ..benchmarks.utils.options import PATH, RESULTS, RUNS, add_options, option

READING = [
    option("--shots", "rule", default="A", type=click.Choice(["A", "B", "C"]), help="Borders of many/medium/few."),
    option("--groups", default="both", type=click.Choice(["shots", "five", "both"]), help="Groups that tables show."),
]


@click.command()
@RESULTS
@RUNS
@option("--out", default="runs/report", type=PATH, help="Where the leaderboards, the page and the figures go.")
@option("--dataset", "-d", "datasets", metavar="NAMES", help="Only these, joined by commas.")
@add_options(READING)
@option("--baseline", default="erm", metavar="ROW", help="Row that others are compared with: a method or a label.")
@option("--published", is_flag=True, help="Show published numbers beside ours.")
@option("--optimism", is_flag=True, help="Show what choosing the best epoch on the test split would add.")
@option("--figures", default="png,svg,pdf", metavar="FORMATS", help="png, svg, pdf, joined by commas; or none.")
def report(results: Path, runs: Path, out: Path, datasets: str | None, figures: str, **choices: Any) -> None:
    """Write leaderboards (Markdown, LaTeX, CSV), a page and figures from the records and the stored logits alone."""
    from ..benchmarks.utils.docstrings import method_cards
    from .build import build, figure_formats
    from .sources import Sources
    from .statistics import Options

    formats = figure_formats(figures)
    sources = Sources(results, runs, cards=method_cards())
    made = build(sources, out, datasets.split(",") if datasets else None, Options(**choices), formats, _say)
    Console().print(made.table)
    _warn(made.warnings)
    names = ("leaderboard.md", "leaderboard.tex", "leaderboard.csv", "index.html", *(["figures"] if formats else []))
    print(f"\nWrote {len(made.paths)} files: {', '.join(str(out / name) for name in names)}")


@click.command()
@click.argument("a")
@click.argument("b")
@option("--dataset", "-d", "datasets", metavar="NAMES", help="Only these, joined by commas.")
@RESULTS
@RUNS
@add_options(READING)
@option("--out", type=PATH, help="A .png, .svg or .pdf file: accuracy of both against class size.")
@option("--across", metavar="FIELD", help="Compare two values of this recipe field instead, all else equal.")
def compare(
    a: str,
    b: str,
    datasets: str | None,
    results: Path,
    runs: Path,
    out: Path | None,
    across: str | None,
    **choices: Any,
) -> None:
    """Compare two methods, or two rows by their labels, paired by seed: every group with interval and test.

    \b
    bench compare open ldam-drw --dataset cifar100-lt
    bench compare "open (norm=standard)" open
    bench compare bf16 fp32 --across precision
    """
    from .compare import compare_rows
    from .sources import Sources, read_records
    from .statistics import Options

    chosen = datasets.split(",") if datasets else None
    if across:
        if out:
            raise click.UsageError("--out draws accuracy against class size, which --across does not compare.")
        from .compare_recipe import compare_across
        from .terminal import Plain

        records, problems = read_records(results, chosen)
        made = compare_across(across, a, b, records)
        for part in (f"[bold]{made.title}[/bold]", Plain(made), *(f"[dim]{note}[/dim]" for note in made.notes)):
            Console().print(part)
        return _warn(problems)
    table, problems, paths = compare_rows(a, b, Sources(results, runs), chosen, Options(**choices), out)
    Console().print(table)
    _warn(problems)
    for path in paths:
        print(f"Wrote {path}")
    return None


@click.command()
@click.argument("record")
@RESULTS
def show(record: str, results: Path) -> None:
    """Show one record, by its file or the first digits of its id: numbers, circumstances, the command for it."""
    from .describe import find_record
    from .describe import show as described

    Console(highlight=False).print(described(find_record(record, results)))


def _say(text: str) -> None:
    Console(stderr=True).print(text, style="dim", highlight=False, soft_wrap=True)


def _warn(sentences: list[str]) -> None:
    for sentence in sentences:
        Console(stderr=True).print(
            f"Warning: {sentence}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )


COMMANDS = (report, compare, show)
