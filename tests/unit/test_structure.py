"""Who may import whom, the package, and the committed schema."""

from __future__ import annotations

import ast
import itertools
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
CORE = tuple(f"benchmarks.{path.stem}" for path in (ROOT / "benchmarks").glob("*.py"))  # the plugin author's view
PARTS = ("benchmarks.utils", "benchmarks.nn", "benchmarks.data")
# A layer may import itself and the layers before it. A name stands for a module, or a package and all below it.
LAYERS = (
    CORE,
    PARTS,
    ("benchmarks.records",),
    ("benchmarks.training",),
    ("benchmarks.speed",),
    ("benchmarks.sweeps",),
    ("benchmarks.cli",),
)
# What a module may import of ours; the longest name that fits decides, and a plugin may import no sibling.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    **{name: tuple(itertools.chain(*LAYERS[: n + 1])) for n, layer in enumerate(LAYERS) for name in layer},
    "benchmarks.utils": (*CORE, "benchmarks.utils"),
    "benchmarks.nn": (*CORE, "benchmarks.utils", "benchmarks.nn"),
    "benchmarks.data": (*CORE, "benchmarks.utils", "benchmarks.data"),
    "benchmarks.cli": ("benchmarks", "report"),
    "datasets": ("benchmarks.split", "benchmarks.data", "benchmarks.errors", "datasets._shared"),
    "methods": (
        "benchmarks.method",
        "benchmarks.network",
        "benchmarks.nn",
        "benchmarks.precision",
        "benchmarks.errors",
        "methods._shared",
    ),
    "report": ("benchmarks.records", "benchmarks.recipe", "benchmarks.errors", "benchmarks.utils", "report"),
    "bench": ("benchmarks.cli", "benchmarks.errors", "report.cli"),
    "ltbench": ("benchmarks",),
    "__main__": ("bench",),
}
MAY_IMPORT["methods._shared.base"] = (*MAY_IMPORT["methods"], "benchmarks.registry")  # asks for a method by its name
LIBRARIES = {
    "benchmarks": {
        "PIL", "annotated_types", "filelock", "numpy", "pydantic", "ray", "rich", "rich_click", "timm", "torch",
        "torchvision",
    },
    "datasets": {"PIL", "annotated_types", "numpy", "sklearn", "torch", "torchvision"},
    "methods": {"annotated_types", "torch"},
    "report": {
        "jinja2", "matplotlib", "numpy", "pandas", "pydantic", "rich", "rich_click", "scikit_posthocs", "scipy",
    },
    "bench": {"rich", "rich_click"},
    "ltbench": set(),
    "__main__": set(),
}  # fmt: skip


def sources(root: Path) -> dict[str, Path]:
    """Every module of ours by its dotted name below `ltbench`, and the package itself as `ltbench`."""
    paths = [*root.glob("*.py"), *(path for folder in TOP for path in sorted((root / folder).rglob("*.py")))]
    parts = {path: path.relative_to(root).with_suffix("").parts for path in paths}
    return {".".join(p[:-1] if p[-1] == "__init__" else p) or "ltbench": path for path, p in parts.items()}


