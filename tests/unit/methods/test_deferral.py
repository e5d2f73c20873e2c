"""Deferred re-weighting and re-sampling on any loss and on LDAM; sampling between image-uniform and class-uniform."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.callbacks import Counter
from helpers.command import Answer
from helpers.tiny import carry_out, on_its_own, tiny_run, without_timings
from ltbench.benchmarks.data.loader import draw, generator
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import ClassAware, Method, Needs, Now, recorded
from ltbench.benchmarks.registry import changed, configure, describe, load
from ltbench.benchmarks.split import Split
from ltbench.benchmarks.training.shared_start import shared_trainings
from ltbench.benchmarks.training.trainer import execute
from ltbench.methods._shared.samplers import power_probabilities, progressive_probabilities
from torch import Tensor

COUNTS = torch.tensor([100, 20, 5])
LOGITS = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.5]], dtype=torch.float64)
COSINES = torch.tensor([[0.6, 0.2, -0.1], [0.1, 0.5, 0.3]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])
CPU = torch.device("cpu")


def method(name: str, **fields: Any) -> Any:
    return configure(load("methods", name), fields)


def now(epoch: int, epochs: int = 200) -> Now:
    return Now("train", epoch, epochs, generator(0, "test"))


def started(built: Method, counts: Tensor = COUNTS) -> Any:
    """A method whose first stage has begun, with its class weights and margins in float64."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), counts)
    split = Split(torch.zeros(len(labels), 3, 2, 2, dtype=torch.uint8), labels, len(counts))
    built.begin_stage(built.stages(200)[0], None, split)  # type: ignore[arg-type]
    for name in ("weights_", "margins_"):
        if hasattr(built, name):
            setattr(built, name, getattr(built, name).double())
    return built


def normalised(weights: Tensor | None) -> list[float]:
    assert weights is not None
    return (weights / weights.sum()).tolist()


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [(1, (0.8, 0.16, 0.04)), (0.5, (0.598508, 0.267661, 0.133831)), (0, (1 / 3, 1 / 3, 1 / 3))],
)
def test_powers_of_class_sizes(exponent: float, expected: tuple[float, ...]) -> None:
    assert power_probabilities(COUNTS, exponent).tolist() == pytest.approx(expected, abs=1e-5)
    assert power_probabilities(torch.tensor([4, 0, 4]), exponent).tolist() == [0.5, 0, 0.5]


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, (0.8, 0.16, 0.04)),
        (1, (0.683333, 0.203333, 0.113333)),
        (2, (0.566667, 0.246667, 0.186667)),
        (4, (1 / 3, 1 / 3, 1 / 3)),
    ],
)
def test_progressive_sampling_moves_to_equal_classes(epoch: int, expected: tuple[float, ...]) -> None:
    drawn = method("progressive-sampling").sampling(COUNTS, now(epoch, 5))
    assert drawn.tolist() == pytest.approx(expected, abs=1e-5)
    assert progressive_probabilities(COUNTS, epoch, 5).tolist() == drawn.tolist()


def test_one_epoch_of_progressive_sampling_draws_images_uniformly() -> None:
    assert method("progressive-sampling").sampling(COUNTS, now(0, 1)).tolist() == pytest.approx([0.8, 0.16, 0.04])


@pytest.mark.parametrize("name", ["sqrt-sampling", "progressive-sampling", "oversample", "drs", "ldam-drs"])
def test_sampling_of_equal_classes_is_equal(name: str) -> None:
    for epoch in (160, 199):
        assert normalised(method(name).sampling(torch.tensor([7, 7, 7]), now(epoch))) == pytest.approx([1 / 3] * 3)


def test_square_root_sampling_is_oversampling_with_half_the_strength() -> None:
    """Both draw the same images; class-balanced sampling draws others."""
    split = tiny_run().dataset.train
    methods = method("sqrt-sampling"), method("oversample", gamma=0.5), method("oversample")
    root, half, full = (draw(split, each.sampling(split.counts, now(0)), generator(0, "draw")) for each in methods)
    assert torch.equal(root, half)
    assert not torch.equal(root, full)


