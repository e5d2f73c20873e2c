"""Speed-up of M2m's attack and RSG's centre loss, the two most expensive parts, over published and naive forms.

Not a test; run `python tests/naive_time.py`. Sizes are those of CIFAR-10-LT at ratio 100 with ResNet-32 and batches of
128. Implementations are timed alternately in one process with one thread; tests check that their results agree.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from helpers.naive_rsg import centre_loss
from ltbench.benchmarks.data.loader import generator
from ltbench.benchmarks.nn.bn_folding import Folded
from ltbench.benchmarks.speed.interleaved import alternate, ratio
from ltbench.benchmarks.speed.synthetic import synthetic_specs
from ltbench.benchmarks.training.run_spec import build_network
from ltbench.methods._shared.feature_generation import Generator
from ltbench.methods._shared.rows import capacity
from ltbench.methods._shared.translation import objective, translate
from torch import Tensor

CPU, BATCH, ROUNDS = torch.device("cpu"), 128, 5


def attacks() -> dict[str, Callable[[], Tensor]]:
    """Functions to time: our attack on the mean number of translated rows, and the published attack on all candidates.

    The published attack is timed with gradients of images alone, and with gradients of all weights as well.
    """
    run = synthetic_specs(["m2m"])[0]
    source, net = build_network(run), build_network(run)
    run.method.begin_stage(run.method.stages(10)[0], _with(net, source), run.dataset.train)
    probability = run.method.probability_  # type: ignore[attr-defined]
    slots, rows_on_average = capacity(BATCH, probability), round(BATCH * probability)
    counts = run.dataset.train.counts.double()
    candidates = round(float(BATCH * (1 - counts / counts.max()).mean()))
    random = generator(0, "images")
    images = torch.rand(BATCH, 3, 32, 32, generator=random).contiguous(memory_format=torch.channels_last)
    target, seed = torch.randint(10, (2, BATCH), generator=random)
    folded = Folded(source), Folded(net)
    eyes = [copy.deepcopy(first).eval() for first in (source, net)]
    print(f"M2m: {candidates} candidates of {BATCH} rows, {rows_on_average} translated")
    print(f"A GPU translates {slots} slots.")

    def ours() -> Tensor:
        g, f = (view.freeze(first) for view, first in zip(folded, (source, net), strict=True))
        rows = slice(rows_on_average)
        return translate(images[rows], lambda x: objective(g(x), f(x), target[rows], seed[rows], 0.5), 0.1, 10)

    def published(weights: bool) -> Tensor:
        rows = slice(candidates)
        x = images[rows]
        for _ in range(10):
            x = x.detach().requires_grad_()
            loss = objective(eyes[0](x), eyes[1](x), target[rows], seed[rows], 0.5).sum()
            if weights:
                loss.backward()
                gradient = x.grad
            else:
                (gradient,) = torch.autograd.grad(loss, x)
            assert gradient is not None
            x = (x - 0.1 * gradient / (gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1) + 1e-10)).clamp(0, 1)
        return x.detach()

    return {"ours": ours, "gradient of images": lambda: published(False), "of all weights": lambda: published(True)}


def _with(net: torch.nn.Module, source: torch.nn.Module) -> torch.nn.Module:
    from ltbench.benchmarks.network import Frozen

    net.source = Frozen(copy.deepcopy(source))  # type: ignore[arg-type]
    return net


def centre_losses() -> dict[str, Callable[[], Tensor]]:
    """Functions to time: our centre loss, the published form with all differences in one tensor, and a naive loop."""
    torch.manual_seed(0)
    method = Generator(10, 32, 15, 1, False)
    torch.nn.init.normal_(method.centres)
    maps, labels = torch.randn(BATCH, 32, 16, 16), torch.randint(10, (BATCH,))

    def ours() -> Tensor:
        loss = method.centre_loss(maps, labels, method.assignment(maps, labels))
        loss.backward()
        return loss

    def published() -> Tensor:
        centres = method.centres[labels]  # (N, K, D)
        far = (maps[:, None] - centres[..., None, None]).square().sum((2, 3, 4))
        loss = (method.assignment(maps, labels) * far).sum(1).mean()
        loss.backward()
        return loss

    def naive() -> Tensor:
        loss = centre_loss(method, maps, labels.tolist())
        loss.backward()
        return loss

    return {"ours": ours, "all differences": published, "one at a time": naive}


def main() -> None:
    """Time all implementations and print their speed-ups."""
    torch.set_num_threads(1)
    for name, forms in (("M2m's attack", attacks()), ("RSG's centre loss, forward and backward", centre_losses())):
        seconds = alternate(forms, ROUNDS, CPU)
        for other, spent in seconds.items():
            print(f"{name}: {other} takes {ratio(spent, seconds['ours'])} times as long as ours")


if __name__ == "__main__":
    main()
