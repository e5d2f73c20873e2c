"""The cards of the suite's methods, read from their files without importing them, for a report that needs no torch."""

from __future__ import annotations

import ast
from pathlib import Path

METHODS = Path(__file__).parents[2] / "methods"


def method_cards() -> dict[str, str]:
    """Name of a method to its card, the docstring of its file."""
    files = sorted(path for path in METHODS.glob("*.py") if not path.stem.startswith("_"))
    texts = {path.stem.replace("_", "-"): ast.get_docstring(ast.parse(path.read_text("utf-8"))) for path in files}
    return {name: text for name, text in texts.items() if text}
