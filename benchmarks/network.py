"""Classifier = normalisation + backbone + head: pixels in [0, 1] in, float32 logits out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Head = Callable[[int, int], nn.Module]  # number of features, number of classes -> head


class Normalise(nn.Module):
    """Resizing and per-channel standardisation of images.

    Mean and standard deviation are buffers, so they are saved with the network.

    Attributes:
        size: height and width to which images are resized, in pixels; 0 to keep their size.
        interpolation: "bicubic" or "bilinear", with antialiasing.
    """

    def __init__(self, size: int = 0, interpolation: str = "bicubic") -> None:
        super().__init__()
        self.size, self.interpolation = size, interpolation
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("std", torch.ones(3, 1, 1))

    def set(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Set the mean and standard deviation of each channel, for pixels in [0, 1]."""
        self.mean.copy_(torch.tensor(mean).view(3, 1, 1))
        self.std.copy_(torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) with pixels in [0, 1] to normalised ones (N, 3, size, size)."""
        if self.size and tuple(images.shape[2:]) != (self.size, self.size):
            # bicubic interpolation overshoots at edges
            images = F.interpolate(images, (self.size, self.size), mode=self.interpolation, antialias=True).clamp(0, 1)
        return (images - self.mean) / self.std


class LinearHead(nn.Linear):
    """Linear classifier with Kaiming-normal weights and PyTorch's default bias (reference code of LDAM)."""

    def reset_parameters(self) -> None:
        """Draw the initial weights."""
        super().reset_parameters()
        nn.init.kaiming_normal_(self.weight)


class CosineHead(nn.Module):
    """Cosine similarity between features and class vectors, without bias (Cao et al. 2019, reference code).

    The cosines are multiplied by the buffer `scale`. It is 1 during training, when the loss applies its own scale;
    methods that need calibrated probabilities set it after training. The predicted class does not depend on it.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        weight = torch.empty(width, num_classes).uniform_(-1, 1)
        self.weight = nn.Parameter(F.normalize(weight, dim=0))
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, width) to scaled cosines (N, C); a zero vector gives 0."""
        return self.scale * (F.normalize(features, dim=1) @ F.normalize(self.weight, dim=0))


class SquashingCosineHead(nn.Module):
    """Cosines times a squashed feature norm: alpha |x| / (beta + |x|) cos(w_c, x); no bias (Kozerawski et al. 2020).

    Computed as alpha (x / (beta + |x|)) . (w_c / |w_c|), which is 0 for a zero feature; dividing by |x| would give NaN.

    Args:
        width: number of features.
        num_classes: number of classes, C.
        alpha: upper bound of the logits, > 0.
        beta: feature norm at which the squashed norm is half of `alpha`, > 0.
    """

    def __init__(self, width: int, num_classes: int, alpha: float = 16.0, beta: float = 0.5) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        self.weight = nn.Parameter(torch.empty(num_classes, width).uniform_(-(width**-0.5), width**-0.5))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, width) to logits (N, C) in (-alpha, alpha)."""
        squashed = features / (self.beta + features.norm(dim=1, keepdim=True))
        logits: Tensor = self.alpha * squashed @ F.normalize(self.weight, dim=1).T
        return logits


class Frozen(nn.Module):
    """Wrapper that freezes a trained network: always in evaluation mode, no gradients for its parameters."""

    def __init__(self, net: Classifier) -> None:
        super().__init__()
        self.net = net.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> Frozen:
        """Ignore the mode; the network stays in evaluation mode."""
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Map pixels (N, 3, H, W) in [0, 1] to logits (N, C)."""
        logits: Tensor = self.net(images)
        return logits


class FrozenBackbone(nn.Sequential):
    """Backbone that is never trained: always in evaluation mode, no gradients for its parameters.

    Args:
        stages: stages of a backbone, by name.
    """

    def __init__(self, stages: OrderedDict[str, nn.Module]) -> None:
        super().__init__(stages)
        self.requires_grad_(False)
        super().train(False)

    @classmethod
    def of(cls, backbone: nn.Sequential) -> FrozenBackbone:
        """Freeze a backbone; its stages and its attribute `width` are taken over."""
        frozen = cls(OrderedDict(backbone.named_children()))
        frozen.width = backbone.width
        return frozen

    def train(self, mode: bool = True) -> FrozenBackbone:
        """Ignore the mode; all stages stay in evaluation mode."""
        return self


class Classifier(nn.Module):
    """Network that consists of a normalisation, a backbone that can be sliced at any stage, and a head.

    Its input are images or, for a frozen backbone, features that it has computed before.

    Args:
        backbone: sequence of named stages, the last of which pools to (N, width); has the attribute `width`.
        head: function of width and C that builds a module from features (N, width) to logits (N, C).
        num_classes: number of classes, C.
    """

    def __init__(self, backbone: nn.Sequential, head: Head, num_classes: int) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.backbone = backbone
        self.head = head(cast(int, backbone.width), num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Map pixels (N, 3, H, W) in [0, 1] to float32 features (N, width); return features (N, width) unchanged."""
        if images.dim() == 2:
            return images
        features: Tensor = self.backbone(self.normalise(images)).float()
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Map pixels (N, 3, H, W) in [0, 1], or features (N, width), to float32 logits (N, C).

        The head runs in float32: near 0.7, the spacing of bfloat16 is 0.004, which a cosine head's scale of 30 would
        turn into 0.12 in the logits.
        """
        return self.classify(self.features(images))

    def trained_state(self) -> dict[str, Tensor]:
        """The state dict without a frozen backbone, whose tensors are always those of the pretrained weights."""
        constant = isinstance(self.backbone, FrozenBackbone)
        return {k: value for k, value in self.state_dict().items() if not (constant and k.startswith("backbone."))}

    def classify(self, features: Tensor) -> Tensor:
        """Map float32 features (N, width) to float32 logits (N, C)."""
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features)
            return logits
