"""The commands that read records: report, compare and show. Heavy imports happen only when a command runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console
from rich.text import Text

from ..benchmarks.errors import printable
from ..benchmarks.utils.formatting import counted
from ..benchmarks.utils.options import PATH, RESULTS, RUNS, add_options, names_option, option
from .groups import ALL, EXPLAINED, GROUPINGS, RULES

DATASETS = names_option("--dataset", "-d", "datasets", help="Restrict to these datasets, comma-separated or repeated.")
READING = [
    option(
        "--shots",
        "rule",
        default="A",
        type=click.Choice(RULES),
        help=f"Definition of many, medium and few. Number of training images of a medium class: {EXPLAINED}.",
    ),
    option("--groups", default=ALL, type=click.Choice([*GROUPINGS, ALL]), help="Groups of classes in the tables."),
]


@click.command()
@RESULTS
@RUNS
@option("--out", default="runs/report", type=PATH, help="Output folder for leaderboards, HTML page and figures.")
@DATASETS
@add_options(READING)
@option("--baseline", metavar="ROW", help="Row to compare with; default: erm, or ncm with a frozen backbone.")
@option("--published", is_flag=True, help="Show published numbers beside ours.")
@option("--optimism", is_flag=True, help="Show the gain from choosing the best epoch on the test split.")
@option("--figures", default="png,svg,pdf", metavar="FORMATS", help="png, svg, pdf, comma-separated; or none.")
def report(results: Path, runs: Path, out: Path, datasets: list[str], figures: str, **choices: Any) -> None:
    """Write leaderboards (Markdown, LaTeX, CSV), an HTML page and figures from records and stored logits alone."""
    from ..benchmarks.utils.docstrings import method_cards
    from .build import build, figure_formats
    from .sources import Sources
    from .statistics import Options

    formats = figure_formats(figures)
    sources = Sources(results, runs, cards=method_cards())
    built = build(sources, out, datasets, Options(**choices | {"baseline": choices["baseline"] or ""}), formats, _say)
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
@option("--out", type=PATH, help="Figure of both accuracies against class size (.png, .svg or .pdf).")
@option("--across", metavar="FIELD", help="Compare two values of this recipe field instead, all else equal.")
def compare(a: str, b: str, datasets: list[str], out: Path | None, across: str | None, **choices: Any) -> None:
    """Compare two methods or row labels, paired by seed: differences with intervals and tests, for every group.

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
            raise click.UsageError("--out draws accuracy against class size and cannot be combined with --across.")
        from .compare_recipe import compare_values

        comparison = compare_values(across, a, b, sources, datasets)
    else:
        comparison = compare_rows(a, b, sources, datasets, Options(**choices), out)
    Console().print(comparison.printed)
    _warn(comparison.warnings)
    for path in comparison.paths:
        print(printable(f"Wrote {path}"))


@click.command()
@click.argument("record")
@RESULTS
def show(record: str, results: Path) -> None:
    """Show the accuracies, provenance and command of one record, given its file or the first digits of its id."""
    from .show import find_record
    from .show import show as shown

    Console(highlight=False).print(shown(find_record(record, results, lambda sentence: _warn([sentence]))))


def _say(text: str) -> None:
    Console(stderr=True).print(Text(printable(text), "dim"), soft_wrap=True)


def _warn(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        Console(stderr=True).print(Text(printable(f"Warning: {sentence}"), "yellow"), soft_wrap=True)


COMMANDS = (report, compare, show)
