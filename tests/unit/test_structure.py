"""Import rules between folders, contents of the package, commands that need no torch, and the committed schema."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import ltbench.bench
import pytest
from helpers.tiny import carry_out, tiny_run
from ltbench import __version__
from ltbench.benchmarks.records.schema import json_schema
from ltbench.benchmarks.utils.docstrings import backbone_names, plugin_cards

ROOT = Path(ltbench.bench.__file__).parent
TOP = ("benchmarks", "datasets", "methods", "report")
LAYERS = (
    ("utils", "nn", "data"),
    ("records",),
    ("training",),
    ("speed",),
    ("sweeps",),
    ("advice",),
    ("cli",),
)  # folders above the flat files, lowest layer first
PLUGIN_VIEW = {"method", "network", "nn", "precision", "errors"}
MAY = {  # allowed imports within the suite by folder; for benchmarks see LAYERS
    "datasets": {"benchmarks.split", "benchmarks.data", "benchmarks.errors", "datasets._shared"},
    "methods": {f"benchmarks.{name}" for name in PLUGIN_VIEW} | {"methods._shared"},
    "report": {"benchmarks.records", "benchmarks.recipe", "benchmarks.errors", "benchmarks.utils", "report"},
}
EXCEPTIONS = {"methods/_shared/base.py": {"benchmarks.registry"}}  # looks up the base of a method by its name
STANDARD = set(sys.stdlib_module_names) | {"__future__"}
LIBRARIES = {
    "benchmarks": {"torch", "torchvision", "timm", "numpy", "pydantic", "annotated_types", "filelock", "rich",
                   "rich_click", "ray", "PIL", "safetensors", "huggingface_hub", "scipy"},
    "datasets": {"torch", "torchvision", "numpy", "sklearn", "PIL", "annotated_types"},
    "methods": {"torch"},
    "report": {"pandas", "matplotlib", "numpy", "scipy", "scikit_posthocs", "pydantic", "rich", "rich_click", "jinja2",
               "tabulate"},
}  # fmt: skip


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in TOP
    for path in files(folder)
}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, including lazy and type-checking imports.

    Names of this project have no `ltbench.` prefix: they begin with a top-level folder, as in `benchmarks.errors`.
    """
    package = path.relative_to(ROOT).parent.parts
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("ltbench.") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*parent, *([node.module] if node.module else [])])
            module = module if node.level else module.removeprefix("ltbench.")
            nested = {f"{module}.{alias.name}".strip(".") for alias in node.names}
            names |= {name if name in MODULES or not module else module for name in nested}
    return names


def layer(parts: tuple[str, ...]) -> int:
    """Index of the layer to which a module of `benchmarks` belongs; 0 for the flat files."""
    return next((k for k, folders in enumerate(LAYERS, 1) if parts[1] in folders), 0)


def forbidden(path: Path) -> Iterator[str]:
    """Names that a file must not import: those of a higher layer, of another folder or of an outside library."""
    own = path.relative_to(ROOT).parts
    for name in sorted(imports(path)):
        parts = tuple(name.split("."))
        if parts[0] not in TOP:
            if parts[0] not in STANDARD | LIBRARIES[own[0]] | {"__version__"}:
                yield name
        elif own[0] == "benchmarks":
            allowed = parts[0] == "benchmarks" and (
                layer(parts) < layer(own) or (layer(parts) == layer(own) and (not layer(own) or parts[1] == own[1]))
            )
            if not allowed and not (own[1] == "cli" and parts[0] == "report"):
                yield name
        elif not any(
            name == other or name.startswith(f"{other}.")
            for other in MAY[own[0]] | EXCEPTIONS.get("/".join(own), set())
        ):
            yield name


