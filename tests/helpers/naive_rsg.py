"""Naive implementation of RSG that follows the formulas, one sample at a time."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def contrast(module: Any, first: Tensor, second: Tensor) -> Tensor:
    """Logits of the contrastive module; its first convolution is applied to the concatenated maps."""
    inner = F.relu(module.conv1(torch.cat([first, second], 1)))
    return module.head(module.conv2(inner).mean((2, 3)))


def assignment(generator: Any, maps: Tensor, label: int) -> Tensor:
    return torch.softmax(generator.weight[label].T @ maps.mean((1, 2)) + generator.bias[label], 0)


def centre_loss(generator: Any, maps: Tensor, labels: list[int]) -> Tensor:
    total = torch.zeros((), dtype=maps.dtype)
    for x, label in zip(maps, labels, strict=True):
        gamma = assignment(generator, x, label)
        for k, centre in enumerate(generator.centres[label]):
            total = total + gamma[k] * ((x - centre[:, None, None]) ** 2).sum()
    return total / len(maps)


def pair_loss(generator: Any, maps: Tensor, labels: list[int]) -> Tensor:
    half = len(maps) // 2
    terms = []
    for i in range(half):
        logits = contrast(generator.contrast, maps[i : i + 1], maps[half + i : half + i + 1])[0]
        terms.append(-torch.log_softmax(logits, 0)[int(labels[i] == labels[half + i])])
    return torch.stack(terms).mean() if terms else torch.zeros((), dtype=maps.dtype)


def pairs(frequent: list[bool], transfer: float) -> list[tuple[int, int]]:
    """Pairs (frequent row, rare row), one for each generated sample, in order."""
    head = [i for i, yes in enumerate(frequent) if yes]
    tail = [i for i, yes in enumerate(frequent) if not yes]
    h, t = len(head), len(tail)
    if h == 0 or t == 0:
        return []
    more, fewer = (head, tail) if h >= t else (tail, head)
    segments = max(math.floor(len(more) * transfer / len(fewer)), 1)
    matches = []
    for j in range(segments):
        for i in range(len(fewer)):
            left, other = more[j * len(fewer) + i], fewer[i]
            matches.append((left, other) if h >= t else (other, left))
    return matches


def generate(generator: Any, maps: Tensor, labels: list[int], met: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Generated maps, and mean MV loss of the pairs `met`; centres and assignments receive no gradients."""

    def moved(i: int) -> Tensor:
        nearest = int(assignment(generator, maps[i], labels[i]).argmax())
        return (maps[i] - generator.centres[labels[i], nearest][:, None, None]).detach()

    method, terms = [], []
    for f, r in met:
        far, near = moved(f), moved(r)
        change = generator.transform(far[None])[0]
        method.append(maps[r] + change)
        terms.append(_mv(generator, change, near, far, maps[f]))
    return torch.stack(method), torch.stack(terms).mean()


def _mv(generator: Any, change: Tensor, near: Tensor, far: Tensor, frequent: Tensor) -> Tensor:
    channels = len(change)
    if generator.memory_rows:
        a, b, c = (x.reshape(-1, channels) for x in (change, near, far))
    else:
        a, b, c = (x.permute(1, 2, 0).reshape(-1, channels) for x in (change, near, far))
    total = torch.zeros((), dtype=change.dtype)
    for u, v, w in zip(a, b, c, strict=True):
        zero = float(u.detach().norm()) < 1e-6 or float(v.norm()) < 1e-12
        total = total + abs((0 if zero else u @ v / (u.norm() * v.norm())) - 1) + abs(u.norm() - w.norm())
    logits = contrast(generator.contrast, frequent[None], change[None])[0]
    return total - torch.log_softmax(logits, 0)[0]
