"""The call stack from the command to a method's loss is short and passes through few files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import ltbench.bench
from helpers.command import Answer

ROOT = Path(ltbench.bench.__file__).parent
FRAMES, FILES = 7, 6  # upper limits: frames after that of the command; files, including the method's
METHOD = '''"""Writes the call stack of its loss to a file."""
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from ltbench.benchmarks.method import Method

@dataclass
class Stack(Method):
    def loss(self, net, batch, now):
        frames = [(frame.filename, frame.function) for frame in reversed(inspect.stack(context=0))]
        Path("stack.json").write_text(json.dumps(frames))
        return super().loss(net, batch, now)
'''


def test_from_the_command_to_the_loss_there_are_few_frames(cli: Callable[..., Answer]) -> None:
    Path("stack.py").write_text(METHOD)
    words = ("run", "-m", "stack.py", "-d", "digits-lt", "--imbalance", "5", "--epochs", "1")
    assert cli(*words, "--device", "cpu").code == 0
    own = {str(path) for path in ROOT.rglob("*.py")} | {str(Path("stack.py").resolve()), "stack.py"}
    frames = [(path, name) for path, name in json.loads(Path("stack.json").read_text()) if path in own]
    first = frames.index((str(ROOT / "benchmarks" / "cli" / "run.py"), "run"))
    way = frames[first:]
    assert way[-1][1] == "loss"
    assert len(way) - 1 <= FRAMES, way
    assert len({path for path, _ in way}) <= FILES, way
    assert [name for _, name in way if name in ("run", "execute", "train", "step", "loss")] == [
        "run", "execute", "train", "step", "loss",
    ]  # fmt: skip
