"""Evaluation-mode copy of a network with batch norms folded into convolutions, for gradients with respect to images."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..network import Classifier

Logits = Callable[[Tensor], Tensor]


class Folded:
    """Evaluates a classifier without changing its mode, running statistics or gradients.

    The structure is traced once. `freeze` takes the backbone's current weights and folds each batch norm that directly
    follows a convolution, which gives the same function up to rounding at lower cost. The head is not frozen: the
    function that `freeze` returns uses the head's weights at the time it is called. A backbone that cannot be traced
    is evaluated without folding.

    Args:
        net: network whose structure is traced, on the device where it will be used.
    """

    def __init__(self, net: Classifier) -> None:
        self.backbone, self.pairs = _trace(copy.deepcopy(net.backbone).eval().requires_grad_(False))
        self.installed: dict[str, Tensor] | None = None
        self.convolutions = [name for name, layer in self.backbone.named_modules() if isinstance(layer, nn.Conv2d)]

    def freeze(self, net: Classifier, bf16: bool = False) -> Logits:
        """Fold the current weights; return a function from pixels (N, 3, H, W) in [0, 1] to float32 logits (N, C).

        Args:
            net: network of the same structure as the one passed to the constructor.
            bf16: whether to run the backbone in bfloat16.
        """
        layers = net.backbone  # parameters and buffers are read directly, including non-persistent buffers
        tensors: dict[str, Tensor] = {
            **dict(layers.named_parameters(remove_duplicate=False)),
            **dict(layers.named_buffers(remove_duplicate=False)),
        }
        tensors = {name: value.detach() for name, value in tensors.items()}
        for conv, norm in self.pairs.items():
            part = {name: tensors.pop(f"{norm}.{name}") for name in _NORM if f"{norm}.{name}" in tensors}
            eps = cast(float, layers.get_submodule(norm).eps)
            weight, bias = fuse_conv_bn_weights(
                tensors[f"{conv}.weight"],
                tensors.get(f"{conv}.bias"),
                part["running_mean"],
                part["running_var"],
                eps,
                part.get("weight"),
                part.get("bias"),
            )
            tensors[f"{conv}.weight"], tensors[f"{conv}.bias"] = weight.detach(), bias.detach()
        if bf16:  # once, not in every forward pass
            for name in (f"{conv}.{kind}" for conv in self.convolutions for kind in ("weight", "bias")):
                if name in tensors:
                    tensors[name] = tensors[name].bfloat16()

        def logits(images: Tensor) -> Tensor:
            self._install(tensors)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
                features = self.backbone(net.normalise(images))
            return net.classify(features.float())

        return logits

    def _install(self, tensors: dict[str, Tensor]) -> None:
        """Replace the backbone's weights by `tensors`, unless they are already in place.

        `functional_call` would replace them in every forward pass.
        """
        if self.installed is tensors:
            return
        for name, value in tensors.items():
            holder, _, kind = name.rpartition(".")
            module = self.backbone.get_submodule(holder)
            held: dict[str, Any] = module._parameters if kind in module._parameters else module._buffers
            held[kind] = value
        self.installed = tensors


_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def _trace(backbone: nn.Module) -> tuple[nn.Module, dict[str, str]]:
    """Trace a backbone and remove batch norms that directly follow a convolution.

    Returns:
        The traced backbone, and a map from the name of each such convolution to the name of its removed batch norm.
    """
    try:
        graph = fx.GraphModule(backbone, _Tracer().trace(backbone))
    except Exception:  # if tracing fails for any reason, the untraced backbone computes the same
        return backbone, {}
    modules, pairs = dict(graph.named_modules()), {}
    uses: dict[Any, int] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module":
            uses[node.target] = uses.get(node.target, 0) + 1
    for node in list(graph.graph.nodes):
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        conv, norm = modules[str(before.target)], modules[str(node.target)]
        once = uses[before.target] == uses[node.target] == 1
        if isinstance(conv, nn.Conv2d) and _plain(norm) and once:
            pairs[str(before.target)] = str(node.target)
            node.replace_all_uses_with(before)
            graph.graph.erase_node(node)
            if conv.bias is None:
                conv.bias = nn.Parameter(conv.weight.new_zeros(conv.out_channels))
    graph.recompile()
    graph.delete_all_unused_submodules()
    return graph, pairs


def _plain(norm: nn.Module) -> bool:
    """Whether a layer in evaluation mode is only a batch norm with running statistics."""
    return (
        isinstance(norm, nn.BatchNorm2d)
        and norm.track_running_stats
        and not hasattr(norm, "act")  # timm's BatchNormAct2d also activates
        and not list(norm.children())  # auxiliary batch norms have a second norm
    )


class _Tracer(fx.Tracer):
    """Treats every batch norm, including routed ones, as a leaf module."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.BatchNorm2d) or super().is_leaf_module(module, name)
