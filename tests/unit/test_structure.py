"""The layers, the package and the committed schema."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import ltbench.bench
import pytest
from helpers.tiny import carry_out, tiny_run
from ltbench import __version__
from ltbench.benchmarks.records.schema import json_schema

ROOT = Path(ltbench.bench.__file__).parent
TOP = ("benchmarks", "datasets", "methods", "report")
STANDARD = set(sys.stdlib_module_names) | {"__future__"}
# Which packages and which of our modules each folder may import. A trailing dot stands for everything below.
MAY = {
    "benchmarks": (
        {
            "torch",
            "torchvision",
            "timm",
            "numpy",
            "pydantic",
            "annotated_types",
            "filelock",
            "rich",
            "rich_click",
            "ray",
            "PIL",
        },
        {"benchmarks."},
    ),
    "datasets": (
        {"torch", "torchvision", "numpy", "sklearn", "PIL", "annotated_types"},
        {"benchmarks.split", "datasets._shared."},
    ),
    "methods": (
        {"torch"},
        {
            "benchmarks.method",
            "benchmarks.network",
            "benchmarks.nn.dar_batch_norm",
            "benchmarks.nn.bn_folding",
            "benchmarks.precision",
            "benchmarks.errors",
            "methods._shared.",
        },
    ),
    "report": (
        {"pandas", "matplotlib", "numpy", "scipy", "scikit_posthocs", "pydantic", "rich", "rich_click", "jinja2"},
        {
            "benchmarks.records.schema",
            "benchmarks.records.store",
            "benchmarks.errors",
            "benchmarks.utils.atomic_write",
            "benchmarks.utils.options",
            "benchmarks.utils.formatting",
            "benchmarks.recipe",
            "benchmarks.utils.docstrings",
            "report.",
        },
    ),
}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports; ours begin with a top folder, relative ones are resolved."""
    package = path.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join([*package[: len(package) - node.level + 1], node.module or ""]).strip(".")
                if node.level
                else ""
            )
            module = base or node.module or ""
            nested = {f"{module}.{alias.name}" for alias in node.names}
            found |= nested if node.level and module in TOP else {module.removeprefix("ltbench.")}
    return found


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", [p for folder in TOP for p in files(folder)], ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    packages, ours = MAY[path.relative_to(ROOT).parts[0]]
    if path.is_relative_to(ROOT / "benchmarks" / "cli"):
        ours = ours | {"report."}  # the table after a run, pictures
    for name in imports(path):
        if name.split(".")[0] in TOP:
            allowed = any(name == own or (own.endswith((".", "_")) and name.startswith(own)) for own in ours)
            assert allowed, f"{path} must not import {name}"
        else:
            assert name.split(".")[0] in STANDARD | packages, f"{path} must not import {name}"


def test_the_rule_would_notice_a_wrong_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    bad = tmp_path / "methods" / "bad.py"
    bad.parent.mkdir()
    bad.write_text("from ..datasets.digits_lt import DigitsLT\nfrom .erm import ERM\nfrom ..benchmarks import run\n")
    assert imports(bad) == {"datasets.digits_lt", "methods.erm", "benchmarks.run"}
    with pytest.raises(AssertionError, match="must not import"):
        test_imports_point_one_way(bad)


def test_packages_are_the_folders_with_code() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    held = {"ltbench.benchmarks.recipes", "ltbench.results"}  # data only
    for path in (p for folder in TOP for p in files(folder)):
        held.add(".".join(["ltbench", *path.relative_to(ROOT).parent.parts]))
    assert set(listed) == held | {"ltbench"}


def test_our_datasets_folder_does_not_shadow_the_library_of_that_name() -> None:
    code = (
        "import importlib.util, sys; found = importlib.util.find_spec('datasets');"
        "sys.exit(found is not None and found.origin is not None and found.origin.startswith(sys.argv[1]))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(ROOT)], cwd=ROOT, check=False).returncode == 0
    assert not any((ROOT / folder / "__init__.py").exists() for folder in TOP)


def test_help_needs_no_torch() -> None:
    code = "import sys; from ltbench import bench; bench.join(bench.SUBJECTS); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_version_is_the_project_s() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__


def test_committed_schema_is_the_model_s_and_accepts_a_record(tmp_path: Path) -> None:
    committed = (ROOT / "benchmarks" / "records" / "record.schema.json").read_text()
    assert committed == json_schema(), (
        "write it anew: python -m ltbench.benchmarks.records.schema > benchmarks/records/record.schema.json"
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
