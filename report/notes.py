"""The notes below a leaderboard: warnings, what its rows have in common, and how its columns are defined."""

from __future__ import annotations

from ..benchmarks.records.schema import Environment, Prerequisite, Record, recipe_facts
from ..benchmarks.utils.formatting import counted
from .statistics import Setting

_SHOWN = {"backbone": "backbone", "epochs": "epochs", "batch_size": "batch", "precision": "precision"}
_SHOWN_IF_CHANGED = {"augment": "augmentation", "cutout": "Cutout", "optimiser": "optimiser"}


def notes(setting: Setting) -> list[str]:
    """Sentences for below a leaderboard, warnings first."""
    return [*warnings(setting), *_shared(setting), *_columns(setting), *_origin(setting)]


def warnings(setting: Setting) -> list[str]:
    """Sentences that restrict what the numbers may be used for."""
    sentences = []
    if setting.dataset.verified is False:
        sentences.append("Verified: no. The dataset's files do not match the published checksums.")
    most = max(row.overall.n for row in setting.rows)
    fewer = ", ".join(f"{row.label} {row.overall.n}" for row in setting.rows if row.overall.n < most)
    if fewer:
        sentences.append(f"Fewer seeds than {most}: {fewer}. These rows are not ranked with those of more seeds.")
    dirty = {row.label: [str(run.seed) for run in row.runs if _dirty(run)] for row in setting.rows}
    if any(dirty.values()):
        each = "; ".join(f"{label}, {_seeds(seeds)}" for label, seeds in dirty.items() if seeds)
        sentences.append(f"Made with uncommitted changes: {each}.")
    repeats = [(row.label, row.repeats) for row in setting.rows if row.repeats]
    return sentences + [
        f"{label}: {counted(n, 'record')} left out, which repeat{'s' * (n == 1)} a run that is there already."
        for label, n in repeats
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
    """The rule of selection, and the number of epochs, which differs between rows if a method adds a stage."""
    by_label = {row.label: sorted({run.final.epoch + 1 for run in row.runs}) for row in setting.rows}
    totals = sorted({total for run in by_label.values() for total in run})
    if len(totals) == 1:
        return f"All numbers are those of the last epoch, after {counted(totals[0], 'epoch')}."
    each = ", ".join(f"{label} {' or '.join(map(str, run))}" for label, run in by_label.items())
    return f"All numbers are those of the last epoch; epochs run differ: {each}."


def _prerequisites(setting: Setting) -> list[str]:
    """A sentence for each method whose trainings other rows build on."""
    words = {"prefix": "first epochs", "network": "a finished network to learn from"}
    users: dict[str, dict[str, list[str]]] = {}
    for row in setting.rows:
        shared = {(part.method, part.use) for run in row.runs for part in run.cost.prerequisites}
        for method, use in sorted(shared):
            if method != row.runs[0].method:
                users.setdefault(method, {}).setdefault(words[use], []).append(row.label)
    sentences = []
    for method, by_use in users.items():
        name = "ERM" if method == "erm" else method
        each = "; ".join(f"{word}: {', '.join(labels)}" for word, labels in sorted(by_use.items()))
        sentences.append(f"Taken from the {name} run of the same seed, trained once ({each}).")
    return sentences


def _dirty(run: Record) -> bool:
    """Whether the run, or a training that it builds on, was made with uncommitted changes."""
    return bool(run.environment.dirty) or any(part.dirty for part in run.cost.prerequisites)


def _columns(setting: Setting) -> list[str]:
    tests = sorted(set(setting.dataset.test_counts))
    plain = (
        f"equal to plain accuracy, as every class has {tests[0]:,} test images"
        if len(tests) == 1
        else f"not the plain accuracy, as classes have {tests[0]:,} to {tests[-1]:,} test images"
    )
    return [
        f"Cells: accuracy in percent, mean ± sample standard deviation over seeds (one seed: the value). Overall: mean "
        f"of the per-class accuracies, {plain}. Groups: the same over the classes of the group; their number is in "
        "brackets.",
        *(f"{_capital(grouping.rule)}." for grouping in setting.groupings),
        *missing_groups(setting),
    ]


def _origin(setting: Setting) -> list[str]:
    versions = sorted({run.environment.ltbench for run in setting.runs})
    trainings: list[Environment | Prerequisite] = [run.environment for run in setting.runs]
    trainings += [part for run in setting.runs for part in run.cost.prerequisites]
    commits = sorted({training.commit[:8] if training.commit else "unknown" for training in trainings})
    torches = sorted({training.torch for training in trainings if training.torch})
    devices = sorted({training.device for training in trainings if training.device})
    return [
        f"Made with ltbench {', '.join(versions)} (commit{'s' * (len(commits) > 1)} {', '.join(commits)}), "
        f"torch {', '.join(torches)}, on {', '.join(devices)}."
    ]


def _seeds(seeds: list[str]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