def test_class_aware_draws_are_an_option_of_oversampling() -> None:
    assert method("oversample", draw="class-aware").sampling(COUNTS, now(0)) == ClassAware(4)
    assert method("oversample", draw="class-aware", per_class="2").sampling(COUNTS, now(0)) == ClassAware(2)
    assert recorded(method("oversample")) == {"gamma": 1.0}
    assert "independent | class-aware" in {row[2] for row in describe(load("methods", "oversample").cls)}


def test_class_aware_draws_go_with_equal_classes_only() -> None:
    with pytest.raises(UserError, match=r"gamma = 0\.5: draw=class-aware draws all classes equally often"):
        method("oversample", draw="class-aware", gamma="0.5")


def test_a_batch_smaller_than_a_group_is_one_sentence(cli: Callable[..., Answer]) -> None:
    fields = ("--set", "draw=class-aware", "--set", "per_class=200")
    answer = cli("run", "--method", "oversample", "--dataset", "digits-lt", "--epochs", "1", *fields)
    assert (answer.code, "Traceback" in answer.err) == (2, False)
    assert "images is smaller than a group of 200 images of one class" in answer.err


@pytest.mark.parametrize(
    ("weighting", "first", "last"),
    [
        ("sqrt", (0.598508, 0.267661, 0.133831), (0.598508, 0.267661, 0.133831)),
        ("progressive", (0.424791, 0.299363, 0.275846), (1 / 3, 1 / 3, 1 / 3)),  # t = 160 / 199 and t = 1
        ("effective", (0.334305, 0.332972, 0.332723), (0.334305, 0.332972, 0.332723)),
        ("inverse", (1 / 3, 1 / 3, 1 / 3), (1 / 3, 1 / 3, 1 / 3)),
    ],
)
def test_weightings_of_drs(weighting: str, first: tuple[float, ...], last: tuple[float, ...]) -> None:
    built = method("drs", weighting=weighting)
    assert built.sampling(COUNTS, now(159)) is None
    assert normalised(built.sampling(COUNTS, now(160))) == pytest.approx(first, abs=1e-5)
    assert normalised(built.sampling(COUNTS, now(199))) == pytest.approx(last, abs=1e-5)


def naive_focal(gamma: float, weights: list[float]) -> float:
    """Weighted focal loss by the formula, one image at a time, divided by the sum of the weights."""
    total, weight = 0.0, 0.0
    for row, label in zip(LOGITS, LABELS.tolist(), strict=True):
        p = float(row.softmax(0)[label])
        total += weights[label] * (1 - p) ** gamma * -float(row.log_softmax(0)[label])
        weight += weights[label]
    return total / weight


@pytest.mark.parametrize(("gamma", "expected"), [(1, 1.614617), (2, None), (0, 1.889901)])
def test_drw_on_focal_weights_the_losses_of_images(gamma: float, expected: float | None) -> None:
    built = started(method("drw", base="focal", **{"base.gamma": gamma}))
    plain = started(method("focal", gamma=gamma)).criterion(LOGITS, LABELS, now(0))
    assert float(built.criterion(LOGITS, LABELS, now(159))) == float(plain)
    loss = float(built.criterion(LOGITS, LABELS, now(160)))
    assert loss == pytest.approx(naive_focal(gamma, built.weights_.tolist()), rel=1e-9)
    assert expected is None or loss == pytest.approx(expected, abs=1e-5)


def test_drw_on_focal_skips_ignored_rows_and_takes_soft_labels() -> None:
    built = started(method("drw", base="focal", defer=0))
    loss = float(built.criterion(LOGITS, LABELS, now(0)))
    more = built.criterion(LOGITS.repeat(2, 1), torch.tensor([0, -100, -100, 2]), now(0))
    swapped = built.criterion(LOGITS.flip(0), LABELS.flip(0), now(0))
    soft = built.criterion(LOGITS, F.one_hot(LABELS, 3).double(), now(0))
    assert [float(other) for other in (more, swapped, soft)] == pytest.approx([loss] * 3)


