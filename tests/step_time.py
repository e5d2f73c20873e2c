"""Time of a training step of methods relative to ERM: same network, batch and process, in turn (A B A B ...).

Not a test: `python tests/step_time.py --method open,drs --backbone resnet32`. With `--compile`, every method is
measured a second time under torch.compile. The figures are medians over rounds of the ratio within a round, with the
least and the greatest; absolute times on a shared machine say little.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import click
import torch
from ltbench.benchmarks.loader import draw, generator
from ltbench.benchmarks.method import Batch, Now
from ltbench.benchmarks.plan import make_plan
from ltbench.benchmarks.run import attach_source, build_network
from ltbench.benchmarks.train import make_optimiser
from ltbench.benchmarks.train_step import step


def stepper(method: str, settings: tuple[str, ...], compiled: bool, device: torch.device) -> Callable[[int], None]:
    """A function that takes a number of steps late in training, on one fixed batch of procedural images."""
    plan = make_plan(
        [method], ["waves-lt"], imbalance="100", settings=["dataset.size=32", "dataset.n_max=5000", *settings]
    )
    run, split = plan[0], plan[0].dataset.train.to(device)
    net = build_network(run)
    attach_source(run, net)
    for stage in run.method.stages(10):
        run.method.begin_stage(stage, net, split)
    net.to(device)
    now = Now(stage.name, stage.epochs - 1, stage.epochs, generator(0, "method", device=device))
    run.method.begin_epoch(net, split, now)
    optimiser = make_optimiser(net, run.recipe, stage.slower)
    probabilities = run.method.sampling(split.counts, now)
    probabilities = split.counts if probabilities is None else probabilities
    index = draw(split, probabilities, generator(0, "draw"), run.recipe.batch_size).to(device)
    images = (split.pixels(index).float() / 255).contiguous(memory_format=torch.channels_last)
    if compiled:
        net.compile()

    def steps(count: int) -> None:
        for _ in range(count):
            step(run.method, net, Batch(images, split.labels[index]), optimiser, run.recipe, now)

    return steps


@click.command()
@click.option("--method", "methods", default="open")
@click.option("--backbone", default="resnet32", show_default=True)
@click.option("--precision", default="fp32", show_default=True)
@click.option("--set", "settings", multiple=True)
@click.option("--steps", default=4, show_default=True)
@click.option("--rounds", default=8, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--compile", "compiled", is_flag=True)
@click.option("--device", default="cpu", show_default=True)
def main(methods: str, backbone: str, precision: str, settings: tuple[str, ...], steps: int, rounds: int, threads: int,
         compiled: bool, device: str) -> None:  # fmt: skip
    """Measure and print."""
    torch.set_num_threads(threads)
    names = ["erm", *(name for name in methods.split(",") if name != "erm")]
    recipe = ("recipe.batch_size=128", f"recipe.backbone={backbone}", f"recipe.precision={precision}")
    made = {
        name + (" compiled" if late else ""): stepper(
            name, (*recipe, *(s for s in settings if s.startswith(name + "."))), late, torch.device(device)
        )
        for late in ([False, True] if compiled else [False])
        for name in names
    }
    for take in made.values():
        take(3)
    times: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(rounds):
        for name, take in made.items():
            started = time.perf_counter()
            take(steps)
            times[name].append((time.perf_counter() - started) / steps * 1000)
    print(
        f"{backbone}, batch 128, {precision}, {threads} threads, torch {torch.__version__}, {rounds} rounds of {steps}"
    )
    for name, values in times.items():
        ratios = [value / erm for value, erm in zip(values, times["erm"], strict=True)]
        middle = statistics.median(ratios)
        print(f"{name:<16} {statistics.median(values):8.1f} ms  x{middle:.3f} [{min(ratios):.3f}, {max(ratios):.3f}]")


if __name__ == "__main__":
    main()
