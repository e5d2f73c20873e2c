"""M2m and BLT as methods: state that they must not change, data that they must not use, and their batches."""

from __future__ import annotations

import copy
import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import carry_out, tiny_run
from ltbench.benchmarks.data.loader import generator
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import Batch, Now
from ltbench.benchmarks.network import Classifier
from ltbench.benchmarks.precision import Rounding
from ltbench.benchmarks.registry import load
from ltbench.benchmarks.speed.op_counter import Tally
from ltbench.benchmarks.split import Split
from ltbench.benchmarks.training.plan import RunRequest, make_plan
from ltbench.benchmarks.training.run_spec import RunSpec, build_network
from ltbench.benchmarks.training.shared_start import attach_source
from ltbench.methods.m2m import TALLY

EASY = ("m2m.gamma=0", "m2m.beta=0")


def ready(method: str, *settings: str) -> tuple[RunSpec, Classifier, Now, Batch]:
    """A run, its network, the `Now` of its last epoch, and a class-balanced batch of 80 images."""
    run = tiny_run(method, settings=settings)
    net = build_network(run)
    attach_source(run, net)
    stage = run.method.stages(10)[-1]
    for each in run.method.stages(10):
        run.method.begin_stage(each, net, run.dataset.train)
    now = Now(stage.name, stage.epochs - 1, stage.epochs, generator(0, "test"))
    run.method.begin_epoch(net, run.dataset.train, now)
    labels = torch.arange(10).repeat(8)
    split = run.dataset.train
    index = torch.stack([(split.labels == label).nonzero()[0, 0] for label in labels])
    images = (split.pixels(index).float() / 255).contiguous(memory_format=torch.channels_last)
    return run, net, now, Batch(images, labels)


@pytest.mark.parametrize("method", ["m2m", "blt"])
def test_an_attack_leaves_weights_statistics_and_modes(method: str) -> None:
    run, net, now, batch = ready(method, *(EASY if method == "m2m" else ()))
    net.train()
    before = copy.deepcopy(net.state_dict())
    modes = [module.training for module in net.modules()]
    arguments = batch.images.clone()
    changed = run.method.transform(batch, net, now)
    assert not torch.equal(changed.images, batch.images) if method == "m2m" else len(changed.images) > 80
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.equal(batch.images, arguments)
    assert not changed.images.requires_grad


def test_the_frozen_network_stays_what_erm_made_of_it(tmp_path: Path) -> None:
    observed: dict[str, Any] = {}
    run = tiny_run("m2m", epochs=5)
    plain = run.method.finish

    def finish(net: Classifier, train: Split) -> Classifier:
        observed.update(copy.deepcopy(net.state_dict()))
        observed["storages"] = {value.data_ptr() for value in net.get_submodule("source").state_dict().values()}
        observed["own"] = {value.data_ptr() for key, value in net.state_dict().items() if not key.startswith("source.")}
        return plain(net, train)

    object.__setattr__(run.method, "finish", finish)
    carry_out(run, tmp_path)
    erm = tiny_run("erm", seed=1, epochs=5)  # the neighbouring seed
    carry_out(erm, tmp_path / "other")
    trained = torch.load(tmp_path / "other" / erm.id / "network.pt", weights_only=True)
    assert all(torch.equal(value, observed[f"source.net.{key}"]) for key, value in trained.items())
    assert not observed["storages"] & observed["own"]


def test_training_mode_does_not_reach_the_frozen_network() -> None:
    _, net, _, _ = ready("m2m")
    net.train()
    assert not any(module.training for module in net.get_submodule("source").modules())
    assert not any(parameter.requires_grad for parameter in net.get_submodule("source").parameters())


def test_translated_images_keep_their_place_and_label() -> None:
    run, net, now, batch = ready("m2m", *EASY)
    changed = run.method.transform(batch, net, now)
    assert changed.synthetic is not None
    assert changed.origin is not None
    built = changed.synthetic
    assert 10 < built.sum() < 80
    assert torch.equal(changed.labels, batch.labels)
    assert torch.equal(changed.images[~built], batch.images[~built])
    assert not built[batch.labels == run.dataset.train.counts.argmax()].any()
    counts = run.dataset.train.counts
    assert (counts[batch.labels[changed.origin[built]]] > counts[batch.labels[built]]).all()
    assert changed.images.min() >= 0
    assert changed.images.max() <= 1
    moved = (changed.images[built] - batch.images[changed.origin[built]]).flatten(1).norm(dim=1)
    assert (moved < 10 * 0.1 + 0.5).all()


