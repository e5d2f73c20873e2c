"""`bench look`: draw a picture of a method's training images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from ..utils.options import PATH, RUN_OPTIONS, RUNS, FractionType, add_options, option


@click.command()
@option("--method", "-m", required=True, metavar="NAME", help="A name or a .py file.")
@option("--dataset", "-d", required=True, metavar="NAME", help="A name or folder:PATH.")
@option("--progress", default=0.99, type=FractionType(), help="Fraction of training that has elapsed, from 0 to 1.")
@option("--out", default="runs/look.png", type=PATH, help="A .png, .svg or .pdf file.")
@option("--seed", "-s", "seeds", default="0", metavar="SEED", help="Seed of the run whose network is used.")
@RUNS
@add_options(RUN_OPTIONS)
def look(method: str, dataset: str, progress: float, out: Path, runs: Path, **options: Any) -> None:
    """Draw a picture of a method's training images: natural and synthetic ones, and their fractions per class.

    \b
    bench look --method open --dataset cifar10-lt --augment simclr
    bench look --method m2m --dataset cifar10-lt        # after bench run with the same options
    """
    from ...report.figures.pictures import batch_picture
    from ...report.figures.style import picture_format
    from ..training.plan import RunRequest, make_plan
    from ..training.preview import view
    from ..utils.atomic_write import write_atomically

    image_format = picture_format(out)
    run = make_plan([method], [dataset], RunRequest(**options))[0]
    images = view(run, progress, runs)
    title = f"{run.name} on {run.facts.dataset.label}, {progress:.0%} of training, {images.state}"
    write_atomically(out, batch_picture(title, run.dataset.class_names, images, image_format))
    print(f"Wrote {out}")


COMMANDS = (look,)
