"""Errors in the class of a plugin that would otherwise be silently ignored."""

from __future__ import annotations

from pathlib import Path

import pytest
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.registry import load

HEAD = (
    "from dataclasses import dataclass, field\nfrom pathlib import Path\nfrom typing import Annotated, Any, Literal\n"
    "import numpy, torch\nfrom ltbench.benchmarks.method import *\nfrom ltbench.benchmarks.method import Method\n"
)

FAULTS = {
    "def __init__(self): self.x = 1": r"Mine has its own __init__, which would not be called",
    "strength = 0.5": r"Mine\.strength has no type .* write strength: float = 0\.5",
    "norm = 'full'": r"Mine\.norm has no type",
    "folder: Path = Path('x')": r"Mine\.folder: a record cannot contain Path",
    "weights: torch.Tensor | None = None": r"Mine\.weights: a record cannot contain",
    "chosen: set[int] = field(default_factory=set)": r"Mine\.chosen: a record cannot contain",
    "pair: tuple[int, numpy.ndarray] | None = None": r"Mine\.pair: a record cannot contain",
    "def criterion(self, logits, labels): return logits.sum()": r"write def criterion\(self, logits, labels, now\)",
    "def loss(self, net, images, labels, now): return net(images).sum()": r"write def loss\(self, net, batch, now\)",
    "@staticmethod\n    def finish(net): return net": r"write def finish\(self, net, train\)",
    "def stages(self, epochs, extra): return []": r"write def stages\(self, epochs\)",
    "def sample(self, counts, now): return None": None,  # a helper: no hook has a similar name
}

SOUND = (
    "strength: Annotated[float, 'x'] = 0.5",
    "size: Literal[1, 3] | None = None",
    "values: dict[str, Any] = field(default_factory=dict)",
    "steps: tuple[tuple[float, int], ...] = ()",
    "LIMIT = 3",
    "def criterion(self, logits, labels, now, scale=1.0): return logits.sum()",
    "def loss(self, *arguments): return 0",
    "def __post_init__(self): pass",
)


def method_file(folder: Path, body: str, name: str = "mine") -> str:
    """Write a method file with the given class body; return its path."""
    path = folder / f"{name}.py"
    path.write_text(f"{HEAD}@dataclass\nclass Mine(Method):\n    {body}\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("body", FAULTS)
def test_a_class_with_a_fault_is_refused_by_name(body: str, tmp_path: Path) -> None:
    path = method_file(tmp_path, body)
    if FAULTS[body] is None:
        assert load("methods", path).source is not None
        return
    with pytest.raises(UserError, match=FAULTS[body]):
        load("methods", path)


@pytest.mark.parametrize("body", SOUND)
def test_a_sound_class_is_accepted(body: str, tmp_path: Path) -> None:
    assert load("methods", method_file(tmp_path, body)).source is not None


@pytest.mark.parametrize("name", ["recipe", "dataset", "base", "my method", "mine.v2", "é"])
def test_a_name_that_cannot_be_typed_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be"):
        load("methods", method_file(tmp_path, "strength: float = 0.5", name))