@pytest.mark.parametrize("path", [p for folder in TOP for p in files(folder)], ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    assert list(forbidden(path)) == [], f"{path.relative_to(ROOT)} must not import these"


@pytest.mark.parametrize(
    ("path", "line", "wrong"),
    [
        ("methods/bad.py", "from ..datasets.digits_lt import DigitsLT", "datasets.digits_lt"),
        ("methods/bad.py", "from .erm import ERM", "methods.erm"),
        ("methods/bad.py", "from ..benchmarks.training import loop", "benchmarks.training.loop"),
        ("methods/_shared/bad.py", "from ...benchmarks.registry import load", "benchmarks.registry"),
        ("benchmarks/bad.py", "def f():\n    from .utils import formatting", "benchmarks.utils.formatting"),
        ("benchmarks/nn/bad.py", "from ..data import loader", "benchmarks.data.loader"),
        ("benchmarks/records/bad.py", "from ..training.loop import train", "benchmarks.training.loop"),
        ("report/bad.py", "from ..benchmarks.sweeps import units", "benchmarks.sweeps.units"),
        ("report/bad.py", "import torch", "torch"),
        ("benchmarks/sweeps/bad.py", "from ltbench.bench import main", "bench"),
    ],
)
def test_the_rule_notices_a_wrong_import(
    path: str, line: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    bad = tmp_path / path
    bad.parent.mkdir(parents=True)
    bad.write_text(line + "\n")
    assert list(forbidden(bad)) == [wrong]


def test_no_module_imports_itself_through_others() -> None:
    graph = {}
    for path in (path for folder in TOP for path in files(folder)):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = {other for other in imports(path) if other in MODULES and other != name}
    while ends := [
        name
        for name, others in graph.items()
        if not others & graph.keys() or not any(name in graph[other] for other in graph)
    ]:
        for name in ends:
            del graph[name]
    assert not graph, "these modules import one another in a circle"


def test_the_core_has_few_flat_files() -> None:
    assert len(list((ROOT / "benchmarks").glob("*.py"))) <= 10


def test_packages_are_the_folders_with_code() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    held = {"ltbench.benchmarks.recipes", "ltbench.results"}  # folders with data only
    for path in (p for folder in TOP for p in files(folder)):
        held.add(".".join(["ltbench", *path.relative_to(ROOT).parent.parts]))
    assert set(listed) == held | {"ltbench"}


def test_our_datasets_folder_does_not_shadow_a_library() -> None:
    code = (
        "import importlib.util, sys; found = importlib.util.find_spec('datasets');"
        "sys.exit(found is not None and found.origin is not None and found.origin.startswith(sys.argv[1]))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(ROOT)], cwd=ROOT, check=False).returncode == 0
    assert not any((ROOT / folder / "__init__.py").exists() for folder in TOP)


def test_help_needs_no_torch() -> None:
    code = "import sys; from ltbench import bench; bench.join(bench.SUBJECTS); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


ANSWERS = """
import sys
from ltbench import bench

KINDS = ("methods", "datasets", "recipes", "suites", "backbones")
for words in (*(("list", kind) for kind in KINDS), ("info", "cifar"), ("status",)):
    bench.join(bench.SUBJECTS)(words, standalone_mode=False)
    assert "torch" not in sys.modules, words
"""


def test_lists_need_no_torch(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ANSWERS], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(
        word in done.stdout for word in ("ldam-drw", "folder:PATH", "cifar-short", "digits", "resnet32", "warmup = 5")
    )


def test_lists_agree_with_the_modules() -> None:
    from ltbench.benchmarks import registry
    from ltbench.benchmarks.nn import backbones

    assert backbone_names() == backbones.backbone_names()
    for kind in ("methods", "datasets"):
        rows = [(name, card, path) for name, card, path in plugin_cards(kind)]
        plugins = [registry.load(kind, name) for name in registry.names(kind)]
        assert rows == [(p.name, p.card, bool(getattr(p.cls, "paths", ()))) for p in plugins]


def test_version_is_the_project_s() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__


def test_committed_schema_is_the_model_s_and_accepts_a_record(tmp_path: Path) -> None:
    committed = (ROOT / "benchmarks" / "records" / "record.schema.json").read_text()
    assert committed == json_schema(), (
        "regenerate it: python -m ltbench.benchmarks.records.schema > benchmarks/records/record.schema.json"
    )
    record = carry_out(tiny_run(), tmp_path)
    jsonschema.validate(json.loads(record.to_json()), json.loads(committed))
    broken = json.loads(record.to_json()) | {"seed": -1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, json.loads(committed))


def test_files_stay_short() -> None:
    long = {
        str(p.relative_to(ROOT))
        for p in (*ROOT.glob("*.py"), *ROOT.glob("*/**/*.py"))
        if ".venv" not in p.parts and len(p.read_text().splitlines()) > 300
    }
    assert not long