def test_drw_on_erm_is_weighted_cross_entropy_bit_for_bit() -> None:
    logits, labels = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 3
    labels[5] = -100
    built = started(method("drw"))
    assert torch.equal(built.criterion(logits, labels, now(159)), F.cross_entropy(logits, labels))
    weights = built.weights_.float()
    built.weights_ = weights
    assert torch.equal(built.criterion(logits, labels, now(160)), F.cross_entropy(logits, labels, weights))
    focal = started(method("drw", base="focal", **{"base.gamma": 0}))
    assert float(focal.criterion(logits, labels, now(160))) == pytest.approx(
        float(F.cross_entropy(logits, labels, weights)), rel=1e-6
    )


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("drw", {"weighting": "effective", "beta": 0.9999, "defer": 0.8}),
        ("drs", {"defer": 0.8, "weighting": "effective", "beta": 0.9999}),
    ],
)
def test_the_record_on_erm_is_that_before_bases_existed(name: str, fields: dict[str, Any]) -> None:
    assert recorded(method(name)) == fields
    assert method("rsg", base="drw").base_values == recorded(method("drw"))
    assert recorded(method(name, base="focal")) == fields | {"base": "focal", "base_values": {"gamma": 1.0}}
    plugin = load("methods", name)
    assert changed(configure(plugin, {"base": "focal", "base.gamma": "2"}), plugin) == {
        "base": "focal",
        "base.gamma": 2,
    }


@pytest.mark.parametrize(
    "base", ["cb-focal", "cb-rw", "drw", "ldam-drs", "ldam-drw", "m-drw", "drs", "oversample", "rsg"]
)
def test_drw_needs_unweighted_losses_of_single_images(base: str) -> None:
    with pytest.raises(UserError, match=f"'{base}' cannot be the base of DRW"):
        method("drw", base=base)


@pytest.mark.parametrize("base", ["drs", "ldam-drs", "oversample", "rsg", "open"])
def test_drs_needs_a_base_that_does_not_sample(base: str) -> None:
    with pytest.raises(UserError, match=f"'{base}' cannot be the base of DRS"):
        method("drs", base=base)


@pytest.mark.parametrize("holder", ["m2m", "rsg", "drs"])
def test_a_base_of_a_base_is_refused(holder: str) -> None:
    assert method(holder, base="drw", **{"base.base": "erm"}) == method(holder, base="drw")
    with pytest.raises(UserError, match=r"base\.base = focal: 'drw', the base of .*, cannot have a base of its own"):
        method(holder, base="drw", **{"base.base": "focal"})


def test_an_unfit_base_of_drw_is_one_sentence(cli: Callable[..., Answer]) -> None:
    answer = cli("run", "--method", "drw", "--dataset", "digits-lt", "--set", "base=ldam-drw")
    assert answer.code == 2
    assert answer.err.startswith("Error: 'ldam-drw' cannot be the base of DRW")
    assert "Traceback" not in answer.err


def test_ldam_drs_has_unweighted_margins_and_a_deferred_sampler() -> None:
    built = started(method("ldam-drs"))
    for epoch in (0, 160):
        assert float(built.criterion(COSINES, LABELS, now(epoch))) == pytest.approx(10.503687, abs=1e-5)
    assert built.sampling(COUNTS, now(159)) is None
    assert normalised(built.sampling(COUNTS, now(160))) == pytest.approx([0.334305, 0.332972, 0.332723], abs=1e-5)
    weighted = started(method("ldam-drw")).criterion(COSINES, LABELS, now(160))
    assert float(weighted) == pytest.approx(19.995829, abs=1e-5)


