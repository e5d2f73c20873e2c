"""Methods built on another method's loss: accepted bases, their hyper-parameters, and the record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.command import Answer
from helpers.tiny import carry_out, tiny_run
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import Method, Needs
from ltbench.benchmarks.registry import changed, configure, describe, load, names
from ltbench.benchmarks.training.plan import parse_settings
from ltbench.methods._shared.base import OnBase

BASES = {"cb-focal", "cb-rw", "drw", "erm", "focal", "ldam-drw", "m-drw"}
BASES |= {"balanced-softmax", "lade", "logit-adjustment", "pc-softmax"}


def method(name: str, **fields: Any) -> Any:
    return configure(load("methods", name), fields)


@pytest.mark.parametrize("holder", ["m2m", "rsg"])
@pytest.mark.parametrize("name", names("methods"))
def test_every_loss_can_be_a_base_and_no_other_method(holder: str, name: str) -> None:
    if name in BASES:
        assert method(holder, base=name).base == name
    else:
        with pytest.raises(UserError, match=f"'{name}' cannot be the base of"):
            method(holder, base=name)


@pytest.mark.parametrize(("base", "hook"), [("oversample", "sampling()"), ("open", "transform()"), ("rsg", "loss()")])
def test_a_hook_that_would_be_dropped_is_named(base: str, hook: str) -> None:
    with pytest.raises(UserError, match="would never be called") as error:
        method("m2m", base=base)
    assert hook in str(error.value)


def test_a_base_with_a_second_stage_is_one_sentence(cli: Callable[..., Answer]) -> None:
    settings = ("--set", "rsg.base=balanced-softmax", "--set", "rsg.base.decoupled=true")
    answer = cli("run", "--method", "rsg", "--dataset", "digits-lt", *settings)
    assert answer.code == 2
    assert answer.err.strip() == (
        "Error: 'balanced-softmax' with decoupled = True cannot be the base of RSG: a base must train in a single "
        "stage, like ERM."
    )


def test_a_base_of_the_user_s_own_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Unknown method 'ldam'\. Did you mean 'ldam-drw'"):
        method("rsg", base="ldam")


def test_a_base_is_a_name_and_its_values_are_set_one_by_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.py: a base must be a method of the suite, not a file"):
        method("rsg", base=str(tmp_path / "mine.py"))
    with pytest.raises(UserError, match="Unknown field of 'rsg' 'base_values'"):
        method("rsg", base_values="3")
    assert ("base.NAME", "the base's", "those of base") in {row[:3] for row in describe(load("methods", "rsg").cls)}


def test_values_of_the_base_are_checked_by_its_own_fields() -> None:
    assert method("rsg", **{"base.max_margin": "0.3"}).make_base().max_margin == 0.3
    with pytest.raises(UserError, match=r"Unknown field of 'ldam-drw' 'max_margn'\. Did you mean 'max_margin'"):
        method("rsg", **{"base.max_margn": "0.3"})
    with pytest.raises(UserError, match=r"'ldam-drw': beta = '2'"):
        method("rsg", **{"base.beta": "2"})
    with pytest.raises(UserError, match=r"Unknown field of 'erm' 'base\.beta'"):
        method("erm", **{"base.beta": "0.9"})


def test_the_record_holds_all_values_and_names_the_changed_ones() -> None:
    plugin = load("methods", "rsg")
    usual, other = configure(plugin, {}), configure(plugin, {"base.max_margin": 0.3})
    assert usual.base_values == dataclasses.asdict(method("ldam-drw"))
    assert other.base_values == usual.base_values | {"max_margin": 0.3}
    assert changed(usual, plugin) == {}
    assert changed(other, plugin) == {"base.max_margin": 0.3}
    assert changed(configure(plugin, {"base": "focal"}), plugin) == {"base": "focal"}
    assert dataclasses.replace(other).base_values == other.base_values


def test_m2m_defers_the_weights_of_its_base_to_its_own_start() -> None:
    plugin = load("methods", "m2m")
    moved = configure(plugin, {"base": "ldam-drw", "start": 0.6})
    assert moved.make_base().defer == 0.6
    assert changed(moved, plugin) == {"base": "ldam-drw", "start": 0.6}
    own = configure(plugin, {"base": "ldam-drw", "base.defer": 1})
    assert own.make_base().defer == 1
    assert changed(own, plugin) == {"base": "ldam-drw", "base.defer": 1}


@pytest.mark.parametrize(
    ("fields", "prefix"),
    [({}, 8), ({"base": "drw"}, 8), ({"base": "drw", "base.defer": 0.5}, 5), ({"base": "focal"}, 0)],
)
def test_m2m_shares_the_epochs_that_its_base_shares(fields: dict[str, Any], prefix: int) -> None:
    needs = method("m2m", **fields).needs(10)
    assert (needs.prefix, needs.prefix_of, needs.network, needs.other_seed) == (prefix, "erm", True, True)
    assert not method("m2m", source="own_seed").needs(10).other_seed


@pytest.mark.parametrize("setting", ["base.max_margin=0.3", "rsg.base.max_margin=0.3"])
def test_a_value_of_the_base_on_the_command_line(setting: str, tmp_path: Path) -> None:
    run = tiny_run("rsg", settings=(setting, "rsg.start=0.5"))
    assert run.method.base_values["max_margin"] == 0.3  # type: ignore[attr-defined]
    record = carry_out(run, tmp_path)
    assert record.changed["base.max_margin"] == 0.3
    assert record.hyperparameters["base_values"]["max_margin"] == 0.3
    assert record.id != tiny_run("rsg", settings=("rsg.start=0.5",)).id
    own = [f"{name}={value}" for name, value in record.changed.items() if not name.startswith("recipe.")]
    assert tiny_run("rsg", settings=tuple(own)).method == run.method


def test_a_value_of_the_base_reaches_every_method_with_a_base() -> None:
    plugins = [load("methods", name) for name in ("erm", "rsg", "m2m")]
    scopes = parse_settings(["base.beta=0.9", "m2m.base=drw"], plugins)
    assert scopes["rsg"] == {"base.beta": "0.9"}
    assert scopes["m2m"] == {"base.beta": "0.9", "base": "drw"}
    assert scopes["erm"] == {}
    with pytest.raises(UserError, match="'base' is not one of erm, recipe, dataset"):
        parse_settings(["base.beta=0.9"], plugins[:1])


def test_what_a_base_needs_is_asked_for() -> None:
    class Demanding(Method):
        def needs(self, epochs: int) -> Needs:
            return Needs(prefix=3, network=True, validation=True)

    class Held(OnBase):
        def make_base(self) -> Method:
            return Demanding()

    assert Held().needs(10) == Needs(prefix=0, network=True, validation=True)


def test_a_wrong_base_is_one_sentence(cli: Callable[..., Answer]) -> None:
    answer = cli("run", "--method", "m2m", "--dataset", "digits-lt", "--set", "m2m.base=open")
    assert answer.code == 2
    assert answer.err.startswith("Error: 'open' cannot be the base of M2m: its ")
    assert "Traceback" not in answer.err


def test_the_base_s_criterion_is_used() -> None:
    class Net:
        pass

    run = tiny_run("rsg", settings=("rsg.base=focal", "rsg.base.gamma=2"))
    built = run.method
    assert isinstance(built, Method)
    built.base_ = built.make_base()  # type: ignore[attr-defined]
    logits, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    moment: Any = None
    assert built.criterion(logits, labels, moment) == method("focal", gamma=2).criterion(logits, labels, moment)
