"""`bench advise`: compare cheap methods on one's own images by cross-validation, and recommend one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console

from ..errors import UserError
from ..utils.options import DATA_OPTIONS, DEVICE, RUNS, add_options, names_option, option

BASELINE = "erm"
METHODS = ("erm", "ncm", "tau-norm", "logit-adjustment-posthoc", "balanced-softmax", "ldam-drw")


@click.command()
@click.argument("dataset")
@names_option(
    "--method", "-m", "methods", help=f"Methods to compare with {BASELINE}; default: {', '.join(METHODS[1:])}."
)
@option("--seed", "-s", "seeds", default="0..2", metavar="SEEDS", help="Such as 0..2; each has folds of its own.")
@option("--recipe", default="transfer", metavar="NAME", help="A recipe that computes features once, or a .toml file.")
@option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="As in bench run, such as recipe.size=224.")
@DEVICE
@RUNS
@add_options(DATA_OPTIONS)
def advise(dataset: str, methods: list[str], seeds: str, device: str, runs: Path, **options: Any) -> None:
    """Count the images of a dataset, compare methods on its training images and recommend one.

    Methods train in seconds on features of a pretrained network and are compared by five-fold cross-validation on the
    training images; test images are not used.

    \\b
    bench advise folder:photos
    bench advise folder:photos --method drw,crt --set recipe.size=224
    """
    from ..advice.comparison import recommend
    from ..advice.cross_validation import CrossValidation, check_dataset, check_recipe
    from ..training.plan import RunRequest, make_plan
    from ..utils.device import find_device
    from .advice import RunLine, print_comparison, print_counts, print_recommendation
    from .progress import ProgressLine

    names = list(dict.fromkeys([BASELINE, *(methods or METHODS)]))
    if len(names) < 2:
        raise UserError(f"bench advise compares methods with {BASELINE}; name another one, such as --method ncm.")
    torch_device, console = find_device(device), Console()
    plan = make_plan(names, [dataset], RunRequest(seeds=seeds, **options))
    check_recipe(plan[0].recipe)
    check_dataset(plan[0].dataset)
    print_counts(plan[0].dataset, console)
    with ProgressLine(Console(stderr=True)) as line:
        validation = CrossValidation(plan, torch_device, runs, line)
    with RunLine(validation.total, Console(stderr=True)) as run_line:
        hits = validation.hits(run_line.show)
    result = recommend(hits, validation.labels, BASELINE)
    print_comparison(hits, plan[0].dataset, BASELINE, console)
    print_recommendation(result, plan[0].dataset, BASELINE, console)


COMMANDS = (advise,)
