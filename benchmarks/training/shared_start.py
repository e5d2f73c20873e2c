"""Prerequisite trainings shared by several runs: each is trained once per dataset, recipe and seed, then reused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import UserError
from ..method import Needs, epochs_before
from ..network import Classifier, Frozen
from ..records.parts import Prerequisite
from ..registry import changed, configure, load
from .checkpoint import Checkpoint
from .run_spec import RunSpec, build_network

Use = Literal["prefix", "network"]


@dataclass(frozen=True)
class SharedTraining:
    """A prerequisite training of a run, shared with other runs.

    Attributes:
        spec: specification of the prerequisite, which is trained completely or in part.
        epochs: number of epochs to train of the prerequisite, over all stages.
        use: "prefix" if the run continues from these epochs, "network" if it attaches the resulting network.
    """

    spec: RunSpec
    epochs: int
    use: Use


def shared_trainings(spec: RunSpec) -> list[SharedTraining]:
    """Direct prerequisite trainings of a run, as declared by its method's `needs`.

    Raises:
        UserError: according to `needs`, the method shares its first epochs with itself, directly or through others.
    """
    needs = spec.needs
    shared = []
    if needs.prefix:
        shared.append(SharedTraining(_beginning_of(spec, needs), needs.prefix, "prefix"))
    if needs.network:
        seed = spec.seed ^ 1 if needs.other_seed else spec.seed
        shared.append(SharedTraining(_other_spec(spec, "erm", {}, seed), spec.recipe.epochs, "network"))
    return shared


def _beginning_of(spec: RunSpec, needs: Needs) -> RunSpec:
    """Specification of the run whose first epochs this run shares.

    If that run in turn takes at least as many epochs from a third run, the third one is returned, and so on.
    """
    path = [spec]
    first = _other_spec(spec, needs.prefix_of, needs.prefix_values)
    while (inner := first.needs).prefix >= needs.prefix:
        path.append(first)
        first = _other_spec(spec, inner.prefix_of, inner.prefix_values)
        if first.id in [each.id for each in path]:
            names = " begins as ".join([*(each.name for each in path), first.name])
            raise UserError(f"{names}: needs() must name another method.")
    return first


def _other_spec(spec: RunSpec, name: str, values: Mapping[str, Any], seed: int | None = None) -> RunSpec:
    """Specification of a run of another method, on the same dataset with the same recipe.

    Args:
        spec: specification of this run.
        name: name of the other method.
        values: its hyper-parameters, by field name; all others have their default values.
        seed: seed of the other run; None for that of this run.
    """
    plugin = load("methods", name)
    method = configure(plugin, dict(values))
    changes = changed(method, plugin) | {k: v for k, v in spec.changed.items() if k.startswith("recipe.")}
    seed = spec.seed if seed is None else seed
    return RunSpec(plugin.name, plugin.source, method, changes, spec.dataset, spec.recipe, seed, spec.weights)


def branch_points(spec: RunSpec) -> set[int]:
    """Numbers of completed epochs at which a run always saves a snapshot, for other runs to start from.

    Built-in methods that others start from (`Method.continued`) have two such points, at which most other methods
    branch off: the first drop of the learning rate and the end of the run. Other methods have none. Further snapshots
    are trained on demand.
    """
    if not type(spec.method).continued or spec.source:
        return set()
    epochs = spec.recipe.epochs
    first = min((fraction for fraction, _ in spec.recipe.drops), default=1.0)
    return {epochs_before(first, epochs), epochs}


def attach_source(spec: RunSpec, net: Classifier, state: Checkpoint | None = None) -> None:
    """Attach the network that a method needs as `net.source`, frozen; do nothing if it needs none.

    Args:
        spec: specification of the run.
        net: network of the run.
        state: checkpoint with the weights of the needed network; None for initial weights, if the weights are loaded
            later or do not matter.

    Raises:
        RunFailed: the weights do not fit the network.
    """
    for shared in shared_trainings(spec):
        if shared.use == "network":
            source = build_network(shared.spec)
            if state is not None:
                state.load_source(source)
            net.source = Frozen(source)


def prerequisite(shared: SharedTraining, checkpoint: Checkpoint, reused: bool) -> Prerequisite:
    """Describe a shared training for the record.

    Args:
        shared: shared training.
        checkpoint: checkpoint at the end of the training.
        reused: whether the checkpoint existed already.
    """
    last = checkpoint.history.trained[-1].environment
    return Prerequisite(
        method=shared.spec.name,
        id=shared.spec.id,
        seed=shared.spec.seed,
        use=shared.use,
        epochs=checkpoint.number,
        seconds=round(checkpoint.history.seconds, 3),
        reused=reused,
        commit=last.commit,
        dirty=last.dirty,
        torch=last.torch,
        device=last.device,
        trained=checkpoint.history.trained,
    )
