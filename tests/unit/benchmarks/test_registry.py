"""Third-party methods, and errors that are detected when they are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.registry import configure, describe, load

HEAD = "from dataclasses import dataclass\nfrom ltbench.benchmarks.method import Method\n"


def outside(folder: Path, body: str, decorator: str = "@dataclass\n") -> str:
    """Write a method file with the given class body; return its path."""
    path = folder / "mine.py"
    path.write_text(f"{HEAD}{decorator}class Mine(Method):\n    {body}\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("body", ["criterion: str = 'erm'", "criterion: str", "criterion = 'erm'", "criterion = 3"])
@pytest.mark.parametrize("decorator", ["@dataclass\n", ""])
def test_a_field_with_the_name_of_a_hook_is_refused(body: str, decorator: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Mine\.criterion hides the hook criterion\(\) of Method"):
        load("methods", outside(tmp_path, body, decorator))


def test_a_misspelt_hook_is_refused_with_its_name(tmp_path: Path) -> None:
    body = "def criterium(self, logits, labels, now): return logits.sum()"
    with pytest.raises(UserError, match=r"Mine\.criterium is not a hook of Method; did you mean 'criterion'"):
        load("methods", outside(tmp_path, body))


CHOICES = "size: Literal[1, 3] = 1\n    wide: Literal[2, 4] | None = None\n    flag: bool = False"


def test_choices_that_are_no_texts_can_be_typed(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        f"{HEAD}from typing import Literal\n@dataclass\nclass Mine(Method):\n    {CHOICES}\n", encoding="utf-8"
    )
    mine = configure(load("methods", str(path)), {"size": "3", "wide": "4", "flag": "true"})
    assert (mine.size, mine.wide, mine.flag) == (3, 4, True)
    assert configure(load("methods", "rsg"), {"conv1_kernel": "3"}).conv1_kernel == 3
    with pytest.raises(UserError, match=r"size = '2': input should be 1 or 3"):
        configure(load("methods", str(path)), {"size": "2"})


def test_other_fields_and_hooks_are_accepted(tmp_path: Path) -> None:
    plugin = load("methods", outside(tmp_path, "strength: float = 0.5"))
    assert describe(plugin.cls) == [("strength", "0.5", "float", "")]
    assert plugin.source is not None
