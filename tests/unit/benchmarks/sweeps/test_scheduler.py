"""Order of the queue, waiting for shared trainings, and retries of units."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock
from helpers.sweep_processes import fake_snapshot, fake_unit
from ltbench.benchmarks.sweeps.scheduler import Queue, Scheduler, SweepListener
from ltbench.benchmarks.sweeps.status import FAILED, running_now
from ltbench.benchmarks.sweeps.units import SharedSnapshot, Unit

PREFIX = fake_snapshot("e", 8)
NETWORK = fake_snapshot("e", 10, own=False)


def take(queue: Queue) -> str | None:
    """Take the next unit that can start from the queue; return its id, or None if none can start."""
    unit = queue.take()
    return None if unit is None else unit.id


def train(runs: Path, snapshot: SharedSnapshot) -> None:
    """Create an empty file at the path of a snapshot, as if its epochs had been trained."""
    (runs / snapshot.path).parent.mkdir(exist_ok=True)
    (runs / snapshot.path).touch()


def test_shared_trainings_come_first_and_hold_the_others_back(tmp_path: Path) -> None:
    units = [fake_unit("a", PREFIX), fake_unit("b", PREFIX), fake_unit("e", method="erm"), fake_unit("c")]
    queue = Queue(units, tmp_path, tmp_path)
    assert take(queue) == "e"
    assert take(queue) == "c"  # a and b wait for epochs of e
    assert take(queue) is None
    train(tmp_path, PREFIX)
    assert [take(queue), take(queue)] == ["a", "b"]  # the snapshot exists, although e may still be running


def test_without_an_erm_run_one_unit_leads(tmp_path: Path) -> None:
    units = [fake_unit("a", PREFIX), fake_unit("b", PREFIX), fake_unit("z", fake_snapshot("other"))]
    queue = Queue(units, tmp_path, tmp_path)
    first, second = queue.take(), queue.take()
    assert first is not None
    assert second is not None
    assert (first.id, second.id) == ("a", "z")
    assert queue.take() is None
    queue.ended(first)  # it failed, so the next unit trains the snapshot
    assert take(queue) == "b"


def test_a_beginning_of_any_method_comes_first(tmp_path: Path) -> None:
    """Runs that other runs depend on come first, whatever their method; dependent runs wait for them."""
    middle = fake_snapshot("m")
    units = [fake_unit("a", middle), fake_unit("c"), fake_unit("m", PREFIX, method="drs"), fake_unit("e", method="erm")]
    queue = Queue(units, tmp_path, tmp_path)
    assert [unit.id for unit in queue.waiting] == ["e", "m", "a", "c"]
    assert [take(queue), take(queue), take(queue)] == ["e", "c", None]
    train(tmp_path, PREFIX)
    assert [take(queue), take(queue)] == ["m", None]
    train(tmp_path, middle)
    assert take(queue) == "a"


def test_a_unit_waits_until_all_its_snapshots_are_free(tmp_path: Path) -> None:
    other_seed = fake_snapshot("f", 10, own=False)
    queue = Queue([fake_unit("a", PREFIX), fake_unit("b", PREFIX, other_seed), fake_unit("f")], tmp_path, tmp_path)
    assert [take(queue), take(queue), take(queue)] == ["f", "a", None]
    train(tmp_path, PREFIX)
    assert take(queue) is None  # f has not finished its training
    train(tmp_path, other_seed)
    assert take(queue) == "b"


def test_first_epochs_do_not_serve_a_unit_that_needs_all(tmp_path: Path) -> None:
    erm, m2m = fake_unit("e", method="erm"), fake_unit("a", PREFIX, NETWORK)
    queue = Queue([m2m, erm], tmp_path, tmp_path)
    assert take(queue) == "e"
    train(tmp_path, PREFIX)
    assert take(queue) is None
    queue.ended(erm)
    assert take(queue) == "a"


def test_what_another_process_is_running_is_left_alone(tmp_path: Path) -> None:
    queue = Queue([fake_unit("a"), fake_unit("b"), fake_unit("c", fake_snapshot("a"))], tmp_path, tmp_path)
    (tmp_path / "a").mkdir()
    with FileLock(tmp_path / "a" / "run.lock"):
        assert take(queue) == "b"
        assert take(queue) is None
        assert running_now(tmp_path) == ["a: no log"]
    assert take(queue) == "a"


class Notes(SweepListener):
    """Listener that records how each unit ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []

    def ended(self, unit: Unit, how: str) -> None:
        self.ends.append((unit.id, how))


def test_a_process_that_dies_is_tried_three_times(tmp_path: Path) -> None:
    notes = Notes()
    scheduler = Scheduler([fake_unit("a")], tmp_path, tmp_path, notes)
    for _ in range(2):
        unit = scheduler.take()
        assert unit is not None
        assert not scheduler.waiting
        assert scheduler.died(unit, "killed by signal 9")
    assert scheduler.take() == unit
    assert not scheduler.died(unit, "killed by signal 9")
    assert not scheduler.waiting
    again = "died (killed by signal 9), will be retried"
    assert notes.ends == [("a", again), ("a", again), ("a", "failed")]
    reason = "died 3 times, killed by signal 9; last line: none"
    assert scheduler.outcome.failed == {"a": ("a", reason)}
    assert (tmp_path / "a" / FAILED).read_text() == reason + "\n"


@pytest.mark.parametrize("requeue", [True, False])
def test_an_interrupted_unit_waits_again_where_asked(requeue: bool, tmp_path: Path) -> None:
    notes = Notes()
    scheduler = Scheduler([fake_unit("a", PREFIX), fake_unit("b", PREFIX)], tmp_path, tmp_path, notes)
    unit = scheduler.take()
    assert unit is not None
    scheduler.stopped(unit, requeue)
    assert notes.ends == [("a", "stopped")]
    following = scheduler.take()
    assert following is not None
    assert following.id == ("a" if requeue else "b")


def test_a_damaged_record_counts_as_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    scheduler = Scheduler([fake_unit("a")], tmp_path, tmp_path, SweepListener())
    assert not scheduler.waiting
    assert "a.json" in scheduler.outcome.failed["a"][1]
