"""Provenance of a run: code, software and hardware of all processes that trained and evaluated it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..benchmarks.records.parts import Environment, TrainedEpochs
from ..benchmarks.records.schema import Record

Facts = dict[str, object]


def facts(run: Record) -> list[Facts]:
    """Facts about the environment, by name, of each process that computed a run or the shared training before it.

    Unknown facts are left out, except that an unknown commit is "unknown". Records of older versions describe only the
    last process of shared training, with few facts.
    """
    processes = [vars(run.environment), *(vars(part.environment) for part in run.trained)]
    for shared in run.cost.prerequisites:
        processes += [vars(part.environment) for part in shared.trained]
        if not shared.trained:
            processes.append({name: getattr(shared, name) for name in ("commit", "dirty", "torch", "device")})
    return [{"commit": "unknown"} | _stated(process) for process in processes]


def _stated(process: Mapping[str, object]) -> Facts:
    return {name: value for name, value in process.items() if value is not None and name != "bf16"}


def mixed(run: Record) -> list[str]:
    """Names of the facts that differ between the processes of a run."""
    values: dict[str, set[object]] = {}
    for process in facts(run):
        for name, value in process.items():
            values.setdefault(name, set()).add(value)
    return [_WORDS.get(name, name) for name, different in values.items() if len(different) > 1]


_WORDS = {"dirty": "uncommitted changes", "cpu": "processor"}


def distinct(runs: Sequence[Record], name: str) -> list[str]:
    """Distinct values of a fact over all processes of some runs, as sorted strings."""
    return sorted({str(process[name]) for run in runs for process in facts(run) if name in process})


def commits(run: Record) -> str:
    """Abbreviated commits of all processes of a run, separated by commas; a star marks uncommitted changes."""
    return ", ".join(
        sorted({f"{str(process['commit'])[:8]}{'*' * (process.get('dirty') is True)}" for process in facts(run)})
    )


def parts_in_words(run: Record) -> str:
    """Environment of each span of epochs and of the evaluation, as a string; "" if all environments are equal."""
    if all(part.environment == run.environment for part in run.trained):
        return ""
    evaluation = f"evaluation: {_in_words(run.environment)}"
    return "; ".join([*(f"{span}: {_in_words(environment)}" for span, environment in _spans(run.trained)), evaluation])


def _spans(trained: list[TrainedEpochs]) -> Iterator[tuple[str, Environment]]:
    before = 0
    for part in trained:
        last = before + part.epochs
        yield f"epochs {before + 1} to {last}" if part.epochs > 1 else f"epoch {last}", part.environment
        before = last


def _in_words(environment: Environment) -> str:
    changed = " with uncommitted changes" if environment.dirty else ""
    return (
        f"commit {(environment.commit or 'unknown')[:8]}{changed}, torch {environment.torch}, {environment.device}, "
        f"{environment.threads} thread(s)"
    )