def test_m2m_counts_where_its_candidates_went() -> None:
    run, net, now, batch = ready("m2m", "m2m.gamma=1", "m2m.beta=0.9")
    changed = run.method.transform(batch, net, now)
    measures = run.method.measures(net, now)
    assert sum(measures[f"m2m_{name}"] for name in TALLY.rows[1:]) == pytest.approx(1)
    assert measures["m2m_beta"] == 0.9
    assert measures["m2m_translated_class9"] == 0
    assert measures["m2m_translated"] == 0
    assert measures["m2m_gate"] > 0
    assert measures["m2m_coin"] > 0
    assert torch.equal(changed.images, batch.images)


@pytest.mark.parametrize("method", ["m2m", "blt"])
def test_attack_names_its_arithmetic(method: str) -> None:
    """`attack=bf16` changes the images slightly, and emulating it by rounding float32 changes them by no more."""
    images = []
    for precision, around in (("fp32", nullcontext()), ("bf16", nullcontext()), ("bf16", Rounding())):
        easy = EASY if method == "m2m" else ("low=1", "high=1")
        torch.manual_seed(0)  # for the weights of BLT's second head
        run, net, now, batch = ready(method, *easy, f"attack={precision}")
        with around:
            images.append(run.method.transform(batch, net, now).images)
    full, half, rounded = images
    assert not torch.equal(full, half)
    assert (full - half).abs().mean() < 0.1 * (full - full.mean()).abs().mean()
    assert (half - rounded).abs().mean() <= (full - half).abs().mean()


def test_attack_is_in_fp32_unless_asked_otherwise() -> None:
    for method in ("m2m", "blt"):
        (field,) = (f for f in dataclasses.fields(load("methods", method).cls) if f.name == "attack")
        assert field.default == "fp32"


def test_a_batch_without_candidates_stays_as_it_is() -> None:
    run, net, now, batch = ready("m2m", *EASY)
    head = torch.full_like(batch.labels, int(run.dataset.train.counts.argmax()))
    changed = run.method.transform(Batch(batch.images, head), net, now)
    assert torch.equal(changed.images, batch.images)
    assert not changed.synthetic.any()  # type: ignore[union-attr]


def test_hallucinated_images_follow_the_batch_with_their_labels() -> None:
    run, net, now, batch = ready("blt", "p=0.5", "limit=3", "low=1", "high=1")
    changed = run.method.transform(batch, net, now)
    assert changed.origin is not None
    assert changed.towards is not None
    assert torch.equal(changed.images[:80], batch.images)
    extra = changed.labels[80:]
    used = extra >= 0
    tail = (run.dataset.train.counts <= 20).nonzero().flatten()
    assert torch.isin(extra[used], tail).all()
    assert used.sum() == 4 * len(tail)  # half of eight images per tail class
    assert torch.equal(batch.labels[changed.origin[80:]][used], extra[used])
    assert (changed.towards[80:] != extra)[used].all()
    moved = (changed.images[80:] - batch.images[changed.origin[80:]]).flatten(1).norm(dim=1)
    assert (moved[used] > 0).all()
    assert run.method.measures(net, now) == {
        "blt_images_per_batch": used.sum(),
        "blt_steps": 3,
        "blt_at_limit": 1,
        "blt_no_slot": 0,
    }


def trained(run: RunSpec, net: Classifier, batch: Batch, now: Now) -> list[torch.Tensor]:
    """Loss, gradients and buffers of a copy of the network after one batch."""
    twin = copy.deepcopy(net).train()
    loss = run.method.loss(twin, batch, now)
    loss.backward()
    return [loss, *(p.grad for p in twin.parameters() if p.grad is not None), *twin.buffers()]


