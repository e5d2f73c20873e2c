"""Requirements on every method with a frozen backbone, on images and on features that were computed once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.callbacks import StopAfter
from helpers.frozen import frozen_run, write_weights
from helpers.tiny import carry_out, without_timings
from ltbench.benchmarks import registry
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.method import overridden_hooks
from ltbench.benchmarks.network import Classifier
from ltbench.benchmarks.training.loop import train
from ltbench.benchmarks.training.run_spec import build_network
from ltbench.benchmarks.training.shared_start import attach_source
from ltbench.benchmarks.training.trainer import execute
from safetensors.torch import load_file


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "narrow.safetensors")


@pytest.fixture(params=registry.names("methods"))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def works_on_features(name: str) -> bool:
    cls = registry.load("methods", name).cls
    return not (cls.trains_backbone or cls.needs_images or "transform" in overridden_hooks(cls))


def test_on_features_a_run_equals_one_on_images(name: str, weights: Path, tmp_path: Path) -> None:
    """Losses agree up to rounding, and so do the predictions; methods that need images refuse features."""
    if not works_on_features(name):
        with pytest.raises(UserError, match=rf"^{name} (needs the images|trains layers of the backbone)"):
            frozen_run(weights, name)
        return
    features = carry_out(frozen_run(weights, name), tmp_path / "features")
    images = carry_out(frozen_run(weights, name, cache=False), tmp_path / "images")
    assert features.history.loss == pytest.approx(images.history.loss, rel=1e-3)
    differences = sum(abs(a - b) for a, b in zip(features.final.correct, images.final.correct, strict=True))
    assert differences <= 1
    assert "features" in {part.use for part in features.cost.prerequisites}
    assert "features" not in {part.use for part in images.cost.prerequisites}


def test_training_leaves_a_frozen_backbone_unchanged(name: str, weights: Path) -> None:
    """All tensors of the weights' file are in the network after training, running statistics included."""
    if registry.load("methods", name).cls.trains_backbone:
        with pytest.raises(UserError, match=f"^{name} trains layers of the backbone"):
            frozen_run(weights, name, cache=False)
        return
    run = frozen_run(weights, name, cache=False)
    net = build_network(run)
    attach_source(run, net)
    for _ in train(run, net, run.dataset.train):
        assert_pretrained(net, weights)
    assert_pretrained(run.method.finish(net, run.dataset.train), weights)


def assert_pretrained(net: Classifier, weights: Path) -> None:
    tensors = net.backbone.state_dict()
    for key, value in load_file(weights).items():
        assert torch.equal(tensors[key], value), key


def test_a_run_on_features_resumes(weights: Path, tmp_path: Path) -> None:
    """Its checkpoints do not contain the backbone."""
    whole = carry_out(frozen_run(weights, "crt", epochs=4), tmp_path / "whole")
    for stop in (2, 5):  # within the shared start, and in the second stage
        with pytest.raises(KeyboardInterrupt):
            execute(frozen_run(weights, "crt", epochs=4), torch.device("cpu"), tmp_path / "again", StopAfter(stop))
    again = carry_out(frozen_run(weights, "crt", epochs=4), tmp_path / "again")
    assert without_timings(whole) == without_timings(again)
    assert again.cost.resumed == 2
    (network,) = (tmp_path / "whole" / frozen_run(weights, "crt", epochs=4).id).glob("network.pt")
    assert set(torch.load(network, weights_only=True)) == {
        "normalise.mean",
        "normalise.std",
        "head.weight",
        "head.bias",
    }
