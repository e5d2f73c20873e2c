"""Draw and write the figures of all settings in parallel, skipping those whose contents have not changed."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...benchmarks.utils.atomic_write import write_atomically
from ...benchmarks.utils.formatting import counted
from ...benchmarks.utils.signals import Stopped, ignored_interrupts
from ..logits import Scores
from ..statistics import Setting
from . import figures
from .style import light, save, style

_ALONE = 2  # largest number of settings for which starting processes does not pay off
_PAGE = "page"  # folder of the small SVGs for the HTML page


@dataclass(frozen=True)
class Job:
    """Task of drawing the figures of one setting.

    Attributes:
        setting: setting to draw.
        scores: scores by record id, for the runs of the setting that have logits.
        formats: file formats, such as `png`.
        folder: folder to write to.
    """

    setting: Setting
    scores: Mapping[str, Scores]
    formats: tuple[str, ...]
    folder: Path

    @property
    def stem(self) -> str:
        """Common prefix of the file names."""
        title = re.sub(r"[^A-Za-z0-9=._-]+", "-", self.setting.title).strip("-.")[:60]
        return f"{title}-{self.setting.id}"

    @property
    def marker(self) -> Path:
        """Path of the file that records which figures were drawn, and the digest of their contents."""
        return self.folder / _PAGE / f"{self.stem}.json"

    def path(self, name: str, suffix: str) -> Path:
        """Path of a figure's file."""
        return self.folder / f"{self.stem}-{name}.{suffix}"

    def small(self, name: str) -> Path:
        """Path of a figure's small SVG for the HTML page."""
        return self.folder / _PAGE / f"{self.stem}-{name}.svg"

    def digest(self) -> str:
        """Hash of everything that the figures depend on, including the code that draws them."""
        contents = hashlib.sha256(f"{_code()} {self.formats} {self.setting!r}".encode())
        for name, scores in sorted(self.scores.items()):
            arrays = (scores.hits, scores.hits_by_prior, scores.bins)
            contents.update(name.encode() + b"".join(array.tobytes() for array in arrays))
        return contents.hexdigest()

    def drawn(self) -> list[str] | None:
        """Names of the figures if all their files exist and are up to date, else None."""
        try:
            marker = json.loads(self.marker.read_text("utf-8"))
            names = list(marker["names"])
            if marker["digest"] != self.digest():
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        files = [path for n in names for path in (self.small(n), *(self.path(n, suffix) for suffix in self.formats))]
        return names if all(path.is_file() for path in files) else None


def draw_all(jobs: Sequence[Job], say: Callable[[str], None], processes: int | None = None) -> list[list[str]]:
    """Draw figures that are missing or out of date; return the names of the figures of each job, in order.

    Args:
        jobs: jobs with different stems.
        say: callback that receives a sentence before drawing begins.
        processes: number of parallel processes; None for one per core.

    Raises:
        UserError: a file cannot be written.
    """
    names = {job.stem: job.drawn() for job in jobs}
    stale = [job for job in jobs if names[job.stem] is None]
    if stale:
        say(f"Drawing the figures of {counted(len(stale), 'setting')}, some seconds for each.")
    processes = min(processes or _cores(), len(stale))
    if len(stale) <= _ALONE or processes == 1:
        drawn = [draw(job) for job in stale]
    else:
        # Spawned because a fork would copy locks that threads of the caller hold.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            drawn = _draw_in(pool, stale)
    new = {job.stem: of_job for job, of_job in zip(stale, drawn, strict=True)}
    return [names[job.stem] or new.get(job.stem, []) for job in jobs]


def _draw_in(pool: ProcessPoolExecutor, jobs: Sequence[Job]) -> list[list[str]]:
    """Draw in the processes of a pool, and terminate them if this process is interrupted."""
    with ignored_interrupts():
        drawn = pool.map(draw, jobs)
    try:
        return list(drawn)
    except (KeyboardInterrupt, Stopped):
        for process in multiprocessing.active_children():
            process.terminate()
        raise


@style()
def draw(job: Job) -> list[str]:
    """Draw and write the figures of one setting; return their names."""
    names = []
    for name, figure in figures(job.setting, job.scores).items():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # one layout serves all formats
        for suffix in job.formats:
            write_atomically(job.path(name, suffix), save(figure, suffix), durable=False)
        write_atomically(job.small(name), light(figure), durable=False)
        names.append(name)
    write_atomically(job.marker, json.dumps({"digest": job.digest(), "names": names}), durable=False)
    return names


def drawing_code() -> list[Path]:
    """Source files that the figures may depend on: all that this module imports, and a few more."""
    report = Path(__file__).parents[1]
    benchmarks = report.parent / "benchmarks"
    below = [path for folder in (report, benchmarks / "records", benchmarks / "utils") for path in folder.rglob("*.py")]
    return sorted([*below, *benchmarks.glob("*.py")])


@cache
def _code() -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in drawing_code())).hexdigest()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
