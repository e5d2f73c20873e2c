"""The tables of a setting, with their notes, before they become Markdown, LaTeX, HTML or a terminal's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from .costs import comparable, costs, duration, optimism, size
from .logits import TAUS, Scores, corrections
from .notes import notes
from .paired_tests import FEWEST, difference, in_points, signed, verdict
from .published import NOT_STATED, PublishedTable, matches
from .statistics import Row, Setting, Spread

NONE = "–"


@dataclass(frozen=True)
class Evidence:
    """What a report may use beside the records.

    Attributes:
        scores: by record id, of the runs whose logits are there.
        published: tables of published numbers.
    """

    scores: dict[str, Scores] = field(default_factory=dict)
    published: Sequence[PublishedTable] = ()


@dataclass(frozen=True)
class Table:
    """One table of texts; the first column names the rows.

    Attributes:
        name: short, of letters.
        title: heading.
        frame: cells; accuracies in percent.
        notes: sentences below it.
        spare: columns that a narrow terminal may leave out, the first one first.
    """

    name: str
    title: str
    frame: pd.DataFrame
    notes: list[str]
    spare: tuple[str, ...] = ()


def tables(setting: Setting, evidence: Evidence) -> list[Table]:
    """The tables of a setting, the leaderboard first; those without a row are left out."""
    made = [leaderboard(setting), beside_baseline(setting), corrected(setting, evidence.scores)]
    if setting.options.published:
        made.append(beside_published(setting, evidence.published))
    return [table for table in made if len(table.frame)]


def leaderboard(setting: Setting) -> Table:
    """One line per row: overall, the groups with their number of classes, seeds."""
    lines = [
        {
            "method": row.label,
            "overall": cell(row.overall),
            **{f"{g.name} ({len(g.classes)})": cell(row.groups[g.name]) for g in setting.groups},
            "seeds": str(len(row.runs)),
        }
        for row in setting.rows
    ]
    return Table("accuracy", "Accuracy", pd.DataFrame(lines), notes(setting))


def beside_baseline(setting: Setting) -> Table:
    """Difference of each row to the baseline, paired by seed, and what the row cost."""
    base, name = setting.baseline, setting.options.baseline
    lines = []
    for row in setting.rows:
        line = {"method": row.label}
        if base:
            line |= _against(row, base, name)
        if setting.options.optimism:
            line["best − last epoch"] = signed(optimism(row))
        spent = costs(row)
        line |= {
            "epoch": duration(spent.epoch),
            "run": duration(spent.total),
            "shared": duration(spent.borrowed) if spent.borrowed else NONE,
            "memory": f"{size(spent.memory)}B",
            "parameters": size(spent.parameters),
        }
        lines.append(line)
    title = f"Difference to {name}, and cost" if base else "Cost"
    return Table("cost", title, pd.DataFrame(lines), _cost_notes(setting), _COST_SPARE)


_COST_SPARE = ("parameters", "memory", "shared", "pairs", "epoch", "best − last epoch")


def _against(row: Row, base: Row, name: str) -> dict[str, str]:
    if row is base:
        return {f"minus {name}": NONE, "verdict": "the baseline", "pairs": NONE}
    found = difference(row, base)
    return {
        f"minus {name}": in_points(found),
        "verdict": verdict(found),
        "pairs": str(found.n) if found else "0",
    }


def _cost_notes(setting: Setting) -> list[str]:
    name, found = setting.options.baseline, []
    if setting.baseline is None:
        found.append(f"No differences: {name} has no record here.")
    else:
        found.append(
            f"Minus {name}: overall accuracy minus that of {name} in percentage points, mean over the seeds that both "
            "have; in brackets its 95 % interval (Student's t over the pairs of seeds). Not separable: the interval "
            f"covers zero, or there are fewer than {FEWEST} pairs. The intervals tell of training seeds, not of other "
            "test images, and are not corrected for the number of rows."
        )
    if setting.options.optimism:
        found.append(
            "Best − last epoch: what choosing the best evaluated epoch on the test split would add, in points; no "
            "other number here uses it."
        )
    timed = "" if comparable(setting) else " Runs were timed on different devices or numbers of threads: no comparison."
    found.append(
        "Epoch: training time of one. Run: all that has to be trained for one run, evaluation included; of it, shared: "
        f"trainings that other runs build on, too. Memory: highest peak. Means over seeds.{timed}"
    )
    return found


def corrected(setting: Setting, found: dict[str, Scores]) -> Table:
    """Each row with logits before and after logit adjustment, and against the baseline after it."""
    name, lines = setting.options.baseline, []
    for row in corrections(setting, found):
        is_base = row.row is setting.baseline
        lines.append(
            {
                "method": row.row.label,
                "as trained": cell(row.plain),
                "tau = 1": cell(row.adjusted),
                "best tau on test": f"{cell(row.best)} at {row.best_tau:g}",
                "ECE": cell(row.ece),
                **({f"minus adjusted {name}": in_points(row.against)} if setting.baseline else {}),
                **({"verdict": "the baseline" if is_base else verdict(row.against)} if setting.baseline else {}),
                "seeds": str(row.plain.n),
            }
        )
    words = [
        "From the stored test logits, of the seeds that have them. Tau = 1: the logarithm of the class's share of the "
        "training images is subtracted from its logit (Menon et al. 2021), without any tuning; meant for networks "
        "trained with plain cross-entropy, it corrects balanced ones twice. Best tau on test: an upper bound, chosen "
        f"on the test split between {TAUS[0]:g} and {TAUS[-1]:g}. ECE: expected calibration error in percent, 15 bins."
    ]
    if setting.baseline and lines:
        words.append(
            f"Minus adjusted {name}: the row as trained, minus {name} with tau = 1, in percentage points: what a "
            "method adds to the correction that costs nothing."
        )
    return Table("adjusted", "After logit adjustment", pd.DataFrame(lines), words, ("seeds", "best tau on test", "ECE"))


def beside_published(setting: Setting, published: Sequence[PublishedTable]) -> Table:
    """Published numbers for the rows of a setting beside ours; sources are numbered, and named below."""
    found = matches(setting, published)
    numbers = {id(table): k + 1 for k, table in enumerate({id(m.table): m.table for m in found}.values())}
    lines = [
        {
            "method": f"{match.label} ({match.group})" if match.group else match.label,
            "published": f"{match.accuracy:.1f}" + (f" ± {match.error:.1f}" if match.error else ""),
            "ours": cell(match.ours),
            "difference": signed(match.ours.mean - match.accuracy / 100),
            "protocol differs in": "; ".join(match.differs) or NONE,
            "source": f"({numbers[id(match.table)]})",
        }
        for match in found
    ]
    words = [
        "Published: accuracy in percent as the source prints it (errors subtracted from 100), ± its standard error. "
        "Ours: last epoch, mean ± sample standard deviation over seeds. A difference means something only where no "
        "protocol differs.",
        *(f"({number}) {_source(table)}" for table in published if (number := numbers.get(id(table)))),
    ]
    return Table("published", "Published beside ours", pd.DataFrame(lines), words[:1] + _by_number(words[1:]))


def _by_number(words: list[str]) -> list[str]:
    return sorted(words, key=lambda text: int(text[1 : text.index(")")]))


def _source(table: PublishedTable) -> str:
    epochs = f"{table.epochs} epochs" if isinstance(table.epochs, int) else "epochs not stated"
    runs = f"; {table.runs} runs" if table.runs != NOT_STATED else ""
    protocol = f"{table.backbone}, {epochs}, {table.augmentation}; epoch reported: {table.selection}{runs}"
    return f"{table.source}, {table.where} {table.evidence}: {protocol}. {table.note}".strip()


def cell(value: Spread | None, form: str = "{mean} ± {sd}") -> str:
    """Percent with one decimal; `form` has the places {mean} and {sd}; one seed has no deviation, None is a dash."""
    if value is None:
        return NONE
    mean = f"{100 * value.mean:.1f}"
    return mean if value.sd is None else form.format(mean=mean, sd=f"{100 * value.sd:.1f}")
