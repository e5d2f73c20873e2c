"""Compare the results of two checkouts bit for bit: records, networks, test logits and the loss of every step.

    LTBENCH_DATA=DATA python tests/same_records.py --before OLD --after NEW --work FOLDER [--only 'traces/*']

Every case is one `bench run` per checkout, through the command line alone so that modules may move, on a CPU with one
thread. traces/*: every method on real CIFAR-10-LT, at least 20 steps per epoch. The exit code is 1 if a case differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

# Intended changes. The keys of `RENAMED` are names in newer code.
LDAM = "m2m.base=ldam"  # LDAM without class weights; in newer code, ldam-drw with defer=1
RENAMED = {"rsg.base": "rsg.criterion", "m2m.base": "m2m.criterion"}
WHOLE_WARMUP = r"(?m)^warmup\W+[1-9]"  # matches `bench info cifar` if warm-up counts epochs
AFTER_SETTINGS: dict[str, list[str]] = {"m2m": ["m2m.source=own_seed"]}  # by method: settings of the earlier behaviour
NEW_FIELDS = ("*.hyperparameters.base_values*", "*.hyperparameters.source", "*.changed.source", "*.changed.attack",
              "*.changed.base.defer", "*.changed.recipe.warmup")  # fmt: skip  # fields that one side may lack
ANY_ORDER = "*/m2m base=ldam-drw *"  # cases whose prerequisites newer code trains in another order
NEVER_COMPARED = r"command|records\.[^.]*\.((id|schema|environment|trained|inactive)\b|cost\.(?!epochs_per|parameters))"

ALWAYS = ("recipe.threads=1", "recipe.warmup=0")
EXACT = {"m2m": ["m2m.attack=fp32"], "blt": ["blt.attack=fp32"]}  # older code chose the precision by timing
DIGITS = ("--dataset=digits-lt",)
CIFAR = ("--dataset=cifar10-lt", "--imbalance=100", "--recipe=cifar-short", "--set=recipe.backbone=resnet8-narrow",
         "--set=recipe.batch_size=64", "--set=dataset.n_max=560")  # fmt: skip
OPTIONS = """
rsg base=erm | rsg base=cb-rw | rsg base=drw | rsg base=focal | rsg base=cb-focal | rsg base=m-drw | rsg --profile=step
rsg preset=reference | rsg preset=reference base=erm | rsg mv_rows=memory insert=1 | rsg frequent=0.3 transfer=0.5
rsg cesc_reduction=position_mean detach_rare=false | open norm=auxiliary | open norm=standard
open norm=auxiliary noise_init=fresh noise_grad=stop | open noise_grad=affine_frozen | open noise_grad=full
open noise=additive | open noise_space=normalised start=0.5 | open control=drop | open append=0.25 start=0
open epoch_length=balanced delta=0.5 | open norm=auxiliary --plain | open recipe.optimiser=adam recipe.lr=0.01
m2m base=ldam gamma=0 | m2m base=ldam-drw gamma=0 | m2m seeds=noise gamma=0 | m2m random_start=per_sample gamma=0.2
m2m lam=0 gamma=0 beta=0.99 | m2m iterations=0 gamma=0 start=0.5 | blt first=own | blt second=0.5 gamma=0.5
blt target=static | blt target=random threshold=three rounding=floor | blt start_image=class grad_accumulate=true
blt confusion=train_soft | blt instead=augment | blt instead=none | drs weighting=inverse | drs defer=0.5 beta=0.99
drw weighting=inverse | cb-rw weighting=inverse | oversample gamma=0.5 | cb-focal inside=true gamma=2 | focal gamma=0.5
ldam-drw weighting=inverse max_margin=0.3 | m-drw defer=0.5 scale=20 | ldam-drw dataset.holdout=true
erm recipe.warmup=3 | ldam-drw recipe.warmup=3 | blt first=own recipe.warmup=3 | erm recipe.optimiser=adam
erm --augment=simclr recipe.cutout=3 | erm --augment=simclr --plain | erm --augment=autoaugment recipe.cutout=3 --plain
erm --augment=autoaugment recipe.keep_base=true recipe.cutout=3 recipe.cutout_position=after
erm recipe.drop_last=true recipe.flip=true recipe.channels_last=false recipe.evaluate_every=5 recipe.momentum=0
erm --profile=step dataset.split_seed=1 | erm --dataset=waves-lt dataset.n_max=100 | erm,drs,drw,open,m2m
"""
RESUMED = {"erm": 50, "drw": 103, "open": 103, "rsg": 103, "m2m": 121, "blt": 150}  # interrupted at this step
TRACES = """
m2m gamma=0.2 | m2m base=ldam-drw gamma=0.2 | rsg base=erm cesc_reduction=position_mean | open norm=auxiliary
erm --recipe=cifar | open --augment=simclr recipe.cutout=8 | erm --augment=autoaugment
"""


class Case(NamedTuple):
    """Settings of one `bench run`; if `stop` is not 0, the run is interrupted at that step and started again."""

    name: str
    method: str
    words: tuple[str, ...] = DIGITS
    epochs: int = 12
    stop: int = 0


class Side:
    """One of the two checkouts, which the link `ltbench` in the folder `home` makes importable."""

    def __init__(self, name: str, checkout: Path, home: Path, work: Path) -> None:
        self.name, self.checkout, self.home = name, checkout.resolve(), home
        home.mkdir()
        (home / "ltbench").symlink_to(self.checkout)
        self.digest = self.checksum()
        self.kept = work / self.digest[:12]
        single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"), "1")
        data = str(Path(os.environ.get("LTBENCH_DATA", "data")).resolve())
        self.environment = {**os.environ, **single, "PYTHONPATH": str(home), "LTBENCH_DATA": data}
        self.says = cache(lambda *words: self.python("-m", "ltbench.bench", *words).stdout)

    def checksum(self) -> str:
        """SHA-256 of torch's version and of all code in the checkout that may affect results."""
        digest = hashlib.sha256(version("torch").encode())
        for path in sorted(self.checkout.rglob("*.*")):
            parts = path.relative_to(self.checkout).parts
            own = parts[0][0] != "." and parts[0] not in ("tests", "results", "report", "docs", "runs")
            if own and path.suffix in (".py", ".toml"):
                digest.update("/".join(parts).encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python with the code of this checkout."""
        command = [sys.executable, "-P", *words]
        return subprocess.run(command, cwd=self.home, env=self.environment, capture_output=True, text=True, check=False)

    def knows(self, field: str) -> bool:
        """Whether this side has a field, according to `bench info`; for `recipe.warmup`, whether it counts epochs."""
        scope, _, name = field.partition(".")
        card, pattern = ("cifar", WHOLE_WARMUP) if scope == "recipe" else (scope, rf"(?m)^{name}  +\S")
        return bool(re.search(pattern, self.says("info", card)))

    def spelled(self, word: str, epochs: int) -> str:
        """A command-line argument, translated for this side if the setting has another name or unit there."""
        matches = re.fullmatch(r"--set=([\w.-]+)=(.*)", word)
        if not matches or matches[1] not in (*RENAMED, "recipe.warmup") or self.knows(matches[1]):
            return word
        value = f"{int(matches[2]) / epochs:g}" if matches[1] == "recipe.warmup" else matches[2]
        return f"--set={RENAMED.get(matches[1], matches[1])}={value}"

    def command(self, case: Case) -> list[str]:
        """Arguments of `bench` for a case on this side."""
        settings = list(ALWAYS)
        for method in case.method.split(","):
            settings += EXACT.get(method, [])
            settings += [new for new in AFTER_SETTINGS.get(method, []) if self.knows(new.partition("=")[0])]
        words = ["run", "--method", case.method, f"--epochs={case.epochs}", "--device=cpu", "--quiet"]
        own = {word.rpartition("=")[0] for word in case.words}
        words += [word for each in settings if (word := f"--set={each}").rpartition("=")[0] not in own] + [*case.words]
        if f"--set={LDAM}" in words and self.knows("m2m.base"):
            words = [word.replace(LDAM, f"{LDAM}-drw") for word in words] + ["--set=m2m.base.defer=1"]
        return [self.spelled(word, case.epochs) for word in words]

    def outcome(self, case: Case) -> tuple[dict[str, Any], bool]:
        """Results of a case on this side, and whether they come from an earlier comparison."""
        words, file = self.command(case), self.kept / (case.name.replace(" ", "_") + ".json")
        if file.exists() and (expected := json.loads(file.read_text()))["command"] == [*words, case.stop]:
            return expected, True
        matches: dict[str, Any] = {"command": [*words, case.stop], "losses": []}
        with tempfile.TemporaryDirectory(dir=self.home) as folder:
            for stop in (case.stop, 0) if case.stop else (0,):
                out = Path(folder, "out.json")
                done = self.python(str(Path(__file__).resolve()), "--carry-out", folder, str(stop), *words)
                if bool(done.returncode) != bool(stop) or not out.exists():
                    return matches | {"error": f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"}, False
                part = json.loads(out.read_text())
                matches |= part | {"losses": matches["losses"] + part["losses"]}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(matches))
        return matches, False

    def comparable(self, case: Case, matches: dict[str, Any]) -> dict[str, Any]:
        """Values to compare, by path; fields that were renamed have the names of newer code."""
        for record in matches.get("records", {}).values():
            for new, old in RENAMED.items():
                for part in (record["hyperparameters"], record["changed"]):
                    if new.startswith(f"{record['method']}.") and old.partition(".")[2] in part:
                        value = part.pop(old.partition(".")[2])
                        part[new.partition(".")[2]] = "ldam-drw" if value == "ldam" else value
            for part, name in ((record["recipe"], "warmup"), (record["changed"], "recipe.warmup")):
                if name in part and not self.knows("recipe.warmup"):
                    part[name] = round(part[name] * case.epochs)
        matches["losses"] = sorted(matches["losses"]) if fnmatch(case.name, ANY_ORDER) else matches["losses"]
        return {path: value for path, value in leaves(matches) if not re.match(NEVER_COMPARED, path)}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and values of the leaves of a JSON tree; an empty list or object is a leaf."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not parts or not value:
        yield path, value
    for name, part in parts:
        yield from leaves(part, f"{path}.{name}".lstrip("."))


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """One line for each path whose values differ as JSON text; errors of failed runs come first."""
    lines = []
    for path in dict.fromkeys(["error", *before, *after]):
        first, other = (json.dumps(side[path]) if path in side else "missing" for side in (before, after))
        forgiven = "missing" in (first, other) and any(fnmatch(path, pattern) for pattern in NEW_FIELDS)
        if (first != other and not forgiven) or (path == "error" and first != "missing"):
            lines.append(f"{path}: {first} -> {other}")
    return lines


def listed(group: str, table: str, always: tuple[str, ...], epochs: int) -> Iterator[Case]:
    """Cases of a table. An entry is a method with options and settings; a setting without a scope is the method's."""
    for line in re.split(r"[|\n]", table.strip()):
        method, *words = line.split()
        settings = [word if "." in word.partition("=")[0] else f"{method}.{word}" for word in words if word[0] != "-"]
        options = {word.partition("=")[0]: word for word in (*always, *words) if word[0] == "-" and word[:5] != "--set"}
        sets = [word for word in always if word[:5] == "--set"] + [f"--set={setting}" for setting in settings]
        yield Case(f"{group}/{' '.join([method, *words])}", method, (*options.values(), *sets), epochs)


def cases(methods: Sequence[str], backbones: Sequence[str]) -> Iterator[Case]:
    both = (*DIGITS, "--seed=0..1")
    for method in methods:
        yield Case(f"records/{method}", method, both)
        yield Case(f"records/{method} --plain", method, (*both, "--plain"))
        yield Case(f"records/{method} bf16", method, (*both, "--set=recipe.precision=bf16"))
    yield from listed("options", OPTIONS, DIGITS, 12)
    yield from (Case(f"resume/{method}", method, stop=stop) for method, stop in RESUMED.items())
    for name in (*backbones, "timm:resnet10t"):
        yield Case(f"backbones/{name}", "erm", (*DIGITS, f"--set=recipe.backbone={name}", "--set=dataset.n_max=50"), 1)
    yield from listed("traces", "|".join([*methods, *TRACES.strip().split("\n")]), CIFAR, 10)


def carry_out(folder: Path, stop: int, words: list[str]) -> None:
    """Run `bench WORDS` in this process, interrupted at step `stop`; write losses and results to `out.json`."""
    import torch

    losses: list[float] = []
    backward = torch.Tensor.backward

    def noted(loss: Any, *args: Any, **kwargs: Any) -> None:
        losses.append(float(loss.detach()))  # JSON holds the exact value of a float32
        if len(losses) == stop:
            raise KeyboardInterrupt
        backward(loss, *args, **kwargs)

    torch.Tensor.backward = noted  # type: ignore[assignment]
    sys.argv = ["bench", *words, f"--results={folder}/results", f"--runs={folder}/runs"]
    try:
        runpy.run_module("ltbench.bench", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    files = {getattr(part, "__file__", None) for name, part in sys.modules.items() if name.startswith("ltbench.")}
    if strangers := [file for file in files if file and not Path(file).is_relative_to(Path.cwd())]:
        sys.exit(f"not from this checkout: {', '.join(strangers)}")
    matches: dict[str, Any] = {"losses": losses, "records": {}, "networks": {}, "logits": {}}
    for path in sorted((folder / "results").rglob("*.json")):
        record = json.loads(path.read_text())
        matches["records"][name := f"{record['method']} seed {record['seed']}"] = record
        matches["networks"][name], matches["logits"][name] = fingerprints(folder / "runs" / record["id"])
    assert matches["records"] or stop or code, "no record"
    (folder / "out.json").write_text(json.dumps(matches))
    sys.exit(code)


def fingerprints(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Type, shape and SHA-256 of each tensor of a finished network, and of each array of its test logits."""
    import numpy as np
    import torch

    def sha(array: Any, content: Any) -> str:
        return f"{array.dtype} {list(array.shape)} {hashlib.sha256(content.tobytes()).hexdigest()[:16]}"

    net = torch.load(folder / "network.pt", weights_only=True)
    with np.load(folder / "logits.npz") as arrays:
        logits = {name: sha(array, array) for name, array in arrays.items()}
    return {name: sha(tensor, tensor.flatten().view(torch.uint8).numpy()) for name, tensor in net.items()}, logits


def compare(sides: Sequence[Side], chosen: Sequence[Case]) -> int:
    """Run all cases on both sides and print a table; return the number of cases that differ."""
    rows, differing = [], 0
    for number, case in enumerate(chosen, 1):
        values = []
        for side in sides:
            started = time.perf_counter()
            matches, expected = side.outcome(case)
            spent = "kept" if expected else f"{time.perf_counter() - started:.1f} s"
            noted = {k: v for r in matches.get("records", {}).values() for k, v in r["history"]["measures"].items()}
            text = " ".join(f"{name}={pairs[-1][1]:.3g}" for name, pairs in noted.items() if "_class" not in name)
            print(f"[{number}/{len(chosen)}] {side.name} {case.name}: {spent} {text}", flush=True)
            values.append(side.comparable(case, matches))
        lines = differences(*values)
        differing += bool(lines)
        equal = f"equal: {sum(path.startswith('losses.') for path in values[0])} steps, {len(values[0])} values"
        rows.append(f"{case.name:<60} {f'{len(lines)} DIFFER, first {lines[0]}' if lines else equal}")
        print("\n".join(f"    {line}" for line in lines[:5]), end="\n" * bool(lines), flush=True)
    print("\n".join(["", *rows, "", f"{len(chosen)} cases, {differing} differ"]))
    return differing


def main() -> None:
    if sys.argv[1:2] == ["--carry-out"]:
        carry_out(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("before", "after", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns of case names, such as 'traces/*'")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        sides = [Side(name, getattr(arguments, name), home / name, arguments.work) for name in ("before", "after")]
        names = [re.findall(r"(?m)^[\w-]+(?= |$)", sides[0].says("list", kind)) for kind in ("methods", "backbones")]
        assert all(names), "bench list prints no names"
        chosen = [case for case in cases(*names) if any(fnmatch(case.name, each) for each in arguments.only)]
        differing = compare(sides, chosen)
        if changed := [str(side.checkout) for side in sides if side.checksum() != side.digest]:
            sys.exit(f"changed in the meantime, so compare again: {', '.join(changed)}")
    sys.exit(1 if differing or not chosen else 0)


if __name__ == "__main__":
    main()
