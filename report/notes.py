"""What stands below a table: what its rows share, how its columns are defined, and what a reader must be warned of."""

from __future__ import annotations

from ..benchmarks.record import recipe_facts
from .statistics import Setting

_SHOWN = {"backbone": "backbone", "epochs": "epochs", "batch_size": "batch", "precision": "precision"}
_SHOWN_IF_CHANGED = {"augment": "augmentation", "cutout": "Cutout", "optimiser": "optimiser"}


def notes(setting: Setting) -> list[str]:
    """Sentences for below a leaderboard, warnings first."""
    return [*warnings(setting), *_shared(setting), *_columns(setting), *_origin(setting)]


def warnings(setting: Setting) -> list[str]:
    """Sentences that restrict what the numbers may be used for."""
    found = []
    if setting.dataset.verified is False:
        found.append("Verified: no. The dataset's files do not match the published checksums.")
    dirty = {row.label: [str(run.seed) for run in row.runs if run.environment.dirty] for row in setting.rows}
    if any(dirty.values()):
        each = "; ".join(f"{label}, {_seeds(seeds)}" for label, seeds in dirty.items() if seeds)
        found.append(f"Made with uncommitted changes: {each}.")
    repeats = [(row.label, row.repeats) for row in setting.rows if row.repeats]
    return found + [
        f"{label}: {n} record(s) repeat a run that is there already and were left out." for label, n in repeats
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
    ]


def _epochs(setting: Setting) -> str:
    """The rule of selection, and the epochs run, which a method with a second stage may extend."""
    by_label = {row.label: sorted({run.final.epoch + 1 for run in row.runs}) for row in setting.rows}
    totals = sorted({total for run in by_label.values() for total in run})
    if len(totals) == 1:
        return f"Every number is of the last epoch, after {totals[0]} epochs."
    each = ", ".join(f"{label} {' or '.join(map(str, run))}" for label, run in by_label.items())
    return f"Every number is of the last epoch; epochs run differ: {each}."


def _columns(setting: Setting) -> list[str]:
    tests = sorted(set(setting.dataset.test_counts))
    plain = (
        f"equal to plain accuracy, as every class has {tests[0]:,} test images"
        if len(tests) == 1
        else f"not the plain accuracy, as classes have {tests[0]:,} to {tests[-1]:,} test images"
    )
    return [
        f"Cells: accuracy in percent, mean ± sample standard deviation over seeds (one seed: the value). Overall: mean "
        f"of the per-class accuracies, {plain}. Groups: the same over their classes; in brackets how many.",
        f"{_capital(setting.shots.rule)}.",
        f"{_capital(setting.parts.rule)}.",
        *missing_groups(setting),
    ]


def _origin(setting: Setting) -> list[str]:
    places = [run.environment for run in setting.runs]
    commits = sorted({place.commit[:8] if place.commit else "unknown" for place in places})
    versions = sorted({place.ltbench for place in places})
    torches = sorted({place.torch for place in places})
    devices = sorted({place.device for place in places})
    return [
        f"Made with ltbench {', '.join(versions)} (commit{'s' * (len(commits) > 1)} {', '.join(commits)}), "
        f"torch {', '.join(torches)}, on {', '.join(devices)}."
    ]


def _seeds(seeds: list[str]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
