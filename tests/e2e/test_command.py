"""The command line from the user's point of view: effects, output and error messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.command import Answer
from ltbench.benchmarks import registry
from ltbench.benchmarks.records.store import find_records, read_record

Cli = Callable[..., Answer]
TINY = ("--imbalance", "5", "--epochs", "2", "--set", "dataset.n_max=20")
OUTSIDE = '''"""Balanced softmax."""

from dataclasses import dataclass

import torch.nn.functional as F
from ltbench.benchmarks.method import Method


@dataclass
class BalancedSoftmax(Method):
    def begin_stage(self, stage, net, train):
        self.prior_ = train.counts.log()

    def criterion(self, logits, labels, now):
        return F.cross_entropy(logits + self.prior_, labels)
'''


def test_run_records_skips_and_reports(cli: Cli) -> None:
    asked = ("run", "--method", "erm,drs", "--dataset", "digits-lt", "--seed", "0..1", *TINY)
    first = cli(*asked)
    assert first.code == 0
    assert {"erm", "drs", "overall", "many", "medium", "few", "G1", "G5"} <= set(first.out.split())
    paths = find_records(Path("results"))
    assert len(paths) == 4
    assert not list(Path("runs").rglob("checkpoint*")), "a finished run needs no checkpoint"
    before = {path: path.read_bytes() for path in paths}
    again = cli(*asked)
    assert again.code == 0
    assert again.err.count("already finished") == 4
    assert again.out == first.out
    assert {path: path.read_bytes() for path in paths} == before
    assert cli("check-records", "results").code == 0
    report = cli("report", "--out", "report")
    assert report.code == 0
    assert Path("report/leaderboard.md").stat().st_size > 500
    assert Path("report/leaderboard.tex").exists()
    assert list(Path("report/figures").glob("*.png"))


def test_several_settings_reach_their_targets(cli: Cli) -> None:
    answer = cli(
        "run", "-m", "oversample,drs", "-d", "digits-lt", *TINY,
        "--set", "oversample.gamma=0.5", "--set", "drs.weighting=inverse", "--set", "recipe.lr=0.05",
    )  # fmt: skip
    assert answer.code == 0
    records = {record.method: record for record in map(read_record, find_records(Path("results")))}
    assert records["oversample"].hyperparameters == {"gamma": 0.5}
    assert records["drs"].hyperparameters["weighting"] == "inverse"
    assert all(record.recipe["lr"] == 0.05 for record in records.values())
    assert any("gamma=0.5" in path.name for path in find_records(Path("results")))


def test_a_method_by_path(cli: Cli) -> None:
    Path("balanced_softmax.py").write_text(OUTSIDE)
    assert len(OUTSIDE.splitlines()) <= 15
    asked = ("run", "-m", "balanced_softmax.py", "-d", "digits-lt", *TINY)
    assert cli(*asked).code == 0
    (path,) = find_records(Path("results"))
    assert read_record(path).method == "balanced-softmax"
    assert read_record(path).source is not None
    Path("balanced_softmax.py").write_text(OUTSIDE.replace("+ self", "+ 2 * self"))
    assert cli(*asked).code == 0
    assert len(find_records(Path("results"))) == 2, "a run with a changed file is a new run"


def test_a_method_of_an_installed_package(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "their_package.py").write_text(OUTSIDE)
    (tmp_path / "theirs-1.dist-info").mkdir()
    (tmp_path / "theirs-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (tmp_path / "theirs-1.dist-info" / "entry_points.txt").write_text("[ltbench.methods]\ntheirs = their_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "theirs" in cli("list", "methods").out
    assert cli("run", "-m", "theirs", "-d", "digits-lt", *TINY).code == 0
    as_base = cli("run", "-m", "rsg", "--set", "base=theirs", "-d", "digits-lt", *TINY)
    assert (as_base.code, "a base must be a method of the suite" in as_base.err) == (2, True)


def test_list_and_info(cli: Cli) -> None:
    assert {"erm", "oversample", "drs", "drw", "ldam-drw"} <= set(cli("list", "methods").out.split())
    assert {"digits-lt", "waves-lt", "cifar10-lt", "cifar100-lt", "folder:PATH"} <= set(
        cli("list", "datasets").out.split()
    )
    assert {"cifar", "cifar-short", "digits"} <= set(cli("list", "recipes").out.split())
    assert {"resnet32", "wrn-28-10", "timm:<model>"} <= set(cli("list", "backbones").out.split())
    for name in registry.names("methods") + registry.names("datasets") + ["cifar"]:
        answer = cli("info", name)
        assert answer.code == 0
        assert len(answer.out) > 200, f"the card of {name} is too short"
    assert "max_margin" in cli("info", "ldam-drw").out
    assert "int, >= 1 or None" in cli("info", "rsg").out
    assert "hold out a tenth of each class" in cli("info", "digits-lt").out
    both = cli("info", "open").out  # `open` is a method and a recipe
    assert "noise_grad" in both
    assert 'augment = "simclr"' in both


RUN = ("run", "-d", "digits-lt", "-m")
WRONG = {
    "method": ((*RUN, "ldam-drv"), ["'ldam-drv'", "Did you mean 'ldam-drw'", "oversample"]),
    "dataset": (("run", "-m", "erm", "-d", "digit-lt"), ["'digit-lt'", "Did you mean 'digits-lt'"]),
    "folder without a path": (("run", "-m", "erm", "-d", "folder"), ["folder:PATH"]),
    "path where none belongs": (("run", "-m", "erm", "-d", "digits-lt:x"), ["takes no path"]),
    "recipe": ((*RUN, "erm", "--recipe", "cifarr"), ["Did you mean 'cifar'"]),
    "field": ((*RUN, "ldam-drw", "--set", "margin=1"), ["'margin'", "Did you mean 'max_margin'", "defer"]),
    "field of a method without": ((*RUN, "erm", "--set", "gamma=1"), ["'gamma'", "it has no fields"]),
    "field of the recipe": ((*RUN, "erm", "--set", "lr=0.1"), ["--set recipe.lr=0.1"]),
    "no dataset but a file": (("run", "-m", "erm", "-d", "../methods/erm"), ["Unknown dataset"]),
    "image size": ((*RUN, "erm", "--set", "recipe.backbone=timm:vit_tiny_patch16_224"), ["does not accept"]),
    "timm model": ((*RUN, "erm", "--set", "recipe.backbone=timm:resnet10q"), ["'resnet10q'", "and more"]),
    "scope": ((*RUN, "erm", "--set", "recip.lr=1"), ["'recip' is not one of erm, recipe, dataset"]),
    "no value": ((*RUN, "erm", "--set", "gamma"), ["NAME=VALUE"]),
    "range": ((*RUN, "ldam-drw", "--set", "defer=1.5"), ["defer = '1.5'", "less than or equal to 1"]),
    "type": ((*RUN, "oversample", "--set", "gamma=high"), ["gamma = 'high'", "number"]),
    "choice": ((*RUN, "drs", "--set", "weighting=both"), ["weighting = 'both'", "effective"]),
    "seeds": ((*RUN, "erm", "--seed", "0-2"), ["'0-2'", "0..2"]),
    "backward seeds": ((*RUN, "erm", "--seed", "2..0"), ["2..0"]),
    "negative seed": ((*RUN, "erm", "--seed", "-1"), ["'-1'"]),
    "imbalance": ((*RUN, "erm", "--imbalance", "0.5"), ["imbalance = '0.5'"]),
    "imbalance too large": ((*RUN, "erm", "--imbalance", "1000"), ["without an image"]),
    "epochs": ((*RUN, "erm", "--epochs", "0"), ["epochs = '0'"]),
    "backbone": ((*RUN, "erm", "--set", "recipe.backbone=resnet31"), ["Did you mean 'resnet32'"]),
    "no method file": ((*RUN, "mine.py"), ["There is no method file mine.py"]),
    "missing data": (
        ("run", "-m", "erm", "-d", "cifar10-lt", "--data-root", "void"),
        ["cifar10-lt", "bench data download"],
    ),
    "check of missing data": (("data", "check", "cifar100-lt", "--data-root", "void"), ["cifar100-lt", "void"]),
    "info": (("info", "ldam"), ["'ldam'", "ldam-drw"]),
    "no records": (("report", "--results", "void"), ["void", "bench run"]),
    "no folder": (("check-records", "void"), ["no folder void"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_ends_in_one_sentence_and_code_2(cli: Cli, case: str) -> None:
    arguments, words = WRONG[case]
    answer = cli(*arguments)
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert answer.err.startswith("Error: ")
    for word in words:
        assert word in answer.err
    assert not Path("results").exists(), "nothing was started"


def test_no_cuda(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    answer = cli(*RUN, "erm", "--device", "cuda")
    assert answer.code == 2
    assert "--device cpu" in answer.err


def test_a_loss_that_is_not_finite_stops_the_run(cli: Cli) -> None:
    Path("still.py").write_text(OUTSIDE.replace("logits + self.prior_", "0 * logits"))
    answer = cli(*RUN, "erm,still.py", *TINY, "--set", "recipe.lr=1e30", "--set", "recipe.weight_decay=0")
    assert answer.code == 2
    assert "erm on digits-lt exp5 n_max=20, seed 0: The loss became" in answer.err
    assert len(find_records(Path("results"))) == 1, "the other method was not stopped"


@pytest.mark.parametrize("option", ["results", "runs"])
def test_a_folder_that_cannot_be_written(cli: Cli, option: str) -> None:
    Path("taken").write_text("a file where the folder should be")
    answer = cli(*RUN, "erm", *TINY, f"--{option}", "taken/below")
    assert answer.code == 2
    assert "Cannot write taken" in answer.err
    assert "epochs in" not in answer.err, "the error comes before any training"


def test_a_copied_record_does_not_count_as_finished(cli: Cli) -> None:
    cli(*RUN, "erm", *TINY)
    (path,) = find_records(Path("results"))
    path.with_name(path.name.replace("seed0", "seed1")).write_bytes(path.read_bytes())
    for answer in (cli(*RUN, "erm", *TINY, "--seed", "1"), cli("check-records")):
        assert answer.code == 2
        assert "seed1.json is" in answer.err


@pytest.mark.parametrize("spelling", ["ldam_drw", "ldam-drw,ldam_drw", "ldam-drw, ldam-drw,"])
def test_spellings_of_one_method_are_one_run(cli: Cli, spelling: str) -> None:
    assert cli("run", "-d", "digits-lt", "-m", spelling, *TINY).code == 0
    assert [read_record(path).method for path in find_records(Path("results"))] == ["ldam-drw"]
    assert cli("info", "ldam_drw").code == cli("info", "folder:PATH").code == 0


def test_a_setting_typed_out_is_the_same_run_as_its_default(cli: Cli) -> None:
    whole = OUTSIDE.replace("    def begin", "    strength: float = 1\n\n    def begin")
    Path("mine.py").write_text(whole)
    assert cli("run", "-d", "digits-lt", "-m", "mine.py", *TINY).code == 0
    assert cli("run", "-d", "digits-lt", "-m", "mine.py", *TINY, "--set", "strength=1").code == 0
    assert len(find_records(Path("results"))) == 1


def test_a_misspelt_hook_and_two_files_of_one_name_are_refused(cli: Cli) -> None:
    Path("mine.py").write_text(OUTSIDE.replace("criterion", "criterium"))
    answer = cli(*RUN, "mine.py", *TINY)
    assert answer.code == 2
    assert "did you mean 'criterion'" in answer.err
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "mine.py").write_text(OUTSIDE + f"# {folder}\n")
    answer = cli(*RUN, "a/mine.py,b/mine.py", *TINY)
    assert answer.code == 2
    assert "Two different methods are called 'mine'" in answer.err


def test_a_damaged_record_is_named_and_kept(cli: Cli) -> None:
    cli(*RUN, "erm", *TINY)
    (path,) = find_records(Path("results"))
    path.write_text(path.read_text()[:-100])
    for answer in (cli("check-records", "results"), cli(*RUN, "erm", *TINY)):
        assert answer.code == 2
        assert str(path) in answer.err
    assert path.exists()
    report = cli("report", "--out", "report")
    assert report.code == 2


def test_a_plugin_with_a_fault_shows_its_traceback(cli: Cli) -> None:
    Path("broken.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        cli("info", "broken.py")


def test_an_empty_plugin_is_refused(cli: Cli) -> None:
    Path("empty.py").write_text("")
    answer = cli("info", "empty.py")
    assert answer.code == 2
    assert "exactly one class" in answer.err