def test_empty_slots_change_neither_loss_nor_statistics(slots: None) -> None:
    run, net, now, batch = ready("blt", "limit=2", "low=1", "high=1")
    changed = run.method.transform(batch, net, now)
    garbage = Batch(changed.images.clone(), *changed[1:])
    empty = changed.labels < 0
    assert empty.any()
    garbage.images[empty] = 1e3
    for first, second in zip(*(trained(run, net, each, now) for each in (changed, garbage)), strict=True):
        assert torch.allclose(first, second, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [("m2m", "gamma=0", "beta=0"), ("m2m", "seeds=noise", "gamma=0", "beta=0"), ("blt",),
     ("blt", "grad_accumulate=true"), ("blt", "start_image=class"), ("blt", "instead=augment")],
)  # fmt: skip
def test_a_cpu_leaves_out_what_a_gpu_computes_for_nothing(
    settings: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    """Skipping empty slots and finished images saves operations and changes no image, count, loss or gradient."""
    results, flops = [], []
    for path in ("few", "slots"):
        if path == "slots":
            request.getfixturevalue("slots")
        torch.manual_seed(0)  # for the weights of BLT's second head
        run, net, now, batch = ready(*settings)
        fresh = dataclasses.replace(
            now, fresh=lambda index, arguments=batch.images: arguments[index % len(arguments)].clone()
        )
        with Tally() as work:
            changed = run.method.transform(batch, net, fresh)
            loss = trained(run, net, changed, now)
        counts = next(value for name, value in net.named_buffers() if name.endswith("_count"))
        kept = changed.labels >= 0
        results.append([changed.images[kept], changed.labels[kept], counts.clone(), *loss])
        flops.append(work.flops)
    assert flops[0] < flops[1]
    for few, all_of_them in zip(*results, strict=True):
        assert torch.allclose(few.double(), all_of_them.double(), rtol=1e-3, atol=1e-5)


def test_the_confusion_matrix_never_sees_a_test_image() -> None:
    """The confusion matrix depends only on held-out images, neither on test images nor on other training images."""
    run, net, now, _ = ready("blt")
    train = run.dataset.train
    assert train.validation is not None
    own = net.get_buffer("confusion").clone()
    noise = torch.randint_like(train.images, 256, generator=generator(0, "noise"))
    other = torch.randint_like(train.validation.images, 256, generator=generator(0, "noise"))
    run.dataset.test.images.zero_()
    run.method.begin_epoch(net, dataclasses.replace(train, images=noise), now)
    assert torch.equal(net.get_buffer("confusion"), own)
    run.method.begin_epoch(net, dataclasses.replace(train, validation=Split(other, *_rest(train.validation))), now)
    assert not torch.equal(net.get_buffer("confusion"), own)
    assert own.sum(1).tolist() == pytest.approx(train.validation.counts.tolist(), rel=1e-5)


def _rest(split: Split) -> tuple[torch.Tensor, int]:
    return split.labels, split.num_classes


def test_held_out_images_are_neither_trained_on_nor_tested_on() -> None:
    run = tiny_run("blt")
    train = run.dataset.train
    assert train.validation is not None

    def rows(split: Split) -> set[bytes]:
        return {image.numpy().tobytes() for image in split.images}

    assert not rows(train) & rows(train.validation)
    assert not rows(run.dataset.test) & rows(train.validation)
    whole = tiny_run("erm").dataset.train
    assert rows(train) | rows(train.validation) == rows(whole)


def test_the_dataset_of_a_run_says_that_images_are_held_out() -> None:
    with pytest.warns(UserWarning, match="blt needs held-out training images; .* --set dataset.holdout=true"):
        blt, erm = make_plan(["blt", "erm"], ["digits-lt"], RunRequest(imbalance="5"))
    same = make_plan(["erm"], ["digits-lt"], RunRequest(imbalance="5", settings=["dataset.holdout=true"]))[0]
    soft = make_plan(["blt"], ["digits-lt"], RunRequest(imbalance="5", settings=["confusion=train_soft"]))[0]
    assert blt.facts.dataset == same.facts.dataset
    assert blt.facts.dataset.label == "digits-lt exp5 holdout=True"
    assert erm.facts.dataset.label == "digits-lt exp5" == soft.facts.dataset.label
    assert erm.facts.dataset.checksum != blt.facts.dataset.checksum


def test_a_class_of_one_image_cannot_be_held_out() -> None:
    with pytest.raises(UserError, match="has no training image"):
        make_plan(["blt"], ["digits-lt"], RunRequest(imbalance="100"))


@pytest.mark.parametrize(
    "settings",
    [("m2m.base=ldam-drw",), ("m2m.base=ldam-drw", "m2m.base.defer=1"),
     ("m2m.lam=0",), ("m2m.iterations=0",), ("m2m.seeds=noise",),
     ("m2m.random_start=per_sample", "m2m.attack=fp32"), ("blt.first=own",), ("blt.start_image=class",),
     ("blt.instead=augment",), ("blt.instead=none",), ("blt.target=static",), ("blt.target=random",),
     ("blt.confusion=train_soft", "blt.threshold=three", "blt.rounding=floor", "blt.grad_accumulate=true")],
    ids="+".join,
)  # fmt: skip
def test_every_option_trains(settings: tuple[str, ...], tmp_path: Path) -> None:
    method = settings[0].partition(".")[0]
    short = {"m2m": "m2m.start=0.5", "blt": "blt.second=1"}[method]
    run = tiny_run(method, settings=(*settings, short), epochs=2)
    assert settings[0].partition(".")[2].partition("=")[0] in carry_out(run, tmp_path).changed
