"""Cross-validation on the training images of a dataset, on features of a frozen backbone; test images are not used."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ..data.loader import derive
from ..errors import UserError
from ..recipe import Recipe
from ..split import Dataset, Split
from ..sweeps.runner import run_missing
from ..training.callbacks import Callback
from ..training.feature_store import FeatureStore
from ..training.run_spec import RunSpec

FOLDS = 5
FEWEST = 2  # images of a class: at least one to train on and one to predict


def check_recipe(recipe: Recipe) -> None:
    """Check that runs take seconds.

    Raises:
        UserError: the recipe trains on images.
    """
    if not recipe.cache:
        raise UserError(
            f"bench advise needs a recipe that computes features once, but '{recipe.name}' trains on images: "
            f"{FOLDS} folds and several seeds of each method would take hours. Use --recipe transfer."
        )


def check_dataset(dataset: Dataset) -> None:
    """Check that cross-validation makes sense.

    Raises:
        UserError: a class has a single training image.
    """
    single = [name for name, count in _counts(dataset) if count < FEWEST]
    if single:
        raise UserError(
            f"{dataset.name}: {', '.join(single)} {'has' if len(single) == 1 else 'have'} a single training image, but "
            "cross-validation needs one to train on and one to predict. Add images, or remove the class."
        )


def _counts(dataset: Dataset) -> list[tuple[str, int]]:
    return list(zip(dataset.class_names, dataset.train.counts.tolist(), strict=True))


def assign_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Number of the fold of each image, integers (N,): the images of a class are spread evenly, in random order.

    The first image of a class goes to the fold after that of the last image of the class before, so that folds have the
    same size.

    Args:
        labels: integers (N,).
        folds: number of folds.
        seed: seed of the order.
    """
    generator = np.random.RandomState(derive(seed, "folds") % 2**32)
    shuffled = generator.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    numbers = np.empty(len(labels), np.int64)
    numbers[by_class] = np.arange(len(labels)) % folds
    return numbers


def on_fold(spec: RunSpec, features: Split, numbers: np.ndarray, fold: int) -> RunSpec:
    """Specification of a run that is trained on all folds but one, and then predicts all images.

    Args:
        spec: specification of the run on all training images.
        features: features of the training images.
        numbers: number of the fold of each image, integers (N,).
        fold: fold that is left out of training.
    """
    train = features.take(torch.from_numpy(np.flatnonzero(numbers != fold)))
    counts = train.counts.tolist()
    dataset = dataclasses.replace(
        spec.dataset,
        name=f"{spec.dataset.name}-cross-validation",
        train=train,
        test=features,
        profile="natural",
        imbalance=max(counts) / min(counts),
        verified=None,
        options=spec.dataset.options | {"fold": fold},
    )
    recipe = spec.recipe.lengthened(len(train))
    return dataclasses.replace(spec, dataset=dataset, recipe=recipe, method=copy.deepcopy(spec.method))


class CrossValidation:
    """Predictions of methods for all training images, each by a run that was not trained on it.

    Finished runs are kept in the runs folder, with their records in its folder `advice`: they are steps of an estimate
    and not results, since a record's accuracy is over images that include those of training.

    Args:
        plan: specifications of the runs on all training images, of every method and seed.
        device: device to train on.
        runs: folder that contains one folder per run.
        callback: notified of the computation of features.
    """

    def __init__(self, plan: Sequence[RunSpec], device: torch.device, runs: Path, callback: Callback) -> None:
        self.plan, self.device, self.runs = plan, device, runs
        train = plan[0].dataset.train
        store = FeatureStore(plan[0], device, runs, partial(callback.features, plan[0]), wait=True)
        self.features, self.labels = store.split(train).to(torch.device("cpu")), train.labels.cpu().numpy()

    @property
    def total(self) -> int:
        """Number of runs."""
        return FOLDS * len(self.plan)

    def hits(self, on_run: Callable[[RunSpec, int], None]) -> dict[str, np.ndarray]:
        """Fraction of the predictions that are correct for each image, over the seeds: (N,) in [0, 1], by method.

        Args:
            on_run: called before each run with its specification and its number, from 0.

        Raises:
            UserError: a run fails, or a file cannot be read or written.
        """
        parts: dict[str, list[np.ndarray]] = {}
        for number, spec in enumerate(self.plan):
            predicted = np.empty(len(self.labels), np.int64)
            folds = assign_folds(self.labels, FOLDS, spec.seed)
            for fold in range(FOLDS):
                run = on_fold(spec, self.features, folds, fold)
                on_run(run, number * FOLDS + fold)
                predicted[folds == fold] = self._predictions(run)[folds == fold]
            parts.setdefault(spec.name, []).append(predicted == self.labels)
        return {name: np.mean(each, 0) for name, each in parts.items()}

    def _predictions(self, run: RunSpec) -> np.ndarray:
        _, failures = run_missing([run], self.device, self.runs / "advice", self.runs, Callback(), lambda text: None)
        if failures:
            raise UserError(failures[0])
        path = self.runs / run.id / "logits.npz"
        try:
            with np.load(path) as file:
                predictions: np.ndarray = file["predictions"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"Cannot read {path} ({error}). Delete the folder {self.runs / 'advice'} to compute it again."
            ) from error
        return predictions
