"""The commands that read records: report, compare, show. They import what they need when they are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console
from rich.text import Text

from ..benchmarks.errors import printable
from ..benchmarks.utils.formatting import counted
from ..benchmarks.utils.options import PATH, RESULTS, RUNS, add_options, option
from .groups import ALL, EXPLAINED, GROUPINGS, RULES

DATASETS = option("--dataset", "-d", "datasets", metavar="NAMES", help="Only these, joined by commas.")
READING = [
    option(
        "--shots",
        "rule",
        default="A",
        type=click.Choice(RULES),
        help=f"Training images of a class that is medium; with more it is many, with fewer few. {EXPLAINED}.",
    ),
    option("--groups", default=ALL, type=click.Choice([*GROUPINGS, ALL]), help="Groups that tables show."),
]


@click.command()
@RESULTS
@RUNS
@option("--out", default="runs/report", type=PATH, help="Where the leaderboards, the page and the figures go.")
@DATASETS
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
    built = build(sources, out, _names(datasets), Options(**choices), formats, _say)
    Console().print(built.printed)
    _warn(built.warnings)
    written = [path for path in built.paths if path.parent == out] + [out / "figures"] * bool(formats)
    print(f"\nWrote {counted(len(built.paths), 'file')}: {printable(', '.join(map(str, written)))}")


@click.command()
@click.argument("a")
@click.argument("b")
@DATASETS
@RESULTS
@RUNS
@add_options(READING)
@option("--out", type=PATH, help="A .png, .svg or .pdf file: accuracy of both against class size.")
@option("--across", metavar="FIELD", help="Compare two values of this recipe field instead, all else equal.")
def compare(a: str, b: str, datasets: str | None, out: Path | None, across: str | None, **choices: Any) -> None:
    """Compare two methods, or two rows by their labels, paired by seed: every group with interval and test.

    \b
    bench compare open ldam-drw --dataset cifar100-lt
    bench compare "open (norm=standard)" open
    bench compare bf16 fp32 --across precision
    """
    from .compare import compare_rows
    from .sources import Sources
    from .statistics import Options

    sources = Sources(choices.pop("results"), choices.pop("runs"))
    if across:
        if out:
            raise click.UsageError("--out draws accuracy against class size, which --across does not compare.")
        from .compare_recipe import compare_values

        comparison = compare_values(across, a, b, sources, _names(datasets))
    else:
        comparison = compare_rows(a, b, sources, _names(datasets), Options(**choices), out)
    Console().print(comparison.printed)
    _warn(comparison.warnings)
    for path in comparison.paths:
        print(printable(f"Wrote {path}"))


@click.command()
@click.argument("record")
@RESULTS
def show(record: str, results: Path) -> None:
    """Show one record, by its file or the first digits of its id: numbers, circumstances, the command for it."""
    from .show import find_record
    from .show import show as shown

    Console(highlight=False).print(shown(find_record(record, results)))


def _names(text: str | None) -> list[str] | None:
    return text.split(",") if text else None


def _say(text: str) -> None:
    Console(stderr=True).print(Text(printable(text), "dim"), soft_wrap=True)


def _warn(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        Console(stderr=True).print(Text(printable(f"Warning: {sentence}"), "yellow"), soft_wrap=True)


COMMANDS = (report, compare, show)
