"""Smoke benchmark: the suite `smoke`, with every method on tiny subsets of digits-lt and waves-lt.

Fails if a run fails (for example with a non-finite loss), if a record is missing or invalid, or if a method learns
nothing (a test accuracy below twice the chance level). Takes under two minutes on two cores.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from ltbench.benchmarks.records.schema import Record
from ltbench.benchmarks.records.store import read_all
from ltbench.benchmarks.records.suites import read_suite
from ltbench.benchmarks.registry import names
from ltbench.benchmarks.sweeps.status import finished
from ltbench.benchmarks.sweeps.units import make_units


def learned(record: Record) -> bool:
    """Whether the accuracy on the balanced test split is at least twice the chance level."""
    tests = record.dataset.test_counts
    return sum(record.final.correct) / sum(tests) >= 2 / len(tests)


def main() -> None:
    """Run the sweep and check its records."""
    sweep = [sys.executable, "-m", "ltbench.bench", "sweep", "smoke", "--jobs", "2"]
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results")
        subprocess.run([*sweep, "--results", str(results), "--runs", f"{folder}/runs"], check=True)
        records, problems = read_all(results)
        problems += [
            f"no record {unit.record}" for unit in make_units(read_suite("smoke")) if not finished(unit, results)
        ]
    problems += [f"{r.method} learned nothing on {r.dataset.name}" for r in records if not learned(r)]
    missing = set(names("methods")) - {record.method for record in records}
    problems += [f"no record of {name}" for name in sorted(missing)]
    if problems:
        sys.exit("smoke benchmark failed:\n" + "\n".join(problems))
    print(f"smoke benchmark passed: {len(names('methods'))} methods, {len(records)} runs")


if __name__ == "__main__":
    main()