def test_ldam_drs_is_drs_on_ldam_alone(tmp_path: Path) -> None:
    """Their losses are also equal after the deferral, where LDAM alone and LDAM-DRW have others."""
    cases = (("ldam-drs", ()), ("drs", ("base=ldam-drw",)), ("ldam-drw", ("defer=1",)), ("ldam-drw", ()))
    losses = [carry_out(tiny_run(name, settings=fields, epochs=5), tmp_path).history.loss for name, fields in cases]
    assert losses[0] == losses[1]
    assert losses[0][:4] == losses[2][:4] == losses[3][:4]
    assert len({tuple(each) for each in losses}) == 3


def test_drw_without_effect_equals_its_base(tmp_path: Path) -> None:
    """Losses are also equal after the deferral, where class weights with the default beta change them."""

    def losses(name: str, *fields: str) -> list[float]:
        spec = tiny_run(name, settings=(*fields, "recipe.batch_size=16"), epochs=5)
        return list(carry_out(on_its_own(spec), tmp_path).history.loss)

    focal = losses("focal")
    for fields in (("defer=1",), ("beta=0", "defer=0.6")):
        assert losses("drw", "base=focal", *fields) == pytest.approx(focal, rel=1e-5)
    other = losses("drw", "base=focal", "defer=0.6")
    assert other[:3] == focal[:3]
    assert other[3] != pytest.approx(focal[3], rel=1e-3)


def test_ldam_is_trained_once_for_its_deferrals(tmp_path: Path) -> None:
    counter, runs = Counter(), [("ldam-drw", ()), ("ldam-drs", ()), ("ldam-drw", ("weighting=inverse", "beta=0.9"))]
    for name, fields in runs:
        execute(tiny_run(name, settings=fields, epochs=5), CPU, tmp_path, counter)
    assert counter.epochs == {"ldam-drw": 4 + 1 + 1, "ldam-drs": 1}
    other = tiny_run("ldam-drs", settings=("max_margin=0.3",), epochs=5)
    assert shared_trainings(other)[0].spec.id != shared_trainings(tiny_run("ldam-drs", epochs=5))[0].spec.id
    assert not shared_trainings(tiny_run("ldam-drw", settings=("defer=1",)))


@pytest.mark.parametrize(
    ("name", "fields", "first"),
    [
        ("drw", ("base=focal", "base.gamma=2"), "focal"),
        ("drs", ("base=m-drw", "weighting=progressive"), "m-drw"),
        ("m2m", ("base=ldam-drw", "gamma=0.2"), "ldam-drw"),
    ],
)
def test_a_beginning_shared_with_a_base(name: str, fields: tuple[str, ...], first: str, tmp_path: Path) -> None:
    shared = carry_out(tiny_run(name, settings=fields, epochs=5), tmp_path)
    own = carry_out(on_its_own(tiny_run(name, settings=fields, epochs=5)), tmp_path / "own")
    assert without_timings(shared) == without_timings(own)
    assert [(part.method, part.epochs) for part in shared.cost.prerequisites if part.use == "prefix"] == [(first, 4)]


def test_needs_of_deferrals_on_erm_and_on_ldam() -> None:
    assert method("drw").needs(10) == method("drs").needs(10) == Needs(prefix=8)
    assert method("rsg").needs(10).prefix == 0
    alone = {"defer": 1.0, "scale": 30.0, "max_margin": 0.5}
    needs = method("m2m", base="ldam-drw", start=0.5).needs(10)
    assert (needs.prefix, needs.prefix_of, needs.prefix_values) == (5, "ldam-drw", alone)
    assert needs == dataclasses.replace(method("ldam-drs", defer=0.5).needs(10), network=True, other_seed=True)


@pytest.mark.parametrize(("name", "fields"), [("drw", ("base=focal",)), ("drs", ("base=ldam-drw",)), ("ldam-drs", ())])
def test_a_deferral_of_one_says_that_it_has_no_effect(name: str, fields: tuple[str, ...]) -> None:
    (base,) = [field.partition("=")[2] for field in fields] or ["ldam-drw"]
    spec = tiny_run(name, settings=(*fields, "defer=1"))
    assert spec.inactive == f"all of its 3 epochs are those of {base}"
