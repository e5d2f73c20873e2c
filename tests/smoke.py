"""The smoke benchmark: every method found, on tiny subsets of digits-lt and waves-lt, through the command line.

Fails if a run fails (a non-finite loss does), a record is missing or invalid, or a method learns nothing (less
than twice the accuracy of chance on the test split). Takes under two minutes on two cores.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from ltbench.benchmarks.record import Record, read_all
from ltbench.benchmarks.registry import names

TINY = {
    "digits-lt": ["--imbalance", "10", "--epochs", "20", "--set", "dataset.n_max=60"],
    "waves-lt": ["--imbalance", "10", "--epochs", "12", "--set", "dataset.n_max=80", "--set", "dataset.difficulty=0.25",
                 "--set", "dataset.test_per_class=20", "--set", "recipe.batch_size=32"],
}  # fmt: skip


def learned(record: Record) -> bool:
    """Twice the accuracy of chance on the balanced test split."""
    tests = record.dataset.test_counts
    return sum(record.final.correct) / sum(tests) >= 2 / len(tests)


def main() -> None:
    """Run, then check."""
    methods = names("methods")
    with tempfile.TemporaryDirectory() as folder:
        for dataset, options in TINY.items():
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "ltbench.bench",
                    "run",
                    "--method",
                    ",".join(methods),
                    "--dataset",
                    dataset,
                    *options,
                ]
                + ["--device", "cpu", "--results", f"{folder}/results", "--runs", f"{folder}/runs"],
                check=True,
            )
        records, problems = read_all(Path(folder, "results"))
    found = {(record.dataset.name, record.method): record for record in records}
    problems += [f"no record of {m} on {d}" for d in TINY for m in methods if (d, m) not in found]
    problems += [f"{m} learned nothing on {d}" for (d, m), record in found.items() if not learned(record)]
    if problems:
        sys.exit("smoke benchmark failed:\n" + "\n".join(problems))
    print(f"smoke benchmark passed: {len(methods)} methods on {len(TINY)} datasets")


if __name__ == "__main__":
    main()
