"""Trainings that runs share: each is done once per dataset, recipe and seed, and then reused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import UserError
from ..method import Needs, epochs_before
from ..network import Classifier, Frozen
from ..records.parts import Prerequisite
from ..registry import configure, load
from .checkpoint import Checkpoint
from .run_spec import RunSpec, build_network

Use = Literal["prefix", "network"]


@dataclass(frozen=True)
class SharedTraining:
    """A training that a run builds on and shares with other runs.

    Attributes:
        spec: the run that it is, or is the beginning of.
        epochs: how many of its epochs, over all stages.
        use: the run begins with these epochs, or attaches the network after them.
    """

    spec: RunSpec
    epochs: int
    use: Use


def shared_trainings(spec: RunSpec) -> list[SharedTraining]:
    """The trainings that a run builds on directly, as its method's `needs` says.

    Raises:
        UserError: the method would begin with itself.
    """
    needs = spec.method.needs(spec.recipe.epochs)
    shared = []
    if needs.prefix:
        shared.append(SharedTraining(_beginning_of(spec, needs), needs.prefix, "prefix"))
    if needs.network:
        seed = spec.seed ^ 1 if needs.other_seed else spec.seed
        shared.append(SharedTraining(_default_spec(spec, "erm", seed), spec.recipe.epochs, "network"))
    return shared


def _beginning_of(spec: RunSpec, needs: Needs) -> RunSpec:
    """The run whose first epochs a run shares; if these are in turn the first ones of a third run, that one."""
    names = [spec.name]
    first = _default_spec(spec, needs.prefix_of, spec.seed)
    while (inner := first.method.needs(spec.recipe.epochs)).prefix >= needs.prefix:
        names.append(first.name)
        if inner.prefix_of in names:
            raise UserError(f"{' begins as '.join([*names, inner.prefix_of])}: needs() must name another method.")
        first = _default_spec(spec, inner.prefix_of, spec.seed)
    return first


def _default_spec(spec: RunSpec, name: str, seed: int) -> RunSpec:
    """The run of a method with its default values on the same dataset, with the same recipe."""
    plugin = load("methods", name)
    changed = {field: value for field, value in spec.changed.items() if field.startswith("recipe.")}
    return RunSpec(plugin.name, plugin.source, configure(plugin, {}), changed, spec.dataset, spec.recipe, seed)


def branch_points(spec: RunSpec) -> set[int]:
    """After how many epochs a run leaves snapshots unasked: ERM before the first drop of its learning rate, at the end.

    Most methods begin as ERM until then. Other snapshots are trained when a run needs them.
    """
    if spec.name != "erm" or spec.source:
        return set()
    epochs = spec.recipe.epochs
    first = min((fraction for fraction, _ in spec.recipe.drops), default=1.0)
    return {epochs_before(first, epochs), epochs}


def attach_source(spec: RunSpec, net: Classifier, state: Checkpoint | None = None) -> None:
    """Attach the network that a method needs as `net.source`, frozen; do nothing if it needs none.

    Args:
        spec: the run.
        net: its network.
        state: at the end of the needed training; None for initial weights, if those follow or do not matter.

    Raises:
        RunFailed: the state is not that of such a network.
    """
    for shared in shared_trainings(spec):
        if shared.use == "network":
            source = build_network(shared.spec)
            if state is not None:
                state.load_source(source)
            net.source = Frozen(source)


def prerequisite(shared: SharedTraining, checkpoint: Checkpoint, reused: bool) -> Prerequisite:
    """What the record says of a shared training.

    Args:
        shared: the training.
        checkpoint: its state at the end.
        reused: it existed already.
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