def imports(name: str, modules: dict[str, Path]) -> set[str]:
    """Dotted names that a module imports, lazily or for types too; ours as in `modules`, relative ones resolved."""
    package = ["ltbench", *name.removeprefix("ltbench").split(".")]
    package = package if modules[name].name == "__init__.py" else package[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(modules[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            nested = {f"{base}.{alias.name}" for alias in node.names}
            submodules = {other for other in nested if other.removeprefix("ltbench.") in modules}
            names |= submodules if submodules == nested else submodules | {base}
    return {other.removeprefix("ltbench.") for other in names}


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def forbidden(name: str, modules: dict[str, Path]) -> set[str]:
    """What a module imports but must not."""
    rule = max((key for key in MAY_IMPORT if within(name, key)), key=len, default="")
    libraries = STANDARD | LIBRARIES[name.split(".")[0]]
    wrong = set()
    for other in imports(name, modules):
        if within(other, *TOP, "bench", "__main__"):
            allowed = within(other, *MAY_IMPORT.get(rule, ()))
        else:
            allowed = other.split(".")[0] in libraries | {"ltbench"}  # the version, which imports nothing
        wrong |= set() if allowed else {other}
    return wrong


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another, by Tarjan's algorithm."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        stack.append(name)
        for other in graph[name] & graph.keys():
            if other not in order:
                visit(other)
            if other in stack:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == order[name]:
            first = stack.index(name)
            groups.append(sorted(stack[first:]))
            del stack[first:]

    for name in graph:
        if name not in order:
            visit(name)
    return [group for group in groups if len(group) > 1 or group[0] in graph[group[0]]]


MODULES = sources(ROOT)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name: str) -> None:
    assert not forbidden(name, MODULES), f"{name} must not import these; see the rules at the top of this file"


def test_there_is_no_import_cycle() -> None:
    assert not cycles({name: imports(name, MODULES) for name in MODULES})


def write(root: Path, files: dict[str, str]) -> dict[str, Path]:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return sources(root)


def test_the_rules_notice_wrong_imports(tmp_path: Path) -> None:
    wrong = "from ..datasets.digits_lt import DigitsLT\nfrom .erm import ERM\nfrom ..benchmarks import training\n"
    lazy = "def f():\n    from ..sweeps import runner\n    import scipy\n"
    types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..benchmarks.cli.run import run\n"
    modules = write(
        tmp_path,
        {
            "methods/bad.py": wrong,
            "benchmarks/training/__init__.py": "",
            "methods/erm.py": "from ..benchmarks.method import Method\nfrom ._shared.losses import Focal\n",
            "methods/_shared/base.py": "from ...benchmarks.registry import load\n",
            "benchmarks/training/loop.py": lazy,
            "benchmarks/method.py": "from .utils import formatting\n",
            "benchmarks/sweeps/runner.py": "from ltbench import bench\nfrom ..training.loop import f\n",
            "benchmarks/utils/formatting.py": "import torch\nfrom ..errors import UserError\n",
            "report/page.py": types,
            "report/tables.py": "import torch\n",
            "bench.py": "from ltbench.report.cli import report\n",
        },
    )
    assert {name: forbidden(name, modules) for name in modules if forbidden(name, modules)} == {
        "methods.bad": {"datasets.digits_lt", "methods.erm", "benchmarks.training"},
        "benchmarks.training.loop": {"benchmarks.sweeps.runner", "scipy"},
        "benchmarks.method": {"benchmarks.utils.formatting"},
        "benchmarks.sweeps.runner": {"bench"},
        "report.page": {"benchmarks.cli.run"},
        "report.tables": {"torch"},
    }


def test_the_rules_notice_a_cycle(tmp_path: Path) -> None:
    modules = write(
        tmp_path,
        {
            "benchmarks/a.py": "from .b import f\n",
            "benchmarks/b.py": "def f():\n    from . import c\n",
            "benchmarks/c.py": "from . import a\nfrom .d import g\n",
            "benchmarks/d.py": "g = 1\n",
        },
    )
    names = {name: imports(name, modules) for name in modules}
    assert cycles(names) == [["benchmarks.a", "benchmarks.b", "benchmarks.c"]]


def test_the_core_is_flat_and_small() -> None:
    """The plugin author's view is at most ten files; every folder below stands in a layer."""
    assert len(CORE) <= 10
    folders = {f"benchmarks.{path.name}" for path in (ROOT / "benchmarks").iterdir() if [*path.glob("*.py")]}
    assert folders == set(itertools.chain(*LAYERS[1:]))


def test_packages_are_the_folders_with_code() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {"ltbench", "ltbench.benchmarks.recipes", "ltbench.results"}  # the last two hold data only
    for path in MODULES.values():
        folders.add(".".join(["ltbench", *path.relative_to(ROOT).parent.parts]))
    assert set(listed) == folders


def test_nested_packages_have_an_init_file() -> None:
    """All but the top folders, where `datasets/__init__.py` would shadow the library of that name."""
    inner = {path.parent for path in MODULES.values()} - {ROOT, *(ROOT / folder for folder in TOP)}
    assert not [folder for folder in sorted(inner) if not (folder / "__init__.py").is_file()]


def test_git_ignores_no_folder_of_ours() -> None:
    """A pattern such as `data/` hides `benchmarks/data` from git and from the linter; `/data/` does not."""
    patterns = (ROOT / ".gitignore").read_text().split()
    ignored = {line.strip("/") for line in patterns if line.endswith("/") and not line.startswith("/")}
    assert not ignored & {part for path in MODULES.values() for part in path.relative_to(ROOT).parts}


def test_datasets_does_not_shadow_the_library_of_that_name() -> None:
    code = (
        "import importlib.util, sys; spec = importlib.util.find_spec('datasets');"
        "sys.exit(spec is not None and spec.origin is not None and spec.origin.startswith(sys.argv[1]))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(ROOT)], cwd=ROOT, check=False).returncode == 0
    assert not any((ROOT / folder / "__init__.py").exists() for folder in TOP)


def loads_torch(*modules: str) -> bool:
    """Whether importing some modules in a fresh process imports torch."""
    code = (
        "import importlib, sys; [importlib.import_module('ltbench.' + name) for name in sys.argv[1:]];"
        "sys.exit(3 if 'torch' in sys.modules else 0)"
    )
    status = subprocess.run([sys.executable, "-c", code, *modules], check=False).returncode
    assert status in (0, 3)
    return status == 3


def test_help_and_the_report_need_no_torch() -> None:
    assert not loads_torch("bench")
    assert not loads_torch(*(name for name in MODULES if name.startswith("report")))
    assert not loads_torch(
        *(
            name
            for name in MODULES
            if within(name, "benchmarks.records", "benchmarks.utils") and "environment" not in name
        )
    )


def test_version_is_the_project_s() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__


def test_committed_schema_is_the_model_s_and_accepts_a_record(tmp_path: Path) -> None:
    committed = (ROOT / "benchmarks" / "records" / "record.schema.json").read_text()
    assert committed == json_schema(), (
        "write it again: python -m ltbench.benchmarks.records.schema > benchmarks/records/record.schema.json"
    )
    record = carry_out(tiny_run(), tmp_path)
    jsonschema.validate(json.loads(record.to_json()), json.loads(committed))
    broken = json.loads(record.to_json()) | {"seed": -1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, json.loads(committed))


def test_files_stay_short() -> None:
    files = [*ROOT.glob("*.py"), *(path for folder in (*TOP, "tests") for path in (ROOT / folder).rglob("*.py"))]
    assert not [str(path.relative_to(ROOT)) for path in files if len(path.read_text().splitlines()) > 300]
