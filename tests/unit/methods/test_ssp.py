"""SSP: rotations, the change from the pretext task to the base, and equality with the base if there is no task."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.callbacks import Counter, StopAfter
from helpers.command import Answer
from helpers.tiny import SHORT, carry_out, on_its_own, tiny_run, without_timings
from ltbench.benchmarks.data.loader import draw, generator
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import Batch, Needs, Now, Split
from ltbench.benchmarks.registry import configure, load, names
from ltbench.benchmarks.training.active_stage import active_stages
from ltbench.benchmarks.training.loop import step, train
from ltbench.benchmarks.training.preview import view
from ltbench.benchmarks.training.run_spec import RunSpec, build_network
from ltbench.benchmarks.training.shared_start import attach_source
from ltbench.benchmarks.training.trainer import execute
from ltbench.methods._shared.rotation import Rotation, quarters, rotated
from ltbench.methods.ssp import SSP

CPU = torch.device("cpu")
# fields that differ between the records of two methods
TABLE = ("method", "id", "hyperparameters", "changed", "environment")


def method(**fields: Any) -> Any:
    return configure(load("methods", "ssp"), fields)


def on(base: str, epochs: int = 5, length: float = 1) -> RunSpec:
    short = ("ssp.base.second=3",) if base in SHORT else ()
    return tiny_run("ssp", settings=(f"ssp.base={base}", f"ssp.length={length}", *short), epochs=epochs)


def test_quarter_turns_are_counter_clockwise() -> None:
    image = torch.tensor([[0.0, 1.0], [2.0, 3.0]], dtype=torch.float64)
    turned = rotated(image.expand(5, 3, 2, 2))
    expected = [[0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0], [2, 0, 3, 1], [0, 1, 2, 3]]
    assert turned[:, 0].flatten(1).tolist() == expected
    assert turned[:, 2].flatten(1).tolist() == expected


@pytest.mark.parametrize("size", range(1, 10))
def test_rotations_are_equally_frequent_in_every_batch(size: int) -> None:
    images = torch.rand(size, 3, 4, 4, generator=generator(0, "images"))
    turned, turns = rotated(images), quarters(images)
    counts = turns.bincount(minlength=4)
    assert counts.max() - counts.min() <= 1
    assert all(torch.equal(turned[row], images[row].rot90(int(turns[row]), (1, 2))) for row in range(size))


def test_an_image_is_rotated_at_random_from_epoch_to_epoch() -> None:
    """The row of an image in the batch determines its rotation, and the order of the rows is random."""
    split, turns = tiny_run().dataset.train, []
    for epoch in range(40):
        assert SSP().sampling(split.counts, Now("pretext", epoch, 40, generator(0, "test"))) is None
        index = draw(split, None, generator(0, "draw", epoch))
        turns.append(quarters(index)[index.argsort()])
    by_image = torch.stack(turns, 1)
    assert all(len(row.unique()) == 4 for row in by_image)
    assert by_image.flatten().bincount().tolist() == pytest.approx([by_image.numel() / 4] * 4, rel=0.03)


def test_the_loss_is_that_of_the_rotations() -> None:
    spec = tiny_run("ssp")
    net, split, task = build_network(spec), spec.dataset.train, Rotation()
    task.begin_stage(spec.stages[0], net, split)
    now = Now("pretext", 0, 3, generator(0, "test"))
    before = Batch(split.images[:10].float() / 255, split.labels[:10])
    batch = task.transform(before, net, now)
    logits = net.get_submodule("rotation")(net.features(batch.images)).detach().double()
    naive = [-(row[k % 4] - row.exp().sum().log()) for k, row in enumerate(logits)]
    assert task.loss(net, batch, now).item() == pytest.approx(float(sum(naive)) / 10, abs=1e-5)
    assert torch.equal(batch.labels, before.labels), "pictures show the labels of the classes"


@pytest.mark.parametrize("base", ["erm", "ldam-drw", "drs", "blt", "m2m"])
def test_without_the_task_it_is_the_base(base: str, tmp_path: Path) -> None:
    own, plain = on(base, length=0), tiny_run(base, epochs=5)
    records = [carry_out(spec, tmp_path).model_dump(exclude={"cost", *TABLE}) for spec in (own, plain)]
    assert records[0] == records[1]
    states = [torch.load(tmp_path / spec.id / "network.pt", weights_only=True) for spec in (own, plain)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize("base", ["erm", "ldam-drw"])
def test_with_the_task_the_epochs_of_the_base_differ(base: str, tmp_path: Path) -> None:
    own, plain = carry_out(on(base, length=0.4), tmp_path), carry_out(tiny_run(base, epochs=5), tmp_path)
    assert own.cost.epochs_per_stage == {"pretext": 2, "train": 5}
    assert own.history.loss[2] != plain.history.loss[0]


@pytest.mark.parametrize("base", ["erm", "ldam-drw", "blt", "open", "bbn", "m2m"])
def test_the_base_starts_from_the_backbone_and_its_own_head(base: str) -> None:
    """Backbone and batch-norm statistics are kept bit for bit; the head has the same initial weights as without SSP."""
    spec = on(base, epochs=1)
    net = build_network(spec)
    head = copy.deepcopy(net.head.state_dict())
    attach_source(spec, net)
    stages = active_stages(spec, net, spec.dataset.train)
    active = next(stages)
    now = active.begin_epoch(0)
    initial = copy.deepcopy(net.backbone.state_dict())
    for picked in active.draw(now):
        step(active, active.batch(picked), now)
    trained = copy.deepcopy(net.backbone.state_dict())
    assert all(not torch.equal(value, initial[key]) for key, value in trained.items() if key.endswith("running_mean"))
    assert all(torch.equal(value, head[key]) for key, value in net.head.state_dict().items())
    assert next(stages).stage.name == "train"
    assert all(torch.equal(value, trained[key]) for key, value in net.backbone.state_dict().items())
    assert not hasattr(net, "rotation")
    if base != "blt":  # its first stage has the head of ERM
        assert all(torch.equal(value, head[key]) for key, value in net.head.state_dict().items())


def test_the_network_learns_to_tell_rotations() -> None:
    spec = on("erm", epochs=30)
    losses = [end.loss for end in islice(train(spec, build_network(spec), spec.dataset.train), 30)]
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("base", ["drs", "oversample"])
def test_bases_with_the_plain_network_share_the_task(base: str, tmp_path: Path) -> None:
    counter = Counter()
    shared = execute(on(base), CPU, tmp_path, counter)
    assert counter.epochs == {"ssp": 10}
    (part,) = shared.cost.prerequisites
    assert (part.method, part.id, part.use, part.epochs, part.reused) == ("ssp", on("erm").id, "prefix", 5, False)
    execute(on("erm"), CPU, tmp_path, counter)
    assert counter.epochs == {"ssp": 15}, "the run on ERM has five more epochs"
    own = carry_out(on_its_own(on(base)), tmp_path / "own")
    assert without_timings(shared) == without_timings(own)


def test_at_most_the_epochs_of_the_recipe_are_shared() -> None:
    assert method(base="drs", length=2.5).needs(4).prefix == 4
    assert method(base="drs", length=0.5).needs(4).prefix == 2
    assert method(base="drs", length=0).needs(4) == Needs()
    assert method(base="ldam-drw").needs(4).prefix == 0
    assert method(base="erm").needs(4) == Needs()


def test_it_resumes_in_every_stage(tmp_path: Path) -> None:
    def spec() -> RunSpec:
        settings = ("ssp.base=blt", "ssp.base.limit=1", "ssp.base.second=1", "ssp.length=0.5")
        return tiny_run("ssp", settings=settings, epochs=2)

    whole = carry_out(spec(), tmp_path / "whole")
    assert whole.cost.epochs_per_stage == {"pretext": 1, "train": 2, "hallucinate": 2}
    for stop in range(1, 5):
        with pytest.raises(KeyboardInterrupt):
            execute(spec(), CPU, tmp_path / str(stop), StopAfter(stop))
        assert without_timings(carry_out(spec(), tmp_path / str(stop))) == without_timings(whole)


@pytest.mark.parametrize("base", [name for name in names("methods") if name != "ssp"])
def test_any_other_method_can_be_the_base(base: str) -> None:
    spec = on(base, epochs=2)
    plain = tiny_run(base, epochs=2)
    assert spec.stages[1:] == plain.stages
    needs, expected = spec.needs, plain.needs
    assert (needs.network, needs.other_seed, needs.validation) == (
        expected.network,
        expected.other_seed,
        expected.validation,
    )


def test_values_reach_the_base_and_the_base_of_the_base() -> None:
    ours = method(**{"base": "rsg", "base.base": "focal", "base.base.gamma": "2.5"})
    assert ours.base_.make_base().gamma == 2.5
    assert SSP().base_.max_margin == 0.5


def test_it_cannot_be_its_own_base(cli: Callable[..., Answer]) -> None:
    answer = cli("run", "-m", "ssp", "-d", "digits-lt", "--set", "ssp.base=ssp")
    assert answer.code == 2
    assert "'ssp' cannot be the base of SSP" in answer.err
    assert "Traceback" not in answer.err


def test_images_that_are_not_square_are_refused() -> None:
    spec = on("erm")
    wide = Split(torch.zeros(4, 3, 8, 6, dtype=torch.uint8), torch.arange(4) % 2, 2)
    with pytest.raises(UserError, match="square images; those of this dataset have 8 rows and 6 columns"):
        spec.method.begin_stage(spec.stages[0], build_network(spec), wide)


def test_two_classes_are_enough() -> None:
    """Rotations have their own four labels, so a dataset may have fewer than four classes."""
    spec = on("erm", epochs=1)
    split = spec.dataset.train.take(torch.where(spec.dataset.train.labels < 2)[0])
    two = Split(split.images, split.labels, 2)
    dataset = dataclasses.replace(spec.dataset, train=two, test=two, class_names=spec.dataset.class_names[:2])
    spec = dataclasses.replace(spec, dataset=dataset)
    assert len(list(train(spec, build_network(spec), two))) == 2


def test_pictures_show_rotated_images_with_their_classes(tmp_path: Path) -> None:
    images = view(on("erm", epochs=4), 0, tmp_path)
    later = view(on("erm", epochs=4), 0.6, tmp_path)
    counts = tiny_run().dataset.train.counts.tolist()
    assert images.class_counts.tolist() == later.class_counts.tolist() == counts
    assert not images.synthetic.any()
