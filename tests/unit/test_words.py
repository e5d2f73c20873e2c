"""Names in the code are specific: no vague words, and no words that the field does not use."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import ltbench.bench
import pytest

ROOT = Path(ltbench.bench.__file__).parent
VAGUE = {"found", "made", "given", "known", "seen", "one", "told"}
INSTEAD = {  # word to the term of the field
    "share": "fraction",
    "shares": "fractions",
    "chance": "probability",
    "chances": "probabilities",
    "deviation": "std",
    "late": "after_start",
    "early": "before_start",
    "still": "detached",
    "doubt": "confusion",
}
FOLDERS = ("benchmarks", "datasets", "methods", "report", "tests")
FILES = sorted([*ROOT.glob("*.py"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))])


def stored_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line number and name of every variable, argument and attribute that a module assigns."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield node.lineno, name


def vague_names(path: Path) -> list[str]:
    """`line: name` for every assigned name that is in VAGUE or INSTEAD."""
    names = stored_names(ast.parse(path.read_text(encoding="utf-8")))
    return [f"{line}: {name}" for line, name in names if name.strip("_") in VAGUE | INSTEAD.keys()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_specific(path: Path) -> None:
    assert not vague_names(path)


def test_the_check_reads_every_kind_of_name(tmp_path: Path) -> None:
    path = tmp_path / "words.py"
    path.write_text(
        "import numpy as found\n"
        "def f(share, *, known=1): made = share\n"
        "class C:\n    chance: float = 0.5\n"
        "self.told_ = [one for one in ()]\n"
        "first, (late, *seen) = 1, (2, 3)\n"
        "print(given.deviation)\n"
    )
    names = [line.split(": ")[1] for line in vague_names(path)]
    assert sorted(names) == ["chance", "found", "known", "late", "made", "one", "seen", "share", "told_"]
