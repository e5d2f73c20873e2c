"""Draw and write the figures of all settings: only those whose contents have changed, several settings at once."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..benchmarks.utils.atomic_write import write_atomically
from .logits import Scores
from .plots import figures
from .statistics import Setting
from .style import light, save, style

_ALONE = 2  # settings up to which starting other processes takes longer than it saves
_PAGE = "page"  # folder of the small SVGs that the HTML page holds


@dataclass(frozen=True)
class Job:
    """The figures of one setting.

    Attributes:
        setting: what to draw.
        scores: by record id, of the setting's runs that have logits.
        formats: of the files.
        folder: to write to.
    """

    setting: Setting
    scores: dict[str, Scores]
    formats: tuple[str, ...]
    folder: Path

    @property
    def stem(self) -> str:
        """How the files' names begin."""
        title = re.sub(r"[^A-Za-z0-9=._-]+", "-", self.setting.title).strip("-.")[:60]
        return f"{title}-{self.setting.id}"

    @property
    def marker(self) -> Path:
        """The file that says what was drawn from which contents."""
        return self.folder / _PAGE / f"{self.stem}.json"

    def path(self, name: str, suffix: str) -> Path:
        """Where a figure lies."""
        return self.folder / f"{self.stem}-{name}.{suffix}"

    def small(self, name: str) -> Path:
        """Where its small SVG lies."""
        return self.folder / _PAGE / f"{self.stem}-{name}.svg"

    def digest(self) -> str:
        """Hash of all that the figures depend on, the code that draws them included."""
        made = hashlib.sha256(f"{_code()} {self.formats} {self.setting!r}".encode())
        for name, found in sorted(self.scores.items()):
            made.update(name.encode() + found.hits.tobytes() + found.told.tobytes() + found.bins.tobytes())
        return made.hexdigest()

    def drawn(self) -> list[str] | None:
        """Names of the figures if they are there, drawn from the same contents; else None."""
        try:
            told = json.loads(self.marker.read_text("utf-8"))
            names = list(told["names"])
            if told["digest"] != self.digest():
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        files = [path for n in names for path in (self.small(n), *(self.path(n, suffix) for suffix in self.formats))]
        return names if all(path.is_file() for path in files) else None


def draw_all(jobs: Sequence[Job], say: Callable[[str], None]) -> list[list[str]]:
    """Draw what is missing or out of date, and say so; for each job the names of its figures, in order.

    Raises:
        UserError: a file cannot be written.
    """
    names = {job.stem: job.drawn() for job in jobs}
    stale = [job for job in jobs if names[job.stem] is None]
    if stale:
        say(f"Drawing the figures of {len(stale)} setting(s), some seconds for each.")
    if len(stale) <= _ALONE or _cores() == 1:
        made = [draw(job) for job in stale]
    else:
        # Spawned: a fork would copy the locks of whatever threads the caller runs.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(_cores(), len(stale)), mp_context=context) as pool:
            made = list(pool.map(draw, stale))
    fresh = {job.stem: found for job, found in zip(stale, made, strict=True)}
    return [names[job.stem] or fresh.get(job.stem, []) for job in jobs]


@style()
def draw(job: Job) -> list[str]:
    """Draw and write the figures of one setting; their names."""
    names = []
    for name, figure in figures(job.setting, job.scores).items():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # what was laid out once fits all formats
        for suffix in job.formats:
            write_atomically(job.path(name, suffix), save(figure, suffix), durable=False)
        write_atomically(job.small(name), light(figure), durable=False)
        names.append(name)
    write_atomically(job.marker, json.dumps({"digest": job.digest(), "names": names}), durable=False)
    return names


@cache
def _code() -> str:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
