"""Notes below a leaderboard: warnings, common properties of the rows, definitions of the columns, and provenance."""

from __future__ import annotations

from ..benchmarks.records.schema import Record, recipe_facts
from ..benchmarks.utils.formatting import counted
from .origins import distinct, facts, mixed
from .statistics import Row, Setting
from .tracks import caution

_SHOWN = {"backbone": "backbone", "epochs": "epochs", "batch_size": "batch", "precision": "precision"}
_SHOWN_IF_CHANGED = {"augment": "augmentation", "cutout": "Cutout", "optimiser": "optimiser"}


def notes(setting: Setting) -> list[str]:
    """All sentences below a leaderboard, warnings first."""
    return [*warnings(setting), *_shared(setting), *_columns(setting), *_origin(setting)]


def warnings(setting: Setting) -> list[str]:
    """Warnings about weights, files, number of seeds, inactive methods, uncommitted changes, environments, repeats."""
    sentences = caution(setting.recipe)
    if setting.dataset.verified is False:
        sentences.append("Verified: no. The dataset's files do not match the published checksums.")
    most = max(row.overall.n for row in setting.rows)
    fewer = ", ".join(f"{row.label} {row.overall.n}" for row in setting.rows if row.overall.n < most)
    if fewer:
        sentences.append(f"Fewer seeds than {most}: {fewer}. These rows are not ranked with rows that have more seeds.")
    reasons = {row.label: run.inactive for row in setting.rows for run in row.runs if run.inactive}
    for label, reason in reasons.items():
        sentences.append(f"{label} is inactive and not ranked: {reason}.")
    dirty = {row.label: [str(run.seed) for run in row.runs if _dirty(run)] for row in setting.rows}
    if any(dirty.values()):
        each = "; ".join(f"{label}, {_seeds(seeds)}" for label, seeds in dirty.items() if seeds)
        sentences.append(f"Made with uncommitted changes: {each}.")
    if parts := [text for row in setting.rows if (text := _mixed(row))]:
        sentences.append(f"Parts of a run were computed in different environments: {'; '.join(parts)}.")
    repeats = [(row.label, row.repeats) for row in setting.rows if row.repeats]
    return sentences + [
        f"{label}: {counted(n, 'record')} left out, because another record has the same id." for label, n in repeats
    ]


def missing_groups(setting: Setting) -> list[str]:
    """One sentence for each reason why columns are empty."""
    reasons: dict[str, list[str]] = {}
    for group in setting.groups:
        if group.missing:
            reasons.setdefault(group.missing, []).append(group.name)
    return [f"– in {', '.join(names)}: {reason}." for reason, names in reasons.items()]


def _shared(setting: Setting) -> list[str]:
    data, recipe = setting.dataset, setting.recipe
    shown = _SHOWN | {key: word for key, word in _SHOWN_IF_CHANGED.items() if key in recipe_facts(recipe)}
    words = ", ".join(f"{word} {recipe[key]}" for key, word in shown.items() if key in recipe)
    counts = data.train_counts
    each = " ".join(map(str, counts)) if len(counts) <= 10 else f"{max(counts):,} to {min(counts):,} per class"
    return [
        f"Equal for all rows: recipe {recipe['name']} ({words}); {sum(counts):,} training images in {len(counts)} "
        f"classes ({each}); {sum(data.test_counts):,} test images; data checksum {data.checksum[:8]}; "
        f"setting {setting.id}.",
        _epochs(setting),
        *_prerequisites(setting),
    ]


def _epochs(setting: Setting) -> str:
    """Sentence on the reported epoch and the number of epochs, which depends on the stages of a method."""
    by_label = {row.label: sorted({run.final.epoch + 1 for run in row.runs}) for row in setting.rows}
    totals = sorted({total for run in by_label.values() for total in run})
    if len(totals) == 1:
        return f"All numbers are those of the last epoch, after {counted(totals[0], 'epoch')}."
    each = ", ".join(f"{label} {' or '.join(map(str, run))}" for label, run in by_label.items())
    return f"All numbers are those of the last epoch; the number of epochs differs: {each}."


def _prerequisites(setting: Setting) -> list[str]:
    """One sentence for each method whose training is shared by the rows of other methods."""
    words = {"prefix": "first epochs", "network": "a finished network to learn from"}
    users: dict[str, dict[str, list[str]]] = {}
    for row in setting.rows:
        shared = {(part.method, part.use) for run in row.runs for part in run.cost.prerequisites}
        for method, use in sorted(shared):
            if method != row.method and use in words:
                users.setdefault(method, {}).setdefault(words[use], []).append(row.label)
    sentences = []
    for method, by_use in users.items():
        name = "ERM" if method == "erm" else method
        each = "; ".join(f"{word}: {', '.join(labels)}" for word, labels in sorted(by_use.items()))
        sentences.append(f"Taken from {name} runs, each trained once ({each}).")
    return sentences


def _dirty(run: Record) -> bool:
    """Whether a process of the run, or of a training that it builds on, ran code with uncommitted changes."""
    return any(process.get("dirty") for process in facts(run))


def _mixed(row: Row) -> str:
    """Label of a row, seeds of its runs with mixed environments, and the facts that differ; "" if there are none."""
    differing = {str(run.seed): mixed(run) for run in row.runs}
    names = dict.fromkeys(name for of_run in differing.values() for name in of_run)
    seeds = [seed for seed, of_run in differing.items() if of_run]
    return f"{row.label}, {_seeds(seeds)} ({', '.join(names)})" if seeds else ""


def _columns(setting: Setting) -> list[str]:
    tests = sorted(set(setting.dataset.test_counts))
    plain = (
        f"equal to plain accuracy, as every class has {tests[0]:,} test images"
        if len(tests) == 1
        else f"not the plain accuracy, as classes have {tests[0]:,} to {tests[-1]:,} test images"
    )
    return [
        f"Cells: accuracy in percent, mean ± sample standard deviation over seeds (one seed: the value). Overall: mean "
        f"of the per-class accuracies, {plain}. Groups: the same over the classes of the group, whose number is in "
        "brackets.",
        *(f"{_capital(grouping.rule)}." for grouping in setting.groupings),
        *missing_groups(setting),
    ]


def _origin(setting: Setting) -> list[str]:
    versions, torches, devices = (distinct(setting.runs, name) for name in ("ltbench", "torch", "device"))
    commits = sorted({commit[:8] for commit in distinct(setting.runs, "commit")})
    return [
        f"Made with ltbench {', '.join(versions)} (commit{'s' * (len(commits) > 1)} {', '.join(commits)}), "
        f"torch {', '.join(torches)}, on {', '.join(devices)}."
    ]


def _seeds(seeds: list[str]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
