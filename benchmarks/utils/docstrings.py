"""Names and cards of built-in plugins and names of backbones, parsed from their files without importing torch."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BACKBONES = ROOT / "benchmarks" / "nn" / "backbones"
OTHER = "other"  # family of methods that do not name one, such as those outside the suite
# What a method mainly changes, in the order of tables and figures.
FAMILIES = (
    "baseline",
    "re-weighting",
    "margin",
    "sampling",
    "prior",
    "decoupled",
    "mixing",
    "generation",
    "bilateral",
    "pre-training",
    OTHER,
)


def method_cards() -> dict[str, str]:
    """Map each method's name to its card, the docstring of its module."""
    return {name: card for name, card, _ in plugin_cards("methods") if card}


def method_families() -> dict[str, str]:
    """Map each built-in method's name to its family."""
    return {name: family(card) for name, card in method_cards().items()}


def family(card: str) -> str:
    """Family in the line `Family: NAME` of a method's card; "other" if there is no such line or family."""
    line = re.search(r"^Family: (.+)$", card, re.MULTILINE)
    return line[1] if line and line[1] in FAMILIES else OTHER


def plugin_cards(kind: str) -> Iterator[tuple[str, str, bool]]:
    """Yield the name and card of each built-in plugin, and whether its name takes a path, as in `folder:PATH`.

    Args:
        kind: "methods" or "datasets".
    """
    files = {path.stem.replace("_", "-"): path for path in (ROOT / kind).glob("*.py") if not path.stem.startswith("_")}
    for name, path in sorted(files.items()):
        tree = ast.parse(path.read_text("utf-8"))
        with_path = any(isinstance(node, ast.AnnAssign) and _name(node) == "paths" for node in ast.walk(tree))
        yield name, ast.get_docstring(tree) or "", with_path


def backbone_names() -> list[str]:
    """Names of the built-in backbones: the keys of every dictionary `BACKBONES`."""
    trees = [ast.parse(path.read_text("utf-8")) for path in BACKBONES.glob("*.py")]
    values = [
        node.value
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.Assign) and _name(node) == "BACKBONES"
    ]
    return sorted(ast.literal_eval(key) for value in values if isinstance(value, ast.Dict) for key in value.keys if key)


def _name(node: ast.Assign | ast.AnnAssign) -> str:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return target.id if isinstance(target, ast.Name) else ""
