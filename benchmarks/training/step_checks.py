"""Checks of the batches and losses that a method's hooks return in a step; an invalid one ends the run.

Only the first step of a stage is checked. Values on a GPU are read at the end of the epoch, so that no step waits for
the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from ..errors import RunFailed
from ..method import Batch, Method
from ..precision import host_reads_freely
from .hook_checks import require

IGNORED = -100  # label of the rows that a loss ignores


class StepChecks:
    """Checks of the batch and the loss in the first step of a stage.

    Args:
        method: method that the hooks belong to.
        classes: number of classes, C.
    """

    def __init__(self, method: Method, classes: int) -> None:
        self.method, self.classes = method, classes
        self.waiting = {"transform", "loss"}
        self.later: list[tuple[Tensor, str, str]] = []  # deferred checks: a bool tensor, its hook and its rule

    def batch(self, new: Any, old: Batch) -> None:
        """Check shapes, types and values of a batch that `transform` returned; only in the first step of the stage.

        Args:
            new: value that the hook returned.
            old: batch that the hook received.

        Raises:
            RunFailed: the batch is invalid. Invalid values on a GPU are reported later, by `settle`.
        """
        if "transform" not in self.waiting:
            return
        self.waiting.discard("transform")
        self._require(isinstance(new, Batch), "transform", "a Batch", new)
        images, labels = new.images, new.labels
        pictures = (
            isinstance(images, Tensor) and images.is_floating_point() and images.shape[1:] == old.images.shape[1:]
        )
        self._require(pictures, "transform", f"images float (N, {_shape(old.images)})", images)
        self._require(images.device == old.images.device, "transform", "images on the device of the batch", images)
        self._labels(labels, len(images))
        self._mixture(new)
        for name, dtype, kind in (
            ("synthetic", torch.bool, "a bool"),
            ("origin", torch.int64, "an int64"),
            ("towards", torch.int64, "an int64"),
        ):
            rows = getattr(new, name)
            good = rows is None or (isinstance(rows, Tensor) and rows.dtype == dtype and rows.ndim == 1)
            self._require(good, "transform", f"'{name}' as {kind} vector or None", rows)
        if new.synthetic is not None:
            self._require(len(new.synthetic) == len(images), "transform", "'synthetic' with N rows", new.synthetic)
        self._value(images, lambda: images.isfinite().all(), "transform", "finite images")

    def _labels(self, labels: Any, rows: int) -> None:
        rule = f"labels int64 ({rows},) or class probabilities float ({rows}, {self.classes})"
        tensor = isinstance(labels, Tensor)
        hard = tensor and labels.dtype == torch.int64 and labels.shape == (rows,)
        soft = tensor and labels.is_floating_point() and labels.shape == (rows, self.classes)
        self._require(hard or soft, "transform", rule, labels)
        if soft:
            self._value(labels, lambda: labels.isfinite().all(), "transform", "finite class probabilities")
        else:
            self._classes(labels, "labels")

    def _classes(self, labels: Tensor, name: str) -> None:
        def known() -> Tensor:
            correct: Tensor = ((labels >= 0) & (labels < self.classes)) | (labels == IGNORED)
            return correct.all()

        self._value(labels, known, "transform", f"{name} in [0, {self.classes - 1}] or {IGNORED}")

    def _mixture(self, new: Batch) -> None:
        second: Any = new.second_labels
        weight: Any = new.weight
        if second is None and weight is None:
            return
        tensors = isinstance(second, Tensor) and isinstance(weight, Tensor)
        good = tensors and second.dtype == torch.int64 and weight.is_floating_point()
        good = good and new.labels.ndim == 1 and second.shape == weight.shape == new.labels.shape
        rule = "'second_labels' int64 (N,) and 'weight' float (N,) beside labels (N,), or neither"
        self._require(good, "transform", rule, second if weight is not None else weight)
        self._classes(second, "'second_labels'")
        self._value(weight, lambda: ((weight >= 0) & (weight <= 1)).all(), "transform", "'weight' in [0, 1]")

    def loss(self, loss: Any) -> None:
        """Check that the loss is a scalar with a gradient; only in the first step of the stage.

        The loop checks that the mean loss of an epoch is finite.

        Raises:
            RunFailed: the loss is invalid.
        """
        if "loss" not in self.waiting:
            return
        self.waiting.discard("loss")
        scalar = isinstance(loss, Tensor) and loss.is_floating_point() and loss.ndim == 0
        hook = "criterion" if type(self.method).loss is Method.loss else "loss"
        self._require(scalar, hook, "a floating-point scalar", loss)
        self._require(loss.requires_grad, hook, "a loss with a gradient", loss)

    def settle(self) -> None:
        """Read the results of deferred checks from the device; called at the end of an epoch.

        Raises:
            RunFailed: a check has failed.
        """
        for correct, hook, rule in self.later:
            if not correct:
                raise RunFailed(f"{type(self.method).__name__}.{hook}() must return {rule}; it returned other values.")
        self.later.clear()

    def _value(self, tensor: Tensor, correct: Callable[[], Tensor], hook: str, rule: str) -> None:
        if isinstance(tensor, FakeTensor):  # the operation counter uses fake tensors, which have no values
            return
        self.later.append((correct(), hook, rule))
        if host_reads_freely(tensor):
            self.settle()

    def _require(self, correct: bool, hook: str, rule: str, value: Any) -> None:
        require(correct, self.method, hook, rule, value)


def _shape(images: Tensor) -> str:
    return ", ".join(map(str, images.shape[1:]))
