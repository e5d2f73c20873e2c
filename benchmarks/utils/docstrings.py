"""Cards of the built-in methods, parsed from their files, so that the report need not import torch."""

from __future__ import annotations

import ast
from pathlib import Path

METHODS = Path(__file__).parents[2] / "methods"


def method_cards() -> dict[str, str]:
    """Map each method's name to its card, the docstring of its module."""
    files = sorted(path for path in METHODS.glob("*.py") if not path.stem.startswith("_"))
    texts = {path.stem.replace("_", "-"): ast.get_docstring(ast.parse(path.read_text("utf-8"))) for path in files}
    return {name: text for name, text in texts.items() if text}
